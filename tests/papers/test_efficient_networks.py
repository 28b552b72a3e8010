"""Residual and efficient networks: what their papers' blocks do, and the sizes of those that ``architectures.json`` leaves out.

The latter are counted from the papers' tables by formulas that are held against the rows it has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate import zoo
from striate.arithmetic import Convolution
from striate.layers import arithmetic_of
from striate.models import mobilenet_v3
from striate.models.densenet import DenseLayer, renamed
from striate.models.mobilenet_v1 import DepthwiseSeparable
from striate.models.mobilenet_v2 import InvertedResidual
from striate.models.resnet import BasicBlock, Bottleneck, projection
from striate.models.resnet_v2 import PreActivation
from striate.models.shufflenet_v2 import ShuffleUnit
from striate.models.squeezenet import SqueezeNet
from striate.models.variant import Network

TRUTH = {row["name"]: row for row in json.loads((Path(__file__).parent / "architectures.json").read_text())}


def conv_norm(ins: int, outs: int, kernel: int, groups: int = 1) -> int:
    """Parameters of a convolution without bias and the scales and shifts of its batch norm."""
    return outs * (ins // groups) * kernel**2 + 2 * outs


def dense(ins: int, outs: int) -> int:
    return (ins + 1) * outs


def resnet(depths: Sequence[int], *, basic: bool = False, groups: int = 1, base_width: int = 64) -> int:
    """Table 1 of ResNet; ``groups`` and ``base_width`` of ResNeXt and Wide ResNet."""
    total, ins = conv_norm(3, 64, 7), 64
    for stage, depth in enumerate(depths):
        planes = 64 << stage
        width, outs = planes * base_width * groups // 64, planes * (1 if basic else 4)
        for _ in range(depth):
            total += conv_norm(ins, outs, 1) if ins != outs else 0
            if basic:
                total += conv_norm(ins, planes, 3) + conv_norm(planes, planes, 3)
            else:
                total += conv_norm(ins, width, 1) + conv_norm(width, width, 3, groups) + conv_norm(width, outs, 1)
            ins = outs
    return total + dense(ins, 1000)


def resnet_v2(depths: Sequence[int], *, basic: bool = False) -> int:
    """Norms lie before the convolutions, so the first of a stage is as wide as its input; stem and shortcuts have none."""
    total, ins = resnet(depths, basic=basic) - 2 * 64, 64
    for stage in range(len(depths)):
        outs = (64 << stage) * (1 if basic else 4)
        total += 2 * (ins - outs) - (2 * outs if ins != outs else 0)
        ins = outs
    return total + 2 * ins


def densenet(depths: Sequence[int], growth: int = 32) -> int:
    width = 2 * growth
    total = conv_norm(3, width, 7)
    for stage, depth in enumerate(depths):
        for _ in range(depth):
            total += 2 * width + width * 4 * growth + 2 * 4 * growth + 4 * growth * growth * 9
            width += growth
        if stage < len(depths) - 1:
            total += 2 * width + width * (width // 2)
            width //= 2
    return total + 2 * width + dense(width, 1000)


def shufflenet(widths: Sequence[int]) -> int:
    total, ins = conv_norm(3, 24, 3), 24
    for outs, depth in zip(widths[:3], (4, 8, 4), strict=True):
        half = outs // 2
        both = conv_norm(ins, ins, 3, ins) + conv_norm(ins, half, 1)
        total += both + conv_norm(ins, half, 1) + conv_norm(half, half, 3, half) + conv_norm(half, half, 1)
        total += (depth - 1) * (2 * conv_norm(half, half, 1) + conv_norm(half, half, 3, half))
        ins = outs
    return total + conv_norm(ins, widths[3], 1) + dense(widths[3], 1000)


def squeezenet(stem: int, kernel: int) -> int:
    total, ins = (3 * kernel**2 + 1) * stem, stem
    for squeezed, outs in ((16, 128), (16, 128), (32, 256), (32, 256), (48, 384), (48, 384), (64, 512), (64, 512)):
        total += dense(ins, squeezed) + dense(squeezed, outs // 2) + (9 * squeezed + 1) * (outs // 2)
        ins = outs
    return total + dense(ins, 1000)


def mobilenet(rows: Sequence[mobilenet_v3.Row], width: int) -> int:
    total, ins = conv_norm(3, 16, 3), 16
    for row in rows:
        wide = row.expanded
        total += (conv_norm(ins, wide, 1) if wide != ins else 0) + conv_norm(wide, wide, row.kernel, wide)
        if row.excite:  # a quarter, up to a multiple of 8
            squeezed = next(size for size in range(8, wide, 8) if 4 * size >= wide)
            total += dense(wide, squeezed) + dense(squeezed, wide)
        total += conv_norm(wide, row.out, 1)
        ins = row.out
    return total + conv_norm(ins, 6 * ins, 1) + dense(6 * ins, width) + dense(width, 1000)


FORMULAS: dict[str, Callable[[], int]] = {
    "resnet18": partial(resnet, (2, 2, 2, 2), basic=True),
    "resnet50": partial(resnet, (3, 4, 6, 3)),
    "resnet101": partial(resnet, (3, 4, 23, 3)),
    "resnet152": partial(resnet, (3, 8, 36, 3)),
    "resnext50_32x4d": partial(resnet, (3, 4, 6, 3), groups=32, base_width=4),
    "wide_resnet50_2": partial(resnet, (3, 4, 6, 3), base_width=128),
    "resnet18_v2": partial(resnet_v2, (2, 2, 2, 2), basic=True),
    "resnet34_v2": partial(resnet_v2, (3, 4, 6, 3), basic=True),
    "resnet50_v2": partial(resnet_v2, (3, 4, 6, 3)),
    "resnet101_v2": partial(resnet_v2, (3, 4, 23, 3)),
    "resnet152_v2": partial(resnet_v2, (3, 8, 36, 3)),
    "resnet200_v2": partial(resnet_v2, (3, 24, 36, 3)),
    "densenet121": partial(densenet, (6, 12, 24, 16)),
    "densenet169": partial(densenet, (6, 12, 32, 32)),
    "densenet201": partial(densenet, (6, 12, 48, 32)),
    "densenet161": partial(densenet, (6, 12, 36, 24), 48),
    "shufflenet_v2_x0_5": partial(shufflenet, (48, 96, 192, 1024)),
    "shufflenet_v2_x1_0": partial(shufflenet, (116, 232, 464, 1024)),
    "shufflenet_v2_x1_5": partial(shufflenet, (176, 352, 704, 1024)),
    "shufflenet_v2_x2_0": partial(shufflenet, (244, 488, 976, 2048)),
    "squeezenet1_0": partial(squeezenet, 96, 7),
    "squeezenet1_1": partial(squeezenet, 64, 3),
    "mobilenet_v3_large": partial(mobilenet, mobilenet_v3.LARGE, 1280),
    "mobilenet_v3_small": partial(mobilenet, mobilenet_v3.SMALL, 1024),
}
ROW_OF = {"resnet50_v2": "resnetv2_50", "resnet101_v2": "resnetv2_101"}


def on_meta(name: str) -> Network:
    with torch.device("meta"):
        return zoo.build(name)


@pytest.mark.parametrize("name", FORMULAS)
def test_parameters_by_the_papers_table(name: str) -> None:
    counted = FORMULAS[name]()
    assert sum(parameter.numel() for parameter in on_meta(name).parameters()) == counted
    if row := TRUTH.get(ROW_OF.get(name, name)):
        assert counted == row["params"]


def test_depthwise_separable_convolutions_cost_what_the_paper_says() -> None:
    """Section 3.1 of MobileNets: 1 / N + 1 / 9 of a 3x3 convolution with N outputs."""
    seen = 0
    for module in on_meta("mobilenet_v1").modules():
        if isinstance(module, DepthwiseSeparable):
            size = (module.conv_dw.in_channels, 28, 28)
            depthwise, pointwise = arithmetic_of(module.conv_dw), arithmetic_of(module.conv_pw)
            assert depthwise is not None
            assert pointwise is not None
            outs = module.conv_pw.out_channels
            standard = Convolution(outs, 3, module.conv_dw.stride[0], 1, bias=False)
            macs = depthwise.macs(size) + pointwise.macs(depthwise.output(size))
            assert Fraction(macs, standard.macs(size)) == Fraction(1, outs) + Fraction(1, 9)
            seen += 1
    assert seen == 13


def zeroed(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def images(channels: int, side: int = 6) -> Tensor:
    return torch.randn(2, channels, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("stride", "outs", "kept"), [(1, 16, True), (2, 16, False), (1, 24, False)])
def test_inverted_residuals_have_a_shortcut_where_sizes_agree(stride: int, outs: int, kept: bool) -> None:
    """With a branch of zeros, the input comes out, or zeros; nothing rectifies it."""
    x = images(16)
    older = InvertedResidual(16, outs, stride, 6).double()
    newer = mobilenet_v3.InvertedResidual(16, mobilenet_v3.Row(5, 64, outs, True, nn.Hardswish, stride)).double()
    zeroed(older.conv[-1])
    zeroed(newer.block[-1])
    for block in (older, newer):
        expected = x if kept else torch.zeros(2, outs, 6 // stride, 6 // stride, dtype=torch.float64)
        assert torch.equal(block(x), expected)


def test_pre_activation_leaves_the_shortcut_alone() -> None:
    """What makes version 2: the input passes as it is, negative numbers too, where version 1 rectifies the sum."""
    x = images(64)
    before = PreActivation(64, (16, 16, 64), (1, 3, 1), 1).double()
    zeroed(before.get_submodule("conv3"))
    assert torch.equal(before(x), x)
    after = Bottleneck(64, 16, 1, projection).double()
    zeroed(after.bn3)
    assert torch.equal(after(x), x.relu())
    basic = BasicBlock(64, 64, 1, projection).double()
    zeroed(basic.bn2)
    assert torch.equal(basic(x), x.relu())


def test_a_pre_activation_block_that_projects_reads_the_rectified_input() -> None:
    x = images(8)
    block = PreActivation(8, (16, 16), (3, 3), 2).double()
    zeroed(block.get_submodule("conv2"))
    assert torch.equal(block(x), block.downsample(block.get_submodule("norm1")(x).relu()))


def test_half_the_channels_pass_a_shuffle_unit_untouched() -> None:
    """They and the others take turns in the output."""
    x, unit = images(8), ShuffleUnit(8, 8, 1).double()
    y = unit(x)
    assert torch.equal(y[:, 0::2], x[:, :4])
    assert torch.equal(y[:, 1::2], unit.branch2(x[:, 4:]))
    down = ShuffleUnit(8, 12, 2).double()
    y = down(x)
    assert torch.equal(y[:, 0::2], down.branch1(x))
    assert torch.equal(y[:, 1::2], down.branch2(x))


def test_a_dense_layer_adds_to_what_it_reads() -> None:
    x, layer = images(12), DenseLayer(12, 4).double()
    y = layer(x)
    assert y.shape == (2, 16, 6, 6)
    assert torch.equal(y[:, :12], x)


def test_old_densenet_names_are_brought_up_to_date() -> None:
    state = on_meta("densenet121").state_dict()
    old = {key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): tensor for key, tensor in state.items()}
    old = {key.replace(".norm2.", ".norm.2.").replace(".conv1.", ".conv.1."): tensor for key, tensor in old.items()}
    assert sum(key not in state for key in old) == sum("denselayer" in key for key in state)
    assert list(renamed(old)) == list(state)
    assert all(renamed(old)[key] is tensor for key, tensor in state.items())
    assert renamed(state) == state


@pytest.mark.parametrize(("name", "plain"), [("seresnet50", "resnet50"), ("seresnet50_caffe", "resnet50_v1")])
@torch.no_grad()
def test_open_gates_make_se_resnet_a_resnet(name: str, plain: str) -> None:
    """A gate whose bias is 40 lets everything through: sigmoid(40) is 1 in float64 but for 4e-18."""
    torch.manual_seed(0)
    gated, bare = zoo.build(name, 5).double().eval(), zoo.build(plain, 5).double().eval()
    for key, parameter in gated.named_parameters():
        if ".fc2." in key:
            nn.init.constant_(parameter, 40.0 if key.endswith("bias") else 0.0)
    weights = [tensor for key, tensor in gated.state_dict().items() if ".se" not in key]
    bare.load_state_dict(dict(zip(bare.state_dict(), weights, strict=True)))
    if name.endswith("caffe"):  # its pooling does not pad
        bare.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
    x = images(3, 48)
    torch.testing.assert_close(gated(x), bare(x), rtol=1e-12, atol=1e-12)
    zeroed(next(module for key, module in gated.named_modules() if key.endswith(".fc2")))
    assert not torch.allclose(gated(x), bare(x), rtol=1e-3)


@torch.no_grad()
def test_squeezenet_rectifies_before_it_averages() -> None:
    torch.manual_seed(0)
    network = zoo.build("squeezenet1_1", 5).double().eval()
    nn.init.normal_(network.get_parameter("classifier.1.weight"))
    x = images(3, 48)
    scores = F.conv2d(network.feature_maps(x)[-1], network.get_parameter("classifier.1.weight"))
    assert scores.min() < 0 < scores.max()
    torch.testing.assert_close(network(x), scores.relu().mean((2, 3)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "squeezenet1_0", "resnet18_v2"])
def test_heads_start_normal_with_deviation_0_01(name: str) -> None:
    torch.manual_seed(0)
    network = zoo.build(name)
    head = network.get_submodule(network.head_path)
    weight, bias = (parameter.detach() for parameter in head.parameters())
    # 512,000 weights or more: their spread is known within 1 / sqrt(2 n), 0.1 %.
    assert float(weight.std()) == pytest.approx(0.01, rel=0.005)
    assert bias.count_nonzero() == 0


def test_squeezenet_starts_as_the_authors_files_say() -> None:
    """Uniform with variance 1 / fan-in, but for the head."""
    torch.manual_seed(0)
    network = zoo.build("squeezenet1_0")
    assert isinstance(network, SqueezeNet)
    for layer in network.features.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            assert layer.bias.count_nonzero() == 0
            bound = (3 / (layer.in_channels * layer.kernel_size[0] ** 2)) ** 0.5
            largest = float(layer.weight.detach().abs().max())
            # Of n uniform numbers the largest lies within 12 / n of the bound, but for a chance of exp(-12).
            assert bound * (1 - 12 / layer.weight.numel()) < largest <= bound
