"""The Inception line against its papers, where ``architectures.json`` does not tell; most of it on the meta device."""

from __future__ import annotations

import json
from math import prod, sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from striate import zoo
from striate.arithmetic import Convolution, Dense, chain
from striate.models import googlenet, inception_v3
from striate.models.variant import Network

GOLDEN: dict[str, dict[str, Any]] = {row["id"]: row for row in json.loads((Path(__file__).parent / "golden.json").read_text())}

Filters = tuple[int, int | tuple[int, int]]


def on_meta(name: str) -> Network:
    with torch.device("meta"):
        return zoo.build(name)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# GoogLeNet


@pytest.mark.parametrize("block", googlenet.INCEPTIONS)
def test_weights_and_macs_of_each_inception_block(block: str) -> None:
    """Table 1's last two columns, as its layers give them: it misprints six of the nine blocks."""
    module = on_meta("googlenet_2014").get_submodule(block)
    side, in_channels = {"3": 28, "4": 14, "5": 7}[block[-2]], module.get_parameter("branch1.conv.weight").shape[1]
    weights = sum(parameter.numel() for key, parameter in module.named_parameters() if key.endswith("weight"))
    macs = zoo.describe(module, (side, side), in_channels).macs
    expected = GOLDEN[f"s4.googlenet.{block[-2:]}"]["expected"]
    assert (weights, macs) == (expected["weights"], expected["macs"])


def test_the_published_network_has_3x3_for_5x5_and_nothing_else() -> None:
    ours, theirs = (
        {key: module.kernel_size for key, module in on_meta(name).named_modules() if isinstance(module, nn.Conv2d)}
        for name in ("googlenet", "googlenet_2014")
    )
    assert ours.keys() == theirs.keys()
    differing = {key: (ours[key], theirs[key]) for key in ours if ours[key] != theirs[key]}
    assert differing == {f"{block}.branch3.1.conv": ((3, 3), (5, 5)) for block in googlenet.INCEPTIONS}


def test_the_auxiliary_classifiers_pool_as_the_paper_at_its_own_size() -> None:
    """5x5 at stride 3 makes 4x4 of 14x14; the adaptive pool behind it must not touch that."""
    images = torch.randn(2, 3, 14, 14)
    pool = googlenet.AuxiliaryClassifier(3, 10, batch_norm=False).pool
    assert torch.equal(pool(images), nn.functional.avg_pool2d(images, 5, 3))
    assert pool(torch.randn(2, 3, 5, 40)).shape == (2, 3, 4, 4)


def test_the_paper_has_two_response_norms_and_no_batch_norm() -> None:
    kinds = [type(module) for module in on_meta("googlenet_2014").modules()]
    assert kinds.count(nn.LocalResponseNorm) == 2
    assert nn.BatchNorm2d not in kinds


# Preprocessing


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_pixels_are_those_the_published_weights_were_trained_on(name: str) -> None:
    """torchvision normalises as it does for ResNet, then has the network take that back and map 0..1 to -1..1."""
    usual, ours = zoo.MODELS["resnet50"], zoo.MODELS[name]
    for channel in range(3):
        pixels = torch.linspace(0, 1, 256, dtype=torch.float64)
        mean, std = usual.mean[channel], usual.std[channel]
        transformed = (pixels - mean) / std * (std / 0.5) + (mean - 0.5) / 0.5
        torch.testing.assert_close((pixels - ours.mean[channel]) / ours.std[channel], transformed, rtol=0, atol=1e-14)


# Inception v3


@pytest.mark.parametrize(("side", "read"), [(17, 5), (20, 6), (16, 5), (3, 5)])
def test_any_image_reaches_the_auxiliary_classifiers_5x5(side: int, read: int) -> None:
    """From 17 pixels the pool is the paper's, below the map is averaged to the 5x5 that the filters need."""
    classifier = inception_v3.AuxiliaryClassifier(4, 10).eval()
    seen: list[Tensor] = []
    classifier.conv0.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    images = torch.randn(2, 4, side, side)
    assert classifier(images).shape == (2, 10)
    assert seen[0].shape == (2, 4, read, read)
    if side >= 17:
        assert torch.equal(seen[0], nn.functional.avg_pool2d(images, 5, 3))


# Inception v4, of which no row knows: its figures, counted


def branch(size: tuple[int, int, int], *filters: Filters, last_stride: int = 0) -> tuple[int, int]:
    """Parameters and MACs of convolutions with batch norm; the last one is valid where it has a stride of its own."""
    layers = [
        Convolution(count, kernel, stride=last_stride, bias=False)
        if last_stride and number == len(filters)
        else Convolution(count, kernel, padding="same", bias=False)
        for number, (count, kernel) in enumerate(filters, 1)
    ]
    rows = chain(size, layers)
    return sum(row.parameters + 2 * row.output[0] for row in rows), sum(row.macs for row in rows)


def figures_of_inception_v4() -> list[tuple[int, tuple[int, int]]]:
    """(number of blocks, (parameters, MACs)) of each branch of figures 3 to 8."""
    a, b, c = (384, 35, 35), (1024, 17, 17), (1536, 8, 8)
    wide, tall = (1, 7), (7, 1)
    stem = [
        branch((3, 299, 299), (32, 3), last_stride=2),
        branch((32, 149, 149), (32, 3), last_stride=1),
        branch((32, 147, 147), (64, 3)),
        branch((64, 147, 147), (96, 3), last_stride=2),
        branch((160, 73, 73), (64, 1), (96, 3), last_stride=1),
        branch((160, 73, 73), (64, 1), (64, wide), (64, tall), (96, 3), last_stride=1),
        branch((192, 71, 71), (192, 3), last_stride=2),
    ]
    block_a = [branch(a, (96, 1)), branch(a, (96, 1)), branch(a, (64, 1), (96, 3)), branch(a, (64, 1), (96, 3), (96, 3))]
    reduction_a = [branch(a, (384, 3), last_stride=2), branch(a, (192, 1), (224, 3), (256, 3), last_stride=2)]
    block_b = [
        branch(b, (128, 1)),
        branch(b, (384, 1)),
        branch(b, (192, 1), (224, wide), (256, tall)),
        branch(b, (192, 1), (192, wide), (224, tall), (224, wide), (256, tall)),
    ]
    reduction_b = [
        branch(b, (192, 1), (192, 3), last_stride=2),
        branch(b, (256, 1), (256, wide), (320, tall), (320, 3), last_stride=2),
    ]
    sides = (256, (1, 3)), (256, (3, 1))
    block_c = [
        branch(c, (256, 1)),
        branch(c, (256, 1)),
        branch(c, (384, 1)),
        *(branch((384, 8, 8), side) for side in sides),
        branch(c, (384, 1), (448, (1, 3)), (512, (3, 1))),
        *(branch((512, 8, 8), side) for side in sides),
    ]
    counts = ((1, stem), (4, block_a), (1, reduction_a), (7, block_b), (1, reduction_b), (3, block_c))
    return [(count, one) for count, branches in counts for one in branches]


def test_inception_v4_is_its_figures() -> None:
    head = chain((1536, 1, 1), [Dense(1000)])[0]
    figures = figures_of_inception_v4()
    description = zoo.describe("inception_v4")
    assert description.parameters == sum(count * each[0] for count, each in figures) + head.parameters
    assert description.macs == sum(count * each[1] for count, each in figures) + head.macs


# First values


def spread(layer: nn.Module) -> tuple[float, float]:
    """Standard deviation and largest size of a layer's weights."""
    weight = layer.get_parameter("weight").detach()
    return float(weight.std()), float(weight.abs().max())


def test_inception_v3_begins_as_its_authors_code() -> None:
    torch.manual_seed(0)
    network = zoo.build("inception_v3")
    # A normal cut at twice its deviation keeps 0.8796 of it; 98,304 weights (the fewest here) know it within 0.0023.
    for path, deviation in {
        "Mixed_6b.branch1x1.conv": 0.1,
        "AuxLogits.conv0.conv": 0.1,
        "AuxLogits.conv1.conv": 0.01,
        "fc": 0.01,
        "AuxLogits.fc": 0.001,
    }.items():
        std, largest = spread(network.get_submodule(path))
        assert std == pytest.approx(0.8796 * deviation, rel=0.02), path
        assert 1.9 * deviation < largest <= 2 * deviation * (1 + 1e-6), path


@pytest.mark.parametrize("name", ["googlenet", "googlenet_2014"])
def test_googlenet_begins_as_its_authors_code_or_caffes(name: str) -> None:
    torch.manual_seed(0)
    network = zoo.build(name)
    for path in ("inception5b.branch1.conv", "aux1.fc1", "aux2.fc2", "fc"):
        layer = network.get_submodule(path)
        std, largest = spread(layer)
        fan_in = prod(layer.get_parameter("weight").shape[1:])
        deviation, bound = (0.008796, 0.02) if name == "googlenet" else (1 / sqrt(fan_in), sqrt(3 / fan_in))
        assert std == pytest.approx(deviation, rel=0.02), path
        assert 0.95 * bound < largest <= bound * (1 + 1e-6), path
    classifiers = {f"{path}.bias" for path in (network.head_path, *network.aux_head_paths)}
    before_relu = 0.2 if name == "googlenet_2014" else 0.0
    for key, bias in network.named_parameters():
        if key.endswith(".bias"):
            assert torch.equal(bias, torch.full_like(bias, 0.0 if key in classifiers else before_relu)), key


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inception_v4", "inception_resnet_v2"])
def test_inception_v4_begins_with_he_by_fan_in(name: str) -> None:
    torch.manual_seed(0)
    for path, layer in zoo.build(name).named_modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 50_000:
            std, _ = spread(layer)
            # sqrt(1.3) x 0.8796 = 1.003; 50,000 weights know it within 0.0032 (one standard error).
            assert std == pytest.approx(1.003 * sqrt(2 / prod(layer.weight.shape[1:])), rel=0.02), path
