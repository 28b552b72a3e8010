"""The lectures' own printed numbers, computed by our functions from each item's inputs.

Expected values come from ``golden.json`` alone; where a slide is wrong (``slide_matches: false``) it holds the right one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from striate import reference, zoo
from striate.arithmetic import (
    Convolution,
    Dense,
    DoesNotFit,
    Pooling,
    Row,
    axes,
    chain,
    dense_equivalent,
    output_size,
)
from striate.layers import arithmetic_of

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GOLDEN: dict[str, dict[str, Any]] = {item["id"]: item for item in json.loads((HERE / "golden.json").read_text())}
FC_VS_CONV = Convolution(6, 5, bias=False)


@cache
def network(name: str) -> dict[str, Row]:
    """The layers of one of our networks by path, as they ran on one image of its own size."""
    variant, rows = zoo.MODELS[name], {}
    with torch.device("meta"):
        built = zoo.build(name)

    def listen(path: str, module: nn.Module) -> None:
        layer = arithmetic_of(module)

        def ran(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
            shape = tuple(inputs[0].shape[1:])
            assert layer is not None
            rows[path] = chain(shape if len(shape) == 3 else (shape[0], 1, 1), [layer])[0]

        if layer is not None:
            module.register_forward_hook(ran)

    for path, module in built.named_modules():
        listen(path, module)
    built.eval()(torch.empty(1, variant.in_channels, *variant.input_size, device="meta"))
    return rows


def part(name: str, *prefixes: str) -> list[Row]:
    """The layers of a network within some of its modules."""
    return [row for path, row in network(name).items() if path.startswith(tuple(f"{prefix}." for prefix in prefixes))]


def parameters(rows: Iterable[Row]) -> int:
    return sum(row.parameters for row in rows)


def macs(rows: Iterable[Row]) -> int:
    return sum(row.macs for row in rows)


def hwc(shape: Sequence[int]) -> list[int]:
    """As the lectures write shapes: height x width x channels."""
    return [*shape[1:], shape[0]]


def shapes(name: str) -> list[list[int]]:
    """Outputs of a network's layers as the lectures write them: neurons alone behind a dense layer."""
    return [[row.output[0]] if isinstance(row.layer, Dense) else hwc(row.output) for row in network(name).values()]


def mlp(widths: Sequence[int]) -> int:
    return parameters(chain((widths[0], 1, 1), [Dense(after) for _, after in pairwise(widths)]))


def cost(rows: Sequence[Row]) -> dict[str, Any]:
    """Weights, the same in the 1024s of the paper's column, and multiply-accumulates."""
    weights = sum(row.weights for row in rows)
    return {"weights": weights, "kibi": round(weights / 1024, 2), "macs": macs(rows)}


def concatenated(module: str) -> int:
    """Channels of an inception module: those of the last layer of each branch."""
    ends = {path.split(".")[1]: row.output[0] for path, row in network("googlenet_2014").items() if path.startswith(f"{module}.")}
    return sum(ends.values())


def strict_and_floor(size: int, kernel: int, stride: int) -> dict[str, Any]:
    try:
        strict: object = output_size(size, kernel, stride, rounding="strict")[0]
    except DoesNotFit:
        strict = "raise"
    return {"strict": strict, "floor": output_size(size, kernel, stride)[0]}


def chained(item: dict[str, Any], stride: int, padding: int) -> list[int]:
    height, width, channels, filters, kernel = item["input"]
    return hwc(Convolution(filters, kernel, stride, padding).output((channels, height, width)))


def convolutions_a_block() -> list[int]:
    """Between VGG-16's poolings."""
    runs = groupby(part("vgg16", "features"), lambda row: isinstance(row.layer, Convolution))
    return [len(list(run)) for convolutions, run in runs if convolutions]


def correlated(item: dict[str, Any]) -> Any:
    """One kernel on one plane, several kernels on one plane, or one kernel on all channels."""
    image, kernel, stride, padding = np.array(item["input"]), np.array(item["kernel"]), item["stride"], item["padding"]
    padding = tuple(padding) if isinstance(padding, list) else padding
    if image.ndim == kernel.ndim == 2:
        return reference.cross_correlation(image, kernel, item["bias"], stride, padding)
    if image.ndim == 2:
        return reference.cross_correlation(image[None], kernel[:, None], item["bias"], stride, padding)
    return reference.cross_correlation(image, kernel[None], item["bias"], stride, padding)[0]


def pooled(item: dict[str, Any]) -> Any:
    pool = {"max_pool2d": reference.max_pool, "avg_pool2d": reference.average_pool}[item["op"]]
    rounding = "ceil" if item["ceil_mode"] else "floor"
    return pool(item["input"], item["window"], item["stride"], item["padding"], rounding=rounding)


OPERATIONS = {"conv2d_cross_correlation": correlated, "max_pool2d": pooled, "avg_pool2d": pooled}
INCEPTIONS = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")

CALLS: dict[str, Callable[[dict[str, Any]], Any]] = {
    **{key: OPERATIONS[item["op"]] for key, item in GOLDEN.items() if item["op"] in OPERATIONS},
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
    "s1.lenet5.params.paper": lambda _: parameters(network("lenet5_1998").values()),
    "s1.alexnet.params.grouped": lambda _: parameters(network("alexnet_2012").values()),
    "s1.googlenet.fc_claim": lambda _: not any(isinstance(r.layer, Dense) for r in network("googlenet_2014").values()),
    "s2.shape.32_5_p2_10": lambda _: hwc(Convolution(10, 5, padding=2).output((3, 32, 32))),
    "s2.params.760": lambda _: Convolution(10, 5).parameters((3, 32, 32)),
    "s2.param_per_filter": lambda _: Convolution(1, 5).parameters((3, 32, 32)),
    "s2.shape.shrink": lambda _: [32, *(row.output[1] for row in chain((3, 32, 32), [Convolution(6, 5)] * 2))],
    "s2.samepad.3": lambda _: axes(32, 3, padding="same")[0].before,
    "s2.samepad.5": lambda _: axes(32, 5, padding="same")[0].before,
    "s2.samepad.7": lambda _: axes(32, 7, padding="same")[0].before,
    "s2.shape.7_3_s3": lambda _: strict_and_floor(7, 3, 3),
    "s2.shape.5filters": lambda _: hwc(Convolution(5, 5).output((3, 32, 32))),
    "s2.alexnet.params": lambda _: parameters(network("alexnet_2012").values()),
    "s2.alexnet.neurons": lambda _: sum(
        row.neurons for row in network("alexnet_2012").values() if not isinstance(row.layer, Pooling)
    ),
    "s2.alexnet.connections": lambda _: macs(network("alexnet_2012").values()),
    "s3.shape.4_3": lambda _: output_size(4, 3)[0],
    "s3.shape.rgb": lambda _: list(Convolution(1, 3).output((3, 6, 6))[1:]),
    "s3.rgb.kernel_numbers": lambda _: Convolution(1, 3).weights((3, 6, 6)),
    "s4.fc500.inputs": lambda _: Dense(1, bias=False).parameters((3, 500, 500)),
    "s4.fc500.weights": lambda _: Dense(1000).weights((3, 500, 500)),
    "s4.shape.6_3_s2": lambda _: output_size(6, 3, 2)[0],
    "s4.chain.conv1": lambda item: chained(item, stride=2, padding=1),
    "s4.chain.conv2": lambda item: chained(item, stride=2, padding=0),
    "s4.chain.conv3": lambda item: chained(item, stride=1, padding=0),
    "s4.train.err0": lambda item: reference.squared_error(target=item["input"][0], output=item["input"][1]),
    "s4.train.err1": lambda item: reference.squared_error(target=item["input"][0], output=item["input"][1]),
    "s4.26class.shapes": lambda _: [hwc(row.output) for row in network("letters_cnn").values()],
    "s4.26class.params": lambda _: parameters(network("letters_cnn").values()),
    "s4.26class.connections": lambda _: sum(row.connections for row in network("letters_cnn").values()),
    "s4.lenet1.params": lambda _: parameters(network("lenet1").values()),
    "s4.lenet5.shapes": lambda _: shapes("lenet5"),
    "s4.lenet5.params.full": lambda _: parameters(network("lenet5").values()),
    "s4.alexnet.shapes": lambda _: shapes("alexnet_lecture")[:7],
    "s4.alexnet.params.ungrouped": lambda _: parameters(network("alexnet_lecture").values()),
    "s4.vgg16.rows": lambda _: convolutions_a_block(),
    "s4.vgg16.shapes": lambda _: [hwc(row.output) for row in network("vgg16").values() if isinstance(row.layer, Pooling)],
    "s4.googlenet.conv1": lambda _: cost(part("googlenet_2014", "conv1")),
    "s4.googlenet.conv2": lambda _: cost(part("googlenet_2014", "conv2", "conv3")),
    **{f"s4.googlenet.{name}": lambda _, name=name: cost(part("googlenet_2014", f"inception{name}")) for name in INCEPTIONS},
    "s4.googlenet.depth_concat": lambda _: [concatenated(f"inception{name}") for name in INCEPTIONS],
    "s4.googlenet.linear": lambda _: network("googlenet_2014")["fc"].weights,
}  # fmt: skip
"""Item -> the call of ours that computes it."""


def test_every_verified_item_has_its_call() -> None:
    assert [key for key, item in GOLDEN.items() if item["verified"] and key not in CALLS] == []
    assert CALLS.keys() <= GOLDEN.keys()


@pytest.mark.parametrize("key", CALLS)
def test_number_of_the_lectures(key: str) -> None:
    item = GOLDEN[key]
    result = CALLS[key](item)
    if isinstance(result, np.ndarray | float):
        # Fractions are written with ten decimals: half a unit of the last, and what rounding on the way may add.
        np.testing.assert_allclose(result, item["expected"], rtol=0, atol=6e-11, strict=False)
        assert np.shape(result) == np.shape(item["expected"])
    else:
        assert result == item["expected"]


WINDOWS = [key for key, item in GOLDEN.items() if item["op"] in OPERATIONS]


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
    height, width = np.shape(nested)[-2:]
    return height, width


def test_a_printed_number_that_matches_is_the_computed_one() -> None:
    """``slide_matches`` is right where the slide printed the whole answer."""
    for key, item in GOLDEN.items():
        if item["slide_matches"] and item["op"] in OPERATIONS and np.shape(item["slide_printed"]) == np.shape(item["expected"]):
            np.testing.assert_allclose(CALLS[key](item), item["slide_printed"], rtol=0, atol=1e-9)


def test_the_page_of_corrections_is_made_from_the_table(tmp_path: Path) -> None:
    page = tmp_path / "corrections.md"
    script = [sys.executable, str(ROOT / "tools" / "corrections.py"), str(page)]
    subprocess.run(script, check=True, cwd=ROOT)
    assert page.read_text() == (ROOT / "docs" / "corrections.md").read_text()
    for key, item in GOLDEN.items():
        if item["slide_matches"] is False or not item["verified"]:
            assert f"`{key}`" in page.read_text()
