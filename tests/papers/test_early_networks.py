"""LeNet, AlexNet, ZFNet and VGG: what their papers say beyond the counts that ``test_architectures.py`` sweeps.

Expected numbers come from ``architectures.json`` and ``golden.json`` alone.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from striate import zoo
from striate.arithmetic import Row, chain
from striate.layers import arithmetic_of
from striate.models import alexnet, lenet, lenet_1998, letters_cnn, vgg, zfnet
from striate.models.lenet_1998 import RadialBasis, codes
from striate.models.pooled_stages import local_response_norm
from striate.models.variant import Network

HERE = Path(__file__).parent
TRUTH: dict[str, dict[str, Any]] = {row["name"]: row for row in json.loads((HERE / "architectures.json").read_text())}
GOLDEN: dict[str, Any] = {item["id"]: item["expected"] for item in json.loads((HERE / "golden.json").read_text())}

FILES = (lenet, letters_cnn, lenet_1998, alexnet, zfnet, vgg)
NAMES = [variant.name for file in FILES for variant in file.VARIANTS]


def on_meta(name: str, num_classes: int | None = None) -> Network:
    with torch.device("meta"):
        return zoo.build(name, num_classes)


def outputs(name: str) -> dict[str, list[int]]:
    """Shape out of each module for one image of the network's own size, without the batch."""
    network, variant, shapes = on_meta(name).eval(), zoo.MODELS[name], {}
    for path, module in network.named_modules():
        module.register_forward_hook(lambda _m, _i, output, path=path: shapes.update({path: list(output.shape[1:])}))
    network(torch.empty(1, variant.in_channels, *variant.input_size, device="meta"))
    return shapes


def layers(name: str) -> list[Row]:
    """The network's layers as arithmetic, in order, at its own image size."""
    variant = zoo.MODELS[name]
    found = [layer for module in on_meta(name).modules() if (layer := arithmetic_of(module)) is not None]
    return chain((variant.in_channels, *variant.input_size), found)


@pytest.mark.parametrize(("name", "row"), [("lenet_caffe", "lenet_caffe"), ("alexnet_caffe", "alexnet_original")])
def test_caffes_networks(name: str, row: str) -> None:
    truth, described = TRUTH[row], zoo.describe(name)
    assert (described.parameters, described.macs, described.uncounted) == (truth["params"], truth["macs"], ())
    assert len(on_meta(name).state_dict()) == truth["n_state_keys"]
    assert list(zoo.MODELS[name].input_size) == truth["input"][1:]


def test_every_paper_with_a_table_of_sizes_has_it_here() -> None:
    assert {name for name in NAMES if not zoo.MODELS[name].paper_table} == {"lenet4", "lenet_caffe", "alexnet"}


def test_lenet5_1998_layer_by_layer() -> None:
    row, network, rows = TRUTH["lenet5_paper"], on_meta("lenet5_1998"), layers("lenet5_1998")
    assert [one.parameters for one in rows] == list(row["params_per_layer"].values())
    assert sum(parameter.numel() for parameter in network.parameters()) == row["params"]
    fixed = network.get_buffer("output.weight").numel()
    assert fixed == row["fixed_rbf"]
    assert sum(one.connections for one in rows) + fixed == row["connections"]
    assert [list(channels) for channels in lenet_1998.C3_LINKS] == row["c3_table"]


def test_lenet4_has_what_its_interpretation_has() -> None:
    stated = re.search(r"= ([\d,]+) params", TRUTH["lenet4"]["note"])
    assert stated is not None
    assert zoo.describe("lenet4").parameters == int(stated[1].replace(",", ""))
    connections = sum(row.connections for row in layers("lenet4"))
    assert f"{connections:,} connections" in str(lenet_1998.__doc__)


def test_a_code_of_ten_classes_draws_the_digits() -> None:
    """One and seven, as anyone draws them: the stem of a one is in the middle, a seven's first row is full."""
    drawn = torch.tensor(codes(10, 84)).view(10, 12, 7)
    assert drawn.abs().eq(1).all()
    assert drawn[1, :, 3].eq(1).all()
    assert drawn[7, 0].eq(1).all()
    assert drawn[7, 1:].flip(1).argmax(1).diff().ge(0).all(), "its stroke runs down to the left"
    assert torch.equal(drawn[0], drawn[0].flip(1))
    assert torch.equal(drawn[0], drawn[0].flip(0))
    assert len(drawn.unique(dim=0)) == 10


def test_other_numbers_of_classes_get_the_same_code_in_every_run() -> None:
    first, again = codes(26, 84), codes(26, 84)
    assert first == again
    assert {value for code in first for value in code} == {-1.0, 1.0}
    distances = torch.cdist(torch.tensor(first), torch.tensor(first)).square() / 4  # in pixels that differ
    # Of 84 fair coins 42 differ, give or take 4.6; the 325 pairs lie within six of that.
    assert distances[~torch.eye(26, dtype=torch.bool)].sub(42).abs().max() < 6 * 84**0.5 / 2
    assert codes(27, 84)[:26] == first


def test_logits_are_minus_the_squared_distances() -> None:
    head, x = RadialBasis(84, 10).double(), torch.randn(5, 84, dtype=torch.float64)
    # Sums of 84 terms of up to 30 in double precision.
    torch.testing.assert_close(head(x), -torch.cdist(x, head.weight).square(), rtol=0, atol=1e-10)
    assert torch.equal(head(head.weight).argmax(1), torch.arange(10))
    assert torch.equal(head(head.weight).diagonal(), torch.zeros(10, dtype=torch.float64))


def test_resetting_the_head_of_lenet5_1998_brings_the_code_of_its_classes() -> None:
    network = zoo.build("lenet5_1998", 26).double().eval()
    assert network.get_buffer("output.weight").tolist() == codes(26, 84)
    network.reset_head(10)
    head = network.get_submodule("output")
    assert network.get_buffer("output.weight").tolist() == codes(10, 84)
    assert (network.get_buffer("output.weight").dtype, head.training) == (torch.float64, False)
    assert list(head.parameters()) == []


def test_a_file_for_other_classes_leaves_the_code_of_ours(tmp_path: Path) -> None:
    source = zoo.build("lenet5_1998", 26)
    torch.save(source.state_dict(), tmp_path / "letters.pt")
    with pytest.warns(UserWarning, match="has 26 classes and the network 10"):
        network = zoo.build("lenet5_1998", weights=tmp_path / "letters.pt")
    assert network.get_buffer("output.weight").tolist() == codes(10, 84)
    assert torch.equal(network.get_parameter("c5.weight"), source.get_parameter("c5.weight"))


@pytest.mark.parametrize("constants", [{}, {"k": 1.0, "alpha": 1e-4 / 5}])
def test_response_normalisation_is_the_papers_formula(constants: dict[str, float]) -> None:
    """b_i = a_i / (k + alpha * the sum of squares over i - 2 to i + 2) ** 0.75, for numbers as large as pixels make them."""
    x = 100 * torch.randn(2, 9, 3, 4, dtype=torch.float64)
    squares = torch.stack([x[:, max(0, i - 2) : i + 3].square().sum(1) for i in range(9)], 1)
    scale = constants.get("k", 2.0) + constants.get("alpha", 1e-4) * squares
    torch.testing.assert_close(local_response_norm(**constants)(x), x / scale**0.75, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["alexnet_2012", "zfnet"])
@torch.no_grad()
def test_the_first_weights_and_biases(name: str) -> None:
    """Section 5 of the paper: ones in the second, fourth and fifth convolution and the hidden dense layers, zeros elsewhere."""
    torch.manual_seed(0)
    network = zoo.build(name, 5)
    weighted = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    ones = [0, 1, 0, 1, 1, 1, 1, 0] if name == "alexnet_2012" else [0] * 8
    for layer, value in zip(weighted, ones, strict=True):
        assert layer.bias is not None
        assert layer.bias.eq(value).all()
        # The spread of n >= 14,112 draws is known within 1 / sqrt(2 n) = 0.6 %; five times that.
        assert float(layer.weight.std() / 0.01) == pytest.approx(1, abs=0.03)


def test_towers_meet_in_the_third_convolution_alone() -> None:
    """Fig. 2: two towers in the second, fourth and fifth; the lecture's table has one."""
    network = on_meta("alexnet_2012")
    groups = [module.groups for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert groups == [1, 2, 1, 2, 2]
    assert {module.groups for module in on_meta("alexnet_lecture").modules() if isinstance(module, nn.Conv2d)} == {1}


def test_the_lectures_tables() -> None:
    shapes = outputs("alexnet_lecture")
    table = [shapes[row.path] for row in zoo.MODELS["alexnet_lecture"].paper_table]
    assert [[*size[1:], size[0]] for size in table] == GOLDEN["s4.alexnet.shapes"]
    assert zoo.describe("alexnet_lecture").parameters == GOLDEN["s4.alexnet.params.ungrouped"]
    assert list(zoo.MODELS["vgg16"].arguments["depths"]) == GOLDEN["s4.vgg16.rows"]
    pools = [row.output for row in zoo.MODELS["vgg16"].paper_table if row.layer == "maxpool"]
    assert [[*size[1:], size[0]] for size in pools] == GOLDEN["s4.vgg16.shapes"]


@pytest.mark.parametrize("layers", [11, 13, 16, 19])
def test_batch_norm_adds_a_scale_and_a_shift_a_channel(layers: int) -> None:
    """So the row of either network says what the other has: two of the eight have none of their own."""
    plain, normed = zoo.describe(f"vgg{layers}"), zoo.describe(f"vgg{layers}_bn")
    row = TRUTH.get(f"vgg{layers}_bn") or TRUTH[f"vgg{layers}"]
    dense = sum(module.out_features for module in on_meta("vgg16").modules() if isinstance(module, nn.Linear))
    added = 2 * (row["biases"] - dense)
    without = row["params"] - added if row["name"].endswith("_bn") else row["params"]
    assert (plain.parameters, normed.parameters) == (without, without + added)
    assert plain.macs == normed.macs == row["macs"]


def test_vgg_feature_maps_are_what_its_pools_read() -> None:
    """relu1_2 to relu5_3 of VGG-16: conv4_3 is SSD's, conv5_3 is Faster R-CNN's."""
    network, seen = on_meta("vgg16").eval(), list[Tensor]()
    for module in network.modules():
        if isinstance(module, nn.MaxPool2d):
            module.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    maps = network.feature_maps(torch.empty(1, 3, 224, 224, device="meta"))
    assert all(one is other for one, other in zip(maps, seen, strict=False))
    assert len(seen) == len(maps) - 1, "the last pool belongs to the classifier"
    assert network.stage_paths["4"] == ("features.17", "features.19", "features.21")
    assert [list(one.shape[2:]) for one in maps] == [[224 // stride] * 2 for stride in network.strides]
