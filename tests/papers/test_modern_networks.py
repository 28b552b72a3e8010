"""EfficientNet, EfficientNetV2, RegNet and ConvNeXt against their papers, on the meta device at full size.

Expected numbers come from ``architectures.json`` and the papers' printed tables; where neither has a network, its parameters are
counted from its table by a formula that is held against the others.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from striate import zoo
from striate.layers import StochasticDepth
from striate.models import convnext, efficientnet, efficientnet_v2, regnet
from striate.models.convnext import ConvNeXtBlock
from striate.models.efficientnet import Stage, mbconv, round_channels
from striate.models.regnet import block_widths, stage_sizes
from striate.models.variant import Network, Variant

TRUTH: dict[str, dict[str, Any]] = {
    row["name"]: row for row in json.loads((Path(__file__).parent / "architectures.json").read_text())
}
EFFICIENT = {variant.name: variant for variant in (*efficientnet.VARIANTS, *efficientnet_v2.VARIANTS)}
REGNETS = {variant.name: variant for variant in regnet.VARIANTS}
CONVNEXTS = {variant.name: variant for variant in convnext.VARIANTS}
MODERN: dict[str, Variant] = {**EFFICIENT, **REGNETS, **CONVNEXTS}
ROWS = [name for name in MODERN if name in TRUTH]


class Measured(NamedTuple):
    """What one forward pass shows; ``shapes``: path of a module -> its output for one image."""

    network: Network
    description: zoo.Description
    shapes: dict[str, tuple[int, ...]]


@cache
def measure(name: str) -> Measured:
    with torch.device("meta"):
        network = zoo.build(name)
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, path=path: shapes.update({path: tuple(output.shape[1:])}))
        for path, module in network.named_modules()
    ]
    description = zoo.describe(network, MODERN[name].input_size, MODERN[name].in_channels)
    for hook in hooks:
        hook.remove()
    return Measured(network, description, shapes)


def test_every_row_of_the_four_families_is_here() -> None:
    families = ("efficientnet", "regnet", "convnext")
    assert {name for name in TRUTH if name.startswith(families)} == set(ROWS) <= set(zoo.MODELS)


@pytest.mark.parametrize("name", ROWS)
def test_parameters_macs_and_stages(name: str) -> None:
    row, (network, description, shapes) = TRUTH[name], measure(name)
    assert (description.parameters, description.macs) == (row["params"], row["macs"])
    assert MODERN[name].input_size == tuple(row["input"][1:])
    assert {path: list(shapes[path]) for path in row["stages"]} == row["stages"]
    kinds = {"conv_linear_weights": 0, "biases": 0, "norm_affine": 0, "other": 0}
    for module in network.modules():
        for key, parameter in module.named_parameters(recurse=False):
            norm, weighted = isinstance(module, nn.BatchNorm2d | nn.LayerNorm), isinstance(module, nn.Conv2d | nn.Linear)
            kind = "norm_affine" if norm else "other" if not weighted else "biases" if key == "bias" else "conv_linear_weights"
            kinds[kind] += parameter.numel()
    assert kinds == {kind: row[kind] for kind in kinds}


@pytest.mark.parametrize("name", ROWS)
def test_parameter_names_are_the_published_ones(name: str) -> None:
    row, keys = TRUTH[name], list(measure(name).network.state_dict())
    assert len(keys) == row["n_state_keys"]
    assert keys[: len(row["first_keys"])] == row["first_keys"]
    assert keys[-len(row["last_keys"]) :] == row["last_keys"]


@pytest.mark.parametrize("name", [name for name, variant in MODERN.items() if variant.paper_table])
def test_the_printed_table(name: str) -> None:
    """Where the network has other channels than the paper prints, the row says how many."""
    shapes = measure(name).shapes
    for row in MODERN[name].paper_table:
        channels, *size = shapes[row.path]
        assert size == list(row.output[1:]), row.layer
        assert channels == row.output[0] or row.note.startswith(f"{channels} channels in the published weights"), row.layer


@pytest.mark.parametrize("name", REGNETS)
def test_widths_follow_from_the_papers_parameters(name: str) -> None:
    """Rounded as the paper rounds they are those that it prints."""
    variant = REGNETS[name]
    arguments = dict(variant.arguments)
    group_width = arguments.pop("group_width")
    printed = [row.output[0] for row in variant.paper_table[1:]]
    quantised = sorted(set(block_widths(**arguments)))
    assert [group_width * round(width / group_width) for width in quantised] == printed
    stages = stage_sizes(**variant.arguments)
    assert sum(blocks for _, blocks in stages) == variant.arguments["depth"]
    assert [row.note == "" for row in variant.paper_table[1:]] == [
        ours == width for (ours, _), width in zip(stages, printed, strict=True)
    ]


def efficientnet_parameters(variant: Variant) -> int:
    """Counted from the table: weights, two numbers a channel of each norm, two dense layers with biases of each excitation."""

    def conv(fan_in: int, out: int) -> int:
        return out * (fan_in + 2)

    def block(stage: Stage, channels: int, out: int) -> int:
        wide, area, squeezed = channels * stage.expansion, stage.kernel**2, channels // 4
        if stage.block is not mbconv:
            return conv(area * channels, out) if wide == channels else conv(area * channels, wide) + conv(wide, out)
        expansion = 0 if wide == channels else conv(channels, wide)
        return expansion + conv(area, wide) + 2 * wide * squeezed + squeezed + wide + conv(wide, out)

    given = {"width": 1, "depth": 1, "stages": efficientnet.TABLE_1, "stem": 32, **variant.arguments}
    width, channels = given["width"], round_channels(given["width"] * given["stem"])
    total = conv(9 * variant.in_channels, channels)
    for stage in given["stages"]:
        out = round_channels(width * stage.channels)
        total += block(stage, channels, out) + (math.ceil(given["depth"] * stage.depth) - 1) * block(stage, out, out)
        channels = out
    head = round_channels(width * 1280)
    return total + conv(channels, head) + (head + 1) * variant.num_classes


def regnet_parameters(variant: Variant) -> int:
    total, channels, group_width = 32 * (9 * variant.in_channels + 2), 32, variant.arguments["group_width"]
    for width, blocks in stage_sizes(**variant.arguments):
        for before in (channels, *[width] * (blocks - 1)):
            total += width * (before + 2) + width * (9 * group_width + 2) + width * (width + 2)
            total += 2 * width * (before // 4) + before // 4 + width
        total += width * (channels + 2)
        channels = width
    return total + (channels + 1) * variant.num_classes


def convnext_parameters(variant: Variant) -> int:
    width: int = variant.arguments["width"]
    depths: tuple[int, ...] = variant.arguments["depths"]
    widths = [width << stage for stage in range(len(depths))]
    blocks = sum(depth * (8 * c * c + (49 + 1 + 2 + 4 + 1 + 1) * c) for depth, c in zip(depths, widths, strict=True))
    halvings = sum(2 * c + (4 * c + 1) * 2 * c for c in widths[:-1])
    stem = (16 * variant.in_channels + 1 + 2) * width
    return stem + blocks + halvings + 2 * widths[-1] + (widths[-1] + 1) * variant.num_classes


@pytest.mark.parametrize("name", MODERN)
def test_parameters_by_formula(name: str) -> None:
    variant = MODERN[name]
    count = efficientnet_parameters if name in EFFICIENT else regnet_parameters if name in REGNETS else convnext_parameters
    wanted = count(variant)
    assert TRUTH.get(name, {"params": wanted})["params"] == wanted
    assert measure(name).description.parameters == wanted


@pytest.mark.parametrize("name", ["efficientnet_b1", "convnext_tiny"])
def test_stochastic_depth_grows_linearly_from_the_first_block(name: str) -> None:
    """To 0.2 after EfficientNet's last block, to the variant's own rate at ConvNeXt's last."""
    rates = [module.p for module in measure(name).network.modules() if isinstance(module, StochasticDepth)]
    steps, last = (len(rates), 0.2) if name in EFFICIENT else (len(rates) - 1, CONVNEXTS[name].arguments["drop"])
    assert rates == pytest.approx([last * block / steps for block in range(len(rates))])


@pytest.mark.parametrize(
    ("name", "path", "fan"),
    [("efficientnet_b0", "features.6.1.block.1.0", 5 * 5), ("regnet_y_400mf", "trunk_output.block4.block4-1.f.b.0", 3 * 3 * 440)],
)
def test_grouped_convolutions_start_as_in_the_authors_code(name: str, path: str, fan: int) -> None:
    """EfficientNet counts the outputs of a depthwise filter, RegNet those of all groups."""
    torch.manual_seed(0)
    weight = zoo.build(name).get_parameter(f"{path}.weight").detach()
    # The spread of n draws is known within 1 / sqrt(2 n), n being over 28,000: 0.0043; over ten times that.
    assert float(weight.std()) == pytest.approx(math.sqrt(2 / fan), rel=0.05)


def test_an_untrained_convnext_block_is_almost_the_identity() -> None:
    x: Tensor = torch.randn(2, 16, 8, 8)
    change = (ConvNeXtBlock(16, 0.0)(x) - x).abs().max()
    assert 0 < change < 1e-5
