"""What a run is about to do, said before it starts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from striate.data.findings import counted
from striate.errors import UsageError

if TYPE_CHECKING:
    from striate.data.source import Source
    from striate.data.split import Split
    from striate.recipe import Recipe, Resolved
    from striate.subject import Subject


@dataclass(frozen=True)
class Plan:
    """Everything the plan's lines are made of.

    Attributes:
        steps: of an epoch; 0: nothing is trained by steps.
        baseline: share of the validation (or, without one, training) samples in the commonest class; None without classes.
        seconds: estimate for the whole run from the timed steps; None where nothing was timed.
        notes: sentences on choices made for the user.
    """

    subject: Subject
    source: Source
    split: Split
    recipe: Recipe
    resolved: Resolved
    steps: int
    baseline: float | None
    seconds: float | None
    notes: tuple[str, ...]

    def rows(self) -> list[tuple[str, str]]:
        """(name, text) of each line."""
        subject, split, resolved = self.subject, self.split, self.resolved
        size = f"{subject.in_channels} x {subject.input_size[0]} x {subject.input_size[1]}"
        parameters = sum(p.numel() for p in subject.module.parameters())
        threads = counted(resolved.threads, "thread")
        rows = [
            ("data", f"{self.source.name}: {self._classes()}"),
            ("split", f"{self._parts()}; {split.how}"),
            ("model", f"{subject.name}, {counted(parameters, 'parameter')}, images {size}"),
            *self._learning(),
            ("machine", f"{resolved.device}, {threads}, {resolved.precision}, {resolved.memory_format}"),
        ]
        if self.seconds is not None:
            rows.append(
                ("estimate", f"{format_seconds(self.seconds)} ({1000 * (resolved.step_seconds or 0):.3g} ms a step, measured)")
            )
        if self.baseline is not None:
            rows.append(("baseline", f"{100 * self.baseline:.1f} % by always saying the commonest class"))
        return rows + [("note", note) for note in (*resolved.notes, *self.notes)]

    def _learning(self) -> list[tuple[str, str]]:
        recipe, resolved = self.recipe, self.resolved
        if not self.steps:
            return [("recipe", f"{recipe.name}: the last layer is solved; nothing else learns")]
        schedule = recipe.schedule.name.replace("_", "-")
        micro = f" in micro-batches of {resolved.micro_batch}" if resolved.micro_batch < recipe.batch else ""
        epochs, steps = counted(resolved.epochs, "epoch"), counted(self.steps, "step")
        average = f", average {recipe.ema:g}" if recipe.ema else ""
        return [
            ("recipe", f"{recipe.name}: {epochs} of {steps}, batch {recipe.batch}{micro}"),
            ("learning", f"{recipe.optimizer.name}, peak rate {recipe.optimizer.lr:g}, {schedule}{average}"),
        ]

    def _parts(self) -> str:
        parts = (("train", self.split.train), ("validation", self.split.validation), ("held out", self.split.held_out))
        return ", ".join(f"{len(samples):,} {name}" for name, samples in parts)

    def _classes(self) -> str:
        if self.source.kind == "value":
            return f"{counted(len(self.source), 'image')}, a number each"
        return f"{counted(len(self.source), 'image')}, {counted(len(self.source.classes), 'class', 'classes')}"


def majority_baseline(source: Source, split: Split) -> float | None:
    """Accuracy of always saying the commonest class of the training split, on validation (or training) samples."""
    if source.kind != "label":
        return None
    counts = np.bincount(source.targets[split.train], minlength=len(source.classes))
    measured = split.validation if len(split.validation) else split.train
    return float(np.mean(source.targets[measured] == counts.argmax()))


def format_seconds(seconds: float) -> str:
    """``45 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def parse_seconds(text: str | float) -> float:
    """Seconds from ``90``, ``90s``, ``10m``, ``1.5h`` or ``1h30m``.

    Raises:
        UsageError: anything else, or a time that is not positive.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([hms]?)", str(text).lower())
    whole = re.fullmatch(r"(?:\d+(?:\.\d+)?\s*[hms]?\s*)+", str(text).lower().strip())
    seconds = sum(float(number) * {"h": 3600, "m": 60, "s": 1, "": 1}[unit] for number, unit in parts)
    if whole is None or seconds <= 0:
        raise UsageError(f"{text!r} is not a time", fix="write 90s, 10m, 1.5h or 1h30m")
    return seconds
