"""Writes what the studio's convolution lab begins with, and what its arithmetic is held against.

    python tools/lab_presets.py

``striate/studio/web/src/lab/presets.json``: the lectures' worked examples from ``tests/papers/golden.json``, with what the
lectures printed, and the named filters of :mod:`striate.kernels`. ``vectors.json`` beside it: the right answers of those
examples, and small settings of every kind with the output of ``torch.nn.functional``; only tests read it. No number of either
is typed here, and integers stay integers, so that the two sides agree exactly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from corrections import LECTURES, NUMBERS
from lab_titles import SIZES, TITLES
from torch import Tensor
from torch.nn import functional as F

from striate.kernels import KERNELS

ROOT = Path(__file__).resolve().parents[1]
LAB = ROOT / "striate" / "studio" / "web" / "src" / "lab"
GOLDEN: dict[str, dict[str, Any]] = {
    item["id"]: item for item in json.loads((ROOT / "tests" / "papers" / "golden.json").read_text())
}
OPERATIONS = {"conv2d_cross_correlation": "convolution", "max_pool2d": "max", "avg_pool2d": "average"}

Setting = dict[str, Any]
"""As ``Setting`` in arithmetic.ts; padding is [top, bottom, left, right]."""


def depth(value: object) -> int:
    """How many lists lie in one another."""
    return 1 + depth(value[0]) if isinstance(value, list) else 0


def integers(values: Any) -> Any:
    """3.0 as 3, in lists and tables of any depth."""
    if isinstance(values, list):
        return [integers(value) for value in values]
    if isinstance(values, dict):
        return {name: integers(value) for name, value in values.items()}
    return int(values) if isinstance(values, float) and values.is_integer() else values


def over_divisor(kernel: Any) -> tuple[Any, int]:
    """A kernel of ninths as integers over 9."""
    flat = torch.tensor(kernel, dtype=torch.float64).flatten().tolist()
    divisor = math.lcm(*(Fraction(number).limit_denominator(1000).denominator for number in flat))

    def times(values: Any) -> Any:
        return [times(value) for value in values] if isinstance(values, list) else round(values * divisor)

    return times(kernel), divisor


def setting_of(item: dict[str, Any]) -> Setting:
    """One kernel on one plane, several kernels on one plane, or one kernel on all channels; or a pooling."""
    planes = item["input"] if depth(item["input"]) == 3 else [item["input"]]
    padding = item["padding"] if isinstance(item["padding"], list) else [item["padding"]] * 4
    setting = {"operation": OPERATIONS[item["op"]], "input": integers(planes), "stride": item["stride"], "padding": padding}
    if item["kernel"] is None:
        return {**setting, "window": item["window"], "rounding": "ceil" if item["ceil_mode"] else "floor"}
    kernel, divisor = over_divisor(item["kernel"])
    several = [kernel] if depth(kernel) == 2 else kernel
    filters = [kernel] if len(planes) > 1 else [[plane] for plane in several]
    return {**setting, "kernel": filters, "divisor": divisor, "bias": item["bias"] or [0] * len(filters)}


def sized(spec: dict[str, Any]) -> Setting:
    """An example of which the lectures print only sizes, on numbers and kernels of their other examples."""
    height, width = spec["size"]
    planes = [[row[:width] for row in GOLDEN[name]["input"][:height]] for name in spec["inputs"]]
    kernel = [[GOLDEN[name]["kernel"] for name in names] for names in spec["kernels"]]
    shared = {"operation": "convolution", "input": planes, "kernel": kernel, "divisor": 1, "bias": [0] * len(kernel)}
    return {**shared, "stride": spec["stride"], "padding": [spec["padding"]] * 4}


def printed_cells(item: dict[str, Any]) -> list[list[Any]]:
    """[row, column, number] of every cell that the lecture printed: all, the first row or its beginning, or the first cell."""
    printed = item["slide_printed"]
    if printed is None:
        return []
    rows = [[[printed]], [printed], printed][depth(printed)]
    return [[y, x, integers(number)] for y, row in enumerate(rows) for x, number in enumerate(row)]


def wrong_cells(item: dict[str, Any]) -> list[list[int]]:
    """Where the printed number is not the right one."""
    if item["slide_matches"] is not False:
        return []
    if "wrong_cells" in item:
        return [cell["index"] for cell in item["wrong_cells"]]
    return [[y, x] for y, x, number in printed_cells(item) if number != item["expected"][y][x]]


def presets() -> Iterator[dict[str, Any]]:
    for name, title in TITLES.items():
        item = GOLDEN[name]
        preset = {"id": name, "lecture": int(name[1]), "title": title, "setting": setting_of(item)}
        if cells := printed_cells(item):
            preset["printed"] = cells
        if wrong := wrong_cells(item):
            preset |= {"wrong": wrong, "correction": NUMBERS[name]}
        yield preset
    for name, spec in SIZES.items():
        yield {"id": name, "lecture": int(name[1]), "title": spec["title"], "setting": sized(spec)}


def document() -> dict[str, Any]:
    """What the page loads. Inputs that examples share are written once."""
    inputs: list[Any] = []
    rows = []
    for preset in sorted(presets(), key=lambda preset: preset["lecture"]):
        plane = preset["setting"]["input"]
        if plane not in inputs:
            inputs.append(plane)
        rows.append({**preset, "setting": {**preset["setting"], "input": inputs.index(plane)}})
    filters = [
        {"name": kernel.name, "matrix": integers([list(row) for row in kernel.matrix]), "divisor": integers(kernel.divisor),
         "about": kernel.about}
        for kernel in KERNELS.values()
    ]  # fmt: skip
    return {"lectures": list(LECTURES), "inputs": inputs, "presets": rows, "filters": filters}


def answers() -> dict[str, Any]:
    """Of every example: the output [filters, height, width], or where only sizes are printed [height, width]."""
    result: dict[str, Any] = {}
    for name in TITLES:
        expected = GOLDEN[name]["expected"]
        result[name] = integers(expected if depth(expected) == 3 else [expected])
    for name in SIZES:
        expected = GOLDEN[name]["expected"]
        floor = expected["floor"] if isinstance(expected, dict) else expected
        result[name] = floor[:2] if isinstance(floor, list) else [floor, floor]
    return result


def data(*shape: int, salt: int) -> Tensor:
    """Integers within -9..9 without a pattern one can see, the same on every machine."""
    count = math.prod(shape)
    return torch.tensor([(salt + i * i * 7 + i * 11) % 19 - 9 for i in range(count)], dtype=torch.float64).reshape(shape)


def convolutions() -> Iterator[Setting]:
    """channels, filters, groups, height, width, kernel height and width, stride, dilation, [top, bottom, left, right], mode."""
    shapes: list[tuple[int, int, int, int, int, int, int, int, int, list[int], str]] = [
        (1, 1, 1, 5, 5, 3, 3, 1, 1, [0, 0, 0, 0], "zeros"),
        (1, 1, 1, 6, 7, 3, 3, 2, 1, [1, 1, 1, 1], "zeros"),
        (1, 1, 1, 7, 7, 3, 3, 3, 1, [0, 0, 0, 0], "zeros"),
        (1, 1, 1, 9, 8, 3, 3, 1, 2, [0, 0, 0, 0], "zeros"),
        (1, 1, 1, 9, 9, 3, 3, 2, 3, [2, 2, 2, 2], "zeros"),
        (1, 1, 1, 6, 5, 2, 4, 1, 1, [0, 1, 2, 0], "zeros"),
        (1, 1, 1, 5, 5, 1, 1, 3, 1, [0, 0, 0, 0], "zeros"),
        (1, 1, 1, 4, 6, 3, 3, 1, 1, [3, 3, 3, 3], "reflect"),
        (1, 1, 1, 5, 5, 5, 5, 2, 1, [2, 1, 2, 1], "reflect"),
        (1, 1, 1, 4, 4, 3, 3, 1, 1, [2, 2, 2, 2], "replicate"),
        (1, 1, 1, 4, 5, 3, 3, 2, 2, [1, 3, 4, 2], "replicate"),
        (3, 1, 1, 5, 5, 3, 3, 1, 1, [1, 1, 1, 1], "zeros"),
        (3, 2, 1, 6, 6, 3, 3, 1, 1, [0, 0, 0, 0], "zeros"),
        (4, 4, 2, 5, 5, 3, 3, 1, 1, [1, 1, 1, 1], "zeros"),
        (4, 2, 2, 6, 5, 3, 3, 2, 1, [1, 1, 1, 1], "reflect"),
        (4, 4, 4, 5, 5, 3, 3, 1, 1, [1, 1, 1, 1], "zeros"),
        (2, 4, 2, 7, 6, 2, 2, 2, 2, [0, 1, 0, 1], "replicate"),
    ]
    for salt, shape in enumerate(shapes):
        channels, filters, groups, height, width, rows, columns, stride, dilation, padding, mode = shape
        for flipped in (False, True):
            yield {
                "operation": "convolution", "input": data(channels, height, width, salt=salt).tolist(),
                "kernel": data(filters, channels // groups, rows, columns, salt=salt + 5).tolist(),
                "bias": data(filters, salt=salt + 8).tolist(), "divisor": 1, "stride": stride, "dilation": dilation,
                "padding": padding, "mode": mode, "groups": groups, "flipped": flipped,
            }  # fmt: skip


def poolings() -> Iterator[Setting]:
    """channels, height, width, window, stride, dilation, padding, rounding."""
    shapes = [
        (1, 4, 4, 2, 2, 1, 0, "floor"), (2, 5, 5, 2, 2, 1, 0, "floor"), (1, 5, 6, 2, 2, 1, 0, "ceil"),
        (1, 7, 7, 3, 2, 1, 1, "floor"), (1, 6, 6, 3, 2, 1, 1, "ceil"), (1, 7, 8, 3, 1, 1, 0, "floor"),
        (1, 5, 5, 2, 3, 1, 1, "ceil"), (1, 4, 7, 2, 4, 1, 0, "ceil"), (1, 8, 8, 3, 2, 2, 1, "ceil"),
        (3, 6, 6, 2, 1, 1, 1, "floor"),
    ]  # fmt: skip
    for salt, (channels, height, width, window, stride, dilation, padding, rounding) in enumerate(shapes):
        for operation in ("max", "average", "sum") if dilation == 1 else ("max",):
            yield {
                "operation": operation, "input": data(channels, height, width, salt=salt).tolist(), "window": window,
                "stride": stride, "dilation": dilation, "padding": [padding] * 4, "rounding": rounding,
            }  # fmt: skip


def torch_output(setting: Setting) -> Tensor:
    x = torch.tensor(setting["input"], dtype=torch.float64)[None]
    window, stride, dilation = setting.get("window", 0), setting["stride"], setting["dilation"]
    padding, ceil = setting["padding"][0], setting.get("rounding") == "ceil"
    if setting["operation"] == "max":
        return F.max_pool2d(x, window, stride, padding, dilation, ceil_mode=ceil)[0]
    if setting["operation"] == "average":
        return F.avg_pool2d(x, window, stride, padding, ceil_mode=ceil)[0]
    if setting["operation"] == "sum":
        return F.avg_pool2d(x, window, stride, padding, ceil_mode=ceil, divisor_override=1)[0]
    top, bottom, left, right = setting["padding"]
    mode = "constant" if setting["mode"] == "zeros" else setting["mode"]
    kernel = torch.tensor(setting["kernel"], dtype=torch.float64)
    kernel = kernel.flip(2, 3) if setting["flipped"] else kernel
    bias = torch.tensor(setting["bias"], dtype=torch.float64)
    return F.conv2d(F.pad(x, (left, right, top, bottom), mode), kernel, bias, stride, 0, dilation, setting["groups"])[0]


def vectors() -> dict[str, Any]:
    """What vitest holds the page's arithmetic against."""
    settings = [*convolutions(), *poolings()]
    cases = [{**setting, "output": torch_output(setting).tolist()} for setting in settings]
    return {"answers": answers(), "torch": integers(cases)}


def written(content: dict[str, Any]) -> str:
    """JSON, one entry of each list or table a line."""
    blocks = []
    for name, entries in content.items():
        pairs = entries.items() if isinstance(entries, dict) else ((None, entry) for entry in entries)
        compact = {"ensure_ascii": False, "separators": (",", ":")}
        lines = [(f"{json.dumps(key)}:" if key else "") + json.dumps(entry, **compact) for key, entry in pairs]  # type: ignore[arg-type]
        start, end = "{}" if isinstance(entries, dict) else "[]"
        blocks.append(f"{json.dumps(name)}:{start}\n" + ",\n".join(lines) + f"\n{end}")
    return "{" + ",\n".join(blocks) + "}\n"


FILES = {"presets.json": document, "vectors.json": vectors}


if __name__ == "__main__":
    for file, content in FILES.items():
        (LAB / file).write_text(written(content()), encoding="utf-8")
        print(f"wrote {(LAB / file).relative_to(ROOT)}")
