"""The lectures' own printed numbers, computed by our functions from each item's inputs.

Expected values come from ``golden.json`` alone; where a slide is wrong (``slide_matches: false``) it holds the right one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from striate import zoo
from striate.arithmetic import (
    Convolution,
    Dense,
    DoesNotFit,
    Layer,
    Pooling,
    Shape,
    axes,
    chain,
    dense_equivalent,
    output_size,
)
from striate.layers import arithmetic_of

HERE = Path(__file__).parent
GOLDEN: dict[str, dict[str, Any]] = {item["id"]: item for item in json.loads((HERE / "golden.json").read_text())}
TABLES: dict[str, dict[str, Any]] = {row["name"]: row for row in json.loads((HERE / "architectures.json").read_text())}

FC_VS_CONV = Convolution(6, 5, bias=False)
LENET5_PAPER = [
    Convolution(6, 5),
    Pooling(2, trainable=True),
    Convolution(16, 5, links=sum(map(len, TABLES["lenet5_paper"]["c3_table"]))),
    Pooling(2, trainable=True),
    Convolution(120, 5),
    Dense(84),
]


def alexnet(groups: int) -> list[Layer]:
    return [
        Convolution(96, 11, 4), Pooling(3, 2),
        Convolution(256, 5, padding=2, groups=groups), Pooling(3, 2),
        Convolution(384, 3, padding=1), Convolution(384, 3, padding=1, groups=groups),
        Convolution(256, 3, padding=1, groups=groups), Pooling(3, 2),
        Dense(4096), Dense(4096), Dense(1000),
    ]  # fmt: skip


def parameters(shape: Shape, layers: Sequence[Layer]) -> int:
    return sum(row.parameters for row in chain(shape, layers))


def shapes(shape: Shape, layers: Sequence[Layer]) -> list[list[int]]:
    """Outputs as the lectures write them: height x width x channels, or neurons alone behind a dense layer."""
    rows = chain(shape, layers)
    return [[row.output[0]] if isinstance(row.layer, Dense) else hwc(row.output) for row in rows]


def hwc(shape: Shape) -> list[int]:
    return [*shape[1:], shape[0]]


def mlp(widths: Sequence[int]) -> int:
    return parameters((widths[0], 1, 1), [Dense(after) for _, after in pairwise(widths)])


def network(name: str) -> list[Layer]:
    """The layers of one of our networks, in order."""
    with torch.device("meta"):
        modules = zoo.build(name).modules()
    return [layer for module in modules if (layer := arithmetic_of(module)) is not None]


def strict_and_floor(size: int, kernel: int, stride: int) -> dict[str, Any]:
    try:
        strict: object = output_size(size, kernel, stride, rounding="strict")[0]
    except DoesNotFit:
        strict = "raise"
    return {"strict": strict, "floor": output_size(size, kernel, stride)[0]}


CALLS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "s0.mlp16x16.params": lambda item: mlp(item["input"]),
    "s0.shape.pad1": lambda _: output_size(6, 3, 1, 1)[0],
    "s0.shape.rgb2": lambda _: hwc(Convolution(2, 3).output((3, 6, 6))),
    "s0.rgb2.params": lambda _: Convolution(2, 3).parameters((3, 6, 6)),
    "s1.fc200.inputs": lambda _: Dense(1, bias=False).parameters((3, 200, 200)),
    "s1.fc200.weights": lambda _: Dense(1000).weights((3, 200, 200)),
    "s1.conv64.params": lambda _: Convolution(64, 5).weights((3, 200, 200)),
    "s1.fc_vs_conv.fc_weights": lambda _: dense_equivalent(FC_VS_CONV, (3, 32, 32)).parameters((3, 32, 32)),
    "s1.fc_vs_conv.conv_weights": lambda _: FC_VS_CONV.parameters((3, 32, 32)),
    "s1.fc_vs_conv.units": lambda _: FC_VS_CONV.neurons((3, 32, 32)),
    "s1.shape.32_5x5x3_6": lambda _: hwc(Convolution(6, 5).output((3, 32, 32))),
    "s1.shape.7_3_s1": lambda _: output_size(7, 3)[0],
    "s1.shape.7_3_s2": lambda _: output_size(7, 3, 2)[0],
    "s1.shape.7_3_p1": lambda _: output_size(7, 3, padding=1)[0],
    "s2.shape.32_5_p2_10": lambda _: hwc(Convolution(10, 5, padding=2).output((3, 32, 32))),
    "s2.params.760": lambda _: Convolution(10, 5).parameters((3, 32, 32)),
    "s2.param_per_filter": lambda _: Convolution(1, 5).parameters((3, 32, 32)),
    "s2.shape.shrink": lambda _: [32, *(row.output[1] for row in chain((3, 32, 32), [Convolution(6, 5)] * 2))],
    "s2.samepad.3": lambda _: axes(32, 3, padding="same")[0].before,
    "s2.samepad.5": lambda _: axes(32, 5, padding="same")[0].before,
    "s2.samepad.7": lambda _: axes(32, 7, padding="same")[0].before,
    "s2.shape.7_3_s3": lambda _: strict_and_floor(7, 3, 3),
    "s2.shape.5filters": lambda _: hwc(Convolution(5, 5).output((3, 32, 32))),
    "s2.alexnet.params": lambda _: parameters((3, 227, 227), alexnet(groups=2)),
    "s2.alexnet.neurons": lambda _: sum(
        row.neurons for row in chain((3, 227, 227), alexnet(groups=2)) if not isinstance(row.layer, Pooling)
    ),
    "s3.shape.4_3": lambda _: output_size(4, 3)[0],
    "s3.shape.rgb": lambda _: list(Convolution(1, 3).output((3, 6, 6))[1:]),
    "s3.rgb.kernel_numbers": lambda _: Convolution(1, 3).weights((3, 6, 6)),
    "s4.fc500.inputs": lambda _: Dense(1, bias=False).parameters((3, 500, 500)),
    "s4.fc500.weights": lambda _: Dense(1000).weights((3, 500, 500)),
    "s4.shape.6_3_s2": lambda _: output_size(6, 3, 2)[0],
    "s4.chain.conv1": lambda item: chained(item["input"], stride=2, padding=1),
    "s4.chain.conv2": lambda item: chained(item["input"], stride=2, padding=0),
    "s4.chain.conv3": lambda item: chained(item["input"], stride=1, padding=0),
    "s4.26class.shapes": lambda _: [hwc(row.output) for row in chain((1, 28, 28), network("letters_cnn"))],
    "s4.26class.params": lambda _: parameters((1, 28, 28), network("letters_cnn")),
    "s4.26class.connections": lambda _: sum(row.connections for row in chain((1, 28, 28), network("letters_cnn"))),
    "s4.lenet1.params": lambda _: parameters((1, 28, 28), network("lenet1")),
    "s4.lenet5.shapes": lambda _: shapes((1, 32, 32), network("lenet5")),
    "s4.lenet5.params.full": lambda _: parameters((1, 32, 32), network("lenet5")),
    "s1.lenet5.params.paper": lambda _: parameters((1, 32, 32), LENET5_PAPER),
    "s4.alexnet.shapes": lambda _: shapes((3, 227, 227), alexnet(groups=1)[:7]),
    "s4.alexnet.params.ungrouped": lambda _: parameters((3, 227, 227), alexnet(groups=1)),
    "s1.alexnet.params.grouped": lambda _: parameters((3, 227, 227), alexnet(groups=2)),
    "s4.googlenet.linear": lambda _: Dense(1000).weights((1024, 1, 1)),
}  # fmt: skip


def chained(item: Sequence[int], stride: int, padding: int) -> list[int]:
    height, width, channels, filters, kernel = item
    return hwc(Convolution(filters, kernel, stride, padding).output((channels, height, width)))


@pytest.mark.parametrize("key", CALLS)
def test_number_of_the_lectures(key: str) -> None:
    assert GOLDEN[key]["verified"]
    assert CALLS[key](GOLDEN[key]) == GOLDEN[key]["expected"]


WINDOWS = [key for key, item in GOLDEN.items() if item["op"] in ("conv2d_cross_correlation", "max_pool2d", "avg_pool2d")]


@pytest.mark.parametrize("key", WINDOWS)
def test_size_of_every_worked_example(key: str) -> None:
    item = GOLDEN[key]
    kernel = item.get("window") or size_of(item["kernel"])
    padding = tuple(item["padding"]) if isinstance(item["padding"], list) else item["padding"]
    rounding = "ceil" if item.get("ceil_mode") else "floor"
    expected = size_of(item["expected"])
    assert output_size(size_of(item["input"]), kernel, item["stride"], padding, rounding=rounding) == expected  # type: ignore[arg-type]


def size_of(nested: Any) -> tuple[int, int]:
    """(height, width) of nested lists, whatever stands before."""
    height, width = torch.tensor(nested).shape[-2:]
    return height, width
