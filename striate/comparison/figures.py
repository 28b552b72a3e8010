"""What the results say: means over seeds with their intervals, and which regime to take."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from striate.comparison.cells import REGIMES, Cell, Result
from striate.metrics import wilson_interval
from striate.transferring import Regime

STUDENT_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""Two-sided 95 % quantiles for 1, 2, ... 30 degrees of freedom; the last one also for more, where it is a little wide."""


class Estimate(NamedTuple):
    """A mean accuracy and its 95 % interval, 0..1: Student's t over seeds, or Wilson's over the images of a single one."""

    mean: float
    low: float
    high: float
    num: int

    def __str__(self) -> str:
        if self.num > 1:
            return f"{100 * self.mean:.1f} ± {100 * (self.mean - self.low):.1f}"
        return f"{100 * self.mean:.1f} ({100 * self.low:.0f} to {100 * self.high:.0f})"


class Point(NamedTuple):
    """A moment of a regime's runs: mean seconds since they began and mean validation accuracy."""

    seconds: float
    accuracy: float


class Figures:
    """Every figure of the table and of the picture, from one result at least.

    Attributes:
        regimes: that have results, the cheapest first.
        images: numbers a class that have results; None, all, comes last.
        num_held_out: images that every run was scored on.
        baseline: accuracy of always saying the commonest class of these.
        num_seeds: at most so many a cell.
        machines: that the runs ran on.
    """

    def __init__(self, results: Sequence[Result]) -> None:
        self._by_cell = {result.cell: result for result in results}
        cells = list(self._by_cell)
        self.regimes = [regime for regime in REGIMES if any(cell.regime == regime for cell in cells)]
        self.images = sorted({cell.images for cell in cells}, key=lambda number: math.inf if number is None else number)
        self.num_held_out, self.baseline = results[0].num_held_out, results[0].baseline
        self.num_seeds = len({cell.seed for cell in cells})
        self.machines = sorted({result.machine for result in results})

    def of(self, images: int | None, regime: Regime) -> list[Result]:
        """By seed."""
        found = [result for cell, result in self._by_cell.items() if (cell.images, cell.regime) == (images, regime)]
        return sorted(found, key=lambda result: result.cell.seed)

    def estimate(self, images: int | None, regime: Regime) -> Estimate | None:
        """Of the held-out accuracy; None where there is no result."""
        accuracies = [result.accuracy for result in self.of(images, regime)]
        if not accuracies:
            return None
        if len(accuracies) == 1:
            low, high = wilson_interval(round(accuracies[0] * self.num_held_out), self.num_held_out)
            return Estimate(accuracies[0], low, high, 1)
        mean, half = statistics.fmean(accuracies), half_width(accuracies)
        return Estimate(mean, mean - half, mean + half, len(accuracies))

    def seconds(self, images: int | None, regime: Regime) -> float:
        """Mean over seeds, with the head that fine-tuning begins from."""
        return statistics.fmean(result.seconds + self._head(result.cell) for result in self.of(images, regime))

    def course(self, images: int | None, regime: Regime) -> list[Point]:
        """Validation along the way, mean over seeds, for as many epochs as all of them have; begins with the solved head."""
        results = self.of(images, regime)
        heads = [head for result in results if (head := self._by_cell.get(Cell(images, result.cell.seed, "small")))]
        begun = (
            [Point(*_means([head.course[-1] for head in heads]))] if self._begins(regime) and heads and heads[0].course else []
        )
        shortest = min(len(result.course) for result in results)
        late = statistics.fmean(self._head(result.cell) for result in results)
        later = (_means([result.course[epoch] for result in results]) for epoch in range(shortest))
        return begun + [Point(seconds + late, accuracy) for seconds, accuracy in later]

    def advice(self, images: int | None) -> Regime:
        """The cheapest regime that no other is clearly better than."""
        there = [regime for regime in self.regimes if self.of(images, regime)]
        return next(regime for regime in there if not any(self.clearly_better(images, other, regime) for other in there))

    def clearly_better(self, images: int | None, regime: Regime, than: Regime) -> bool:
        """Over the seeds that both have, the mean difference is more than half its 95 % interval, and than one image."""
        other = {result.cell.seed: result.accuracy for result in self.of(images, than)}
        pairs = [r.accuracy - other[r.cell.seed] for r in self.of(images, regime) if r.cell.seed in other]
        if len(pairs) > 1:
            return statistics.fmean(pairs) > max(half_width(pairs), 1 / self.num_held_out + 1e-9)
        own, others = self.estimate(images, regime), self.estimate(images, than)
        return own is not None and others is not None and own.low > others.high

    def verdict(self) -> str:
        """One sentence: what to take, and what the weights were worth."""
        if len(self.regimes) < 2:
            return f"There is nothing to compare {self.regimes[0]} with."
        advised: dict[Regime, list[int | None]] = {}
        for images in self.images:
            advised.setdefault(self.advice(images), []).append(images)
        takes = "; ".join(f"{regime} with {_enumerate(numbers)}" for regime, numbers in advised.items())
        how = "over these seeds" if self.num_seeds > 1 else "by this one seed"
        return f"Take {takes}, where nothing else is clearly better {how}{self._without()}."

    def _without(self) -> str:
        """How far below the taken regime the network stays that begins with nothing."""
        gaps = []
        for images in self.images:
            taken, scratch = self.estimate(images, self.advice(images)), self.estimate(images, "scratch")
            if taken is not None and scratch is not None and self.advice(images) != "scratch":
                gaps.append(100 * (taken.mean - scratch.mean))
        if not gaps:
            return ""
        span = f"{min(gaps):.0f}" + (f" to {max(gaps):.0f}" if round(max(gaps)) > round(min(gaps)) else "")
        return f"; from scratch it is {span} points less"

    def _begins(self, regime: Regime) -> bool:
        return regime in ("mid", "enough")

    def _head(self, cell: Cell) -> float:
        """Seconds that solving the head took which a run began from: its features are read once a draw."""
        small = self._by_cell.get(Cell(cell.images, cell.seed, "small"))
        return small.seconds if small is not None and self._begins(cell.regime) else 0.0


def half_width(values: Sequence[float]) -> float:
    """Half the 95 % interval of the mean of two or more values, by Student's t."""
    quantile = STUDENT_T[min(len(values) - 1, len(STUDENT_T)) - 1]
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def _means(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return statistics.fmean(pair[0] for pair in pairs), statistics.fmean(pair[1] for pair in pairs)


def _enumerate(images: Sequence[int | None]) -> str:
    """``5, 10 and 20 images a class, and all``."""
    numbers = [str(number) for number in images if number is not None]
    words = f"{', '.join(numbers[:-1])} and {numbers[-1]}" if len(numbers) > 1 else "".join(numbers)
    counted = [f"{words} images a class"] if numbers else []
    return ", and with ".join([*counted, "all"] if None in images and counted else [*counted, *["all images"] * (None in images)])
