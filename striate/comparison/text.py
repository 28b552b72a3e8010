"""A comparison as a table in plain text."""

from __future__ import annotations

from striate.columns import align, ruled
from striate.comparison.cells import said
from striate.comparison.figures import Figures
from striate.plan import format_seconds


def table(figures: Figures) -> str:
    """A row a regime, a column a number of images; below it what was measured how, and the verdict."""
    header = ["regime", *(f"{number} a class" if number else "all" for number in figures.images), "time"]
    rows = [header]
    most = figures.images[-1]
    for regime in figures.regimes:
        estimates = [figures.estimate(number, regime) for number in figures.images]
        seconds = format_seconds(figures.seconds(most, regime)) if figures.of(most, regime) else "-"
        rows.append([regime, *("-" if each is None else str(each) for each in estimates), seconds])
    lines = ruled(align(rows, right=range(1, len(header))))
    baseline = f"baseline: {100 * figures.baseline:.1f} by always saying the commonest class"
    return "\n".join([*lines, "", *explanation(figures), baseline, "", figures.verdict()])


def explanation(figures: Figures) -> list[str]:
    """How to read the numbers."""
    held_out = f"accuracy on {figures.num_held_out} held-out images, the same for all runs"
    if figures.num_seeds > 1:
        interval = f"mean of {figures.num_seeds} seeds (draws) ± half its 95 % interval (Student's t)"
    else:
        interval = "one seed, with the 95 % interval over the images (Wilson)"
    head = ", the solved head that others begin from included" if "small" in figures.regimes else ""
    return [
        f"%: {held_out}; {interval}",
        f"time: of learning with {said(figures.images[-1])}{head}; {'; '.join(figures.machines)}",
    ]
