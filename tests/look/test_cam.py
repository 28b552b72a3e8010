"""Grad-CAM against CAM, the layer it finds, and where its map lies on the image."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_data import CLASSES, pictures_of, write_fashion_model
from torch import Tensor, nn

from striate.arithmetic import ReceptiveField
from striate.data.formats import open_source
from striate.errors import Refused, UsageError
from striate.layers import SqueezeExcitation
from striate.look.cam import grad_cam, grad_cams
from striate.look.placement import Placement, place_map
from striate.look.tracing import trace
from striate.prediction import load
from striate.report import write_report
from striate.tasks.decoding import Kind
from striate.zoo import MODELS, build

sys.path.insert(0, str(Path(__file__).parents[1] / "contracts"))
from run_folders import epoch_rows, write_run


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Pooled(nn.Module):
    """Two convolutions, the means of their maps, a dense layer: the networks that CAM was made for."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.first, self.second = nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.Conv2d(5, 7, 3, padding=1)
            self.activation, self.head = activation, nn.Linear(7, 4)

    def maps(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.second(self.activation(self.first(x))))
        return y

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.maps(x).mean(dim=(2, 3)))
        return y


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU(inplace=True), nn.SiLU(), nn.Tanh()])
def test_on_means_and_a_dense_layer_it_is_cam(activation: nn.Module) -> None:
    net, x = Pooled(activation).double(), torch.randn(3, 20, 14, generator=seeded()).double()
    maps = net.maps(x[None])[0].detach()
    for k in range(4):
        cam = torch.einsum("c,chw->hw", net.head.weight[k].detach(), maps)
        found = grad_cam(net, x, k)
        torch.testing.assert_close(found.signed * maps[0].numel(), cam)
        torch.testing.assert_close(found.heat * maps[0].numel(), cam.clamp(min=0))
        assert found.layer == "activation#2"
        assert tuple(trace(net, (3, 20, 14)).find(found.layer).output_shapes[0]) == tuple(maps.shape)
        # What CAM adds up to is the logit.
        assert float(found.signed.sum()) == pytest.approx(float((net(x[None])[0, k] - net.head.bias[k]).detach()))


def test_on_a_flatten_head_by_hand() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ELU(), nn.Flatten(), nn.Linear(3 * 4 * 4, 2)).double()
    x = torch.randn(1, 6, 6, generator=seeded()).double()
    maps, weights = net[1](net[0](x[None]))[0].detach(), net[3].weight[1].detach().view(3, 4, 4)
    found = grad_cam(net, x, 1)
    torch.testing.assert_close(found.signed, torch.einsum("c,chw->hw", weights.mean(dim=(1, 2)), maps))
    assert found.layer == "1"


def test_the_class_is_the_answer_unless_it_is_given() -> None:
    net, x = Pooled(nn.ReLU()), torch.randn(3, 20, 14, generator=seeded())
    k = int(net(x[None]).argmax())
    assert grad_cam(net, x).target == k
    assert torch.equal(grad_cam(net, x).signed, grad_cam(net, x, k).signed)
    assert grad_cam(net, x, (k + 1) % 4).target == (k + 1) % 4


def test_several_images_at_once_are_each_their_own() -> None:
    net, images = Pooled(nn.ReLU()).double(), torch.randn(3, 3, 20, 14, generator=seeded()).double()
    together = grad_cams(net, images, [2, 0, 2])
    for image, k, found in zip(images, [2, 0, 2], together, strict=True):
        torch.testing.assert_close(found.signed, grad_cam(net, image, k).signed)


def test_a_layer_by_its_path() -> None:
    net, x = Pooled(nn.ReLU(inplace=True)).double(), torch.randn(3, 20, 14, generator=seeded()).double()
    before_relu = net.second(net.activation(net.first(x[None])))[0].detach()
    found = grad_cam(net, x, 0, layer="second")
    opened = (before_relu > 0).double() / before_relu[0].numel()
    weights = (net.head.weight[0].detach()[:, None, None] * opened).mean(dim=(1, 2))
    torch.testing.assert_close(found.signed, torch.einsum("c,chw->hw", weights, before_relu))
    with pytest.raises(UsageError, match="Did you mean 'second'"):
        grad_cam(net, x, 0, layer="secnd")
    with pytest.raises(UsageError, match="needs a layer with maps"):
        grad_cam(net, x, 0, layer="head")


class Functional(nn.Module):
    """All that is not a convolution is a function; a map is made that leads nowhere, and one that is only pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.side, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 2, 3), nn.Linear(4 * 2 * 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.body(x)) + 1
        self.side(x)
        return self.head(torch.flatten(F.max_pool2d(F.pad(y, (0, 1, 0, 1)), 2), 1))


def test_functions_have_maps_too() -> None:
    found = grad_cam(Functional(), torch.randn(1, 5, 5, generator=seeded()), 0)
    assert (found.layer, tuple(found.signed.shape)) == (":add", (3, 3))


def test_a_network_without_maps_is_refused() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(27, 2))
    with pytest.raises(Refused, match="no feature map"):
        grad_cam(net, torch.randn(3, 3, 3))


AFTER_THE_MAPS = {
    "lenet5": "pooled", "lenet_caffe": "pooled", "alexnet": "pooled", "alexnet_2012": "pooled", "zfnet": "pooled",
    "efficientnet_b0": "widened", "efficientnet_v2_s": "widened", "shufflenet_v2_x1_0": "widened", "squeezenet1_0": "widened",
}  # fmt: skip
"""Networks whose last feature map is pooled once more, or goes through one more convolution: Grad-CAM reads the map between."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "lenet5", "lenet5_1998", "lenet_caffe", "fashion_cnn", "letters_cnn", "resnet20_cifar", "resnet18", "resnet18_v2",
        "seresnet50", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "regnet_y_400mf", "convnext_tiny",
        "densenet121", "squeezenet1_0", "shufflenet_v2_x1_0", "googlenet",
    ],
)  # fmt: skip
def test_the_last_map_of_the_zoo_is_found(name: str) -> None:
    """It is the last feature map of the network's own contract, or lies between that and the pooling."""
    variant = MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = variant.input_size if variant.fixed_size else tuple(max(least, 64) for least in variant.min_size)
        net = build(name, num_classes=5, input_size=size).eval()
    x = torch.randn(1, variant.in_channels, *size, generator=seeded())
    found = grad_cam(net, x, 1)
    node = trace(net, x).find(found.layer)
    assert node.id == found.layer
    assert node.output_shapes[0][1:] == tuple(found.signed.shape)
    with torch.no_grad():
        last = net.feature_maps(x)[-1][0]
    if AFTER_THE_MAPS.get(name) == "pooled":
        assert min(found.signed.shape) > min(last.shape[1:])
    else:
        assert found.signed.shape == last.shape[1:]
    if name not in AFTER_THE_MAPS:
        with torch.enable_grad():
            features = net.feature_maps(x)[-1]
            score = _rest(net, name, features)
        if score is not None:
            slopes = torch.autograd.grad(score[0, 1], features)[0]
            expected = (slopes.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1)[0].detach()
            torch.testing.assert_close(found.signed, expected, rtol=1e-3, atol=float(expected.abs().max()) * 1e-4)


def _rest(net: nn.Module, name: str, features: Tensor) -> Tensor | None:
    """The logits from the last map on, for networks that end in its means and one dense layer."""
    if name.startswith(
        ("resnet18", "resnet20", "seresnet", "mobilenet_v2", "googlenet", "regnet", "densenet")
    ) and not name.endswith("_v2"):
        logits: Tensor = net.get_submodule(net.head_path)(features.mean(dim=(2, 3)))  # type: ignore[arg-type]
        return logits
    return None


def test_a_map_lies_where_its_pixels_look() -> None:
    """Strided 3x3 convolutions with padding: pixel i looks around pixel 8 i of the image, not around the middle of an eighth."""
    layers = [layer for _ in range(3) for layer in (nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False), nn.ReLU())]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for layer in layers[::2]:
        nn.init.constant_(layer.weight, 1.0)
    assert place_map(net, (1, 48, 48), (6, 6)) == Placement((0.0, 0.0), (8.0, 8.0))
    assert Placement.spread((6, 6), (48, 48)) == Placement((3.5, 3.5), (8.0, 8.0))
    image = torch.zeros(1, 48, 48)
    image[:, 24, 16] = 1
    heat = grad_cam(net, image, 0).on_image()
    assert heat.shape == (48, 48)
    peak = int(heat.argmax())
    assert (peak // 48, peak % 48) == (24, 16)


def test_a_gate_on_channels_does_not_move_a_map() -> None:
    gated = SqueezeExcitation(4, 2, nn.ReLU, nn.Sigmoid)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), gated, nn.Conv2d(4, 2, 3, stride=2, padding=1))
    assert place_map(net, (3, 16, 16), (4, 4)) == Placement((0.0, 0.0), (4.0, 4.0))


def test_placement_of_a_field_and_what_it_enlarges() -> None:
    field = ReceptiveField(size=(5, 3), jump=(4, 2), offset=(-1, 0))
    placement = Placement.of(field)
    assert placement == Placement((1.0, 1.0), (4.0, 2.0))
    values = torch.tensor([[0.0, 1.0, 3.0], [2.0, 4.0, 8.0]], dtype=torch.float64)
    large = placement.enlarge(values, (8, 7))
    for row in range(2):
        for column in range(3):
            assert large[1 + 4 * row, 1 + 2 * column] == values[row, column]
    assert torch.equal(large[0], large[1])  # level beyond the outer ones
    assert float(large[3, 1]) == pytest.approx(1.0)  # half way
    assert (large >= 0).all()
    assert (large <= 8).all()
    level = placement.enlarge(torch.full((2, 3), 0.7, dtype=torch.float64), (8, 7))
    torch.testing.assert_close(level, torch.full((8, 7), 0.7, dtype=torch.float64))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["label", "labels", "value"])
def test_the_report_shows_it_beside_the_mistakes(kind: Kind, tmp_path: Path) -> None:
    """A map for every mistake that is shown, of the wrong answer; the page stays one file."""
    draw = np.random.default_rng(0)
    source = pictures_of(draw.integers(0, 256, (20, 28, 28, 1), dtype=np.uint8), [i % 3 for i in range(20)])
    np.savez(tmp_path / "small.npz", images=source.images, labels=source.targets)
    opened = open_source(str(tmp_path / "small.npz"))
    target = {"label": opened.targets, "labels": np.eye(3)[opened.targets], "value": draw.normal(size=20)}[kind]
    said = draw.random((20, 3)).astype(np.float32) if kind != "value" else draw.normal(size=20).astype(np.float32)
    said = said / said.sum(axis=1, keepdims=True) if kind == "label" else said
    keys, index = [opened.key(i) for i in range(20)], np.arange(20)
    classes = CLASSES if kind != "value" else ()
    run = write_run(tmp_path / "run", said, target, classes, epoch_rows(2), kind=kind, keys=keys, index=index, source=opened)
    without = write_report(run).read_text()
    write_fashion_model(run / "model.safetensors", kind)
    page = write_report(run).read_text()
    assert 'class="pair"' not in without
    shown = page.count('alt="What spoke for')
    assert shown == len(re.findall(r'data-picture="\d', page)) >= 5
    assert "Grad-CAM on" in page
    assert ":relu" in page
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", page)
    own = load(run)
    own._network.module = nn.Sequential(nn.Flatten(), nn.Linear(784, 3 if kind != "value" else 1))  # type: ignore[attr-defined]
    assert 'class="pair"' not in write_report(run, model=own).read_text()
