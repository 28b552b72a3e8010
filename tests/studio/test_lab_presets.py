"""The lab's examples and the numbers that its arithmetic is held against are those of the tables they come from."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from striate import reference
from striate.kernels import KERNELS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import lab_presets

        yield lab_presets
    finally:
        sys.path.remove(str(ROOT / "tools"))


@pytest.mark.parametrize("file", ["presets.json", "vectors.json"])
def test_committed_files_are_what_the_tool_makes(tool: ModuleType, file: str) -> None:
    made = json.loads(tool.written(tool.FILES[file]()))
    assert json.loads((tool.LAB / file).read_text(encoding="utf-8")) == made, "run tools/lab_presets.py"


def test_every_worked_example_of_the_lectures_is_there(tool: ModuleType) -> None:
    worked = {name for name, item in tool.GOLDEN.items() if item["op"] in tool.OPERATIONS}
    assert worked == set(tool.TITLES)
    document = tool.document()
    assert {preset["id"] for preset in document["presets"]} == worked | set(tool.SIZES)
    wrong = {preset["id"] for preset in document["presets"] if "wrong" in preset}
    assert wrong == {name for name in worked if tool.GOLDEN[name]["slide_matches"] is False}


def test_every_named_filter_is_there_with_its_numbers(tool: ModuleType) -> None:
    filters = {each["name"]: each for each in json.loads((tool.LAB / "presets.json").read_text())["filters"]}
    assert {name: (each["matrix"], each["divisor"]) for name, each in filters.items()} == {
        name: ([list(row) for row in kernel.matrix], kernel.divisor) for name, kernel in KERNELS.items()
    }


def test_the_reference_agrees_with_the_vectors(tool: ModuleType) -> None:
    """The page's arithmetic and the library's own are held against the same outputs of torch."""
    cases = [case for case in tool.vectors()["torch"] if case.get("mode") == "zeros" and not case["flipped"]]
    assert cases
    for case in cases:
        got = reference.cross_correlation(
            case["input"], case["kernel"], case["bias"], case["stride"], tuple(case["padding"]), case["dilation"], case["groups"]
        )
        np.testing.assert_array_equal(got, case["output"])
