"""How long the probe looks at each way of computing a step."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from torch import nn

from striate import probe
from striate.recipe import Recipe, resolve_plainly
from striate.tasks.classify import Classify


def looked(monkeypatch: pytest.MonkeyPatch, first: float, later: float, best: float = math.inf) -> tuple[float, int]:
    """What is found of steps that take so long, and how many were taken."""
    clock, steps = [0.0], [0]

    def step() -> None:
        clock[0] += later if steps[0] else first
        steps[0] += 1

    @contextlib.contextmanager
    def trial(*_: Any) -> Iterator[Callable[[], None]]:
        yield step

    monkeypatch.setattr(probe, "_trial", trial)
    monkeypatch.setattr(probe.time, "perf_counter", lambda: clock[0])
    recipe = Recipe(name="test")
    task = Classify(classes=("a", "b"))
    return probe._seconds(task, nn.Identity(), {}, recipe, resolve_plainly(recipe), best), steps[0]


@pytest.mark.parametrize(
    ("first", "later", "best", "found", "steps"),
    [
        (1.0, 0.5, math.inf, 0.5, 4),  # the first never counts, and a second and a half is enough
        (0.3, 0.001, math.inf, 0.001, 21),
        (4.0, 3.0, math.inf, 3.0, 2),  # one of a long step
        (4.0, 3.0, 2.0, 4.0, 1),  # out: half as long again as the best, and warming up is little of so long a step
        (4.0, 3.0, 3.0, 3.0, 2),
        (0.3, 0.01, 0.007, 0.01, 6),  # behind: five that count
        (0.3, 0.01, 0.009, 0.01, 21),
        (0.7, 0.1, 0.1, 0.1, 16),  # a short step's first may be all warming up
    ],
)
def test_how_long_a_way_is_looked_at(
    first: float, later: float, best: float, found: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, taken = looked(monkeypatch, first, later, best)
    assert seconds == pytest.approx(found)
    assert taken == pytest.approx(steps, abs=1 if steps == 16 else 0)  # sums of tenths


@pytest.mark.parametrize(
    ("channels_last", "contiguous", "chosen"),
    [
        (1.0, 1.0, "channels_last"),
        (1.0, 1.07, "channels_last"),
        (1.07, 1.0, "channels_last"),  # noise
        (1.09, 1.0, "contiguous"),
    ],
)
def test_of_two_alike_the_usual_is_chosen(
    channels_last: float, contiguous: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe.machine, "has_bf16", lambda: False)
    seconds = {"channels_last": channels_last, "contiguous": contiguous}
    monkeypatch.setattr(probe, "_seconds", lambda *given: seconds[given[4].memory_format])
    recipe = Recipe(name="test")
    task = Classify(classes=("a", "b"))
    found = probe._measure(task, nn.Identity(), {}, recipe, resolve_plainly(recipe), None, lambda: None)
    assert found.memory_format == chosen
    assert ("within noise" in found.notes[-1]) == (channels_last == 1.07)
