"""One run of a comparison after the other: begun, gone on with, or taken as it is; and how long the rest will take."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from striate import machine
from striate.checkpoint import list_checkpoints
from striate.comparison.cells import Cell
from striate.comparison.draws import write_draw
from striate.data.source import Source
from striate.data.split import Split
from striate.environment import describe_environment, inexact_because
from striate.errors import UsageError
from striate.experiment import resume, train
from striate.machine import Tuning
from striate.progress import Position, Progress, Silent
from striate.runs import RECIPE_FILE, Run
from striate.signals import StopRequest
from striate.subject import Subject
from striate.torch_network import evaluating
from striate.transferring import Regime, refuse_ignored

Maker = str | Callable[..., nn.Module]

AROUND = 4.0
"""Seconds that a run takes beside its passes over images: building, its report."""


@dataclass(frozen=True)
class Runner:
    """Does the runs of a comparison.

    Attributes:
        folder: of the comparison; a run's is ``runs/CELL`` in it.
        seconds: budget of a run.
        device, workers, cache, tuning, fields: as for :func:`striate.train`.
    """

    source: Source
    whole: Split
    model: Maker
    weights: str | Path
    folder: Path
    seconds: float
    device: str
    workers: int | None
    cache: str
    tuning: Tuning | None
    fields: Mapping[str, Any]

    def run_of(self, cell: Cell) -> Run:
        """Of a cell, whether it is there or not."""
        return Run(self.folder / "runs" / cell.name)

    def is_done(self, cell: Cell) -> bool:
        """Whether the run of a cell has been finished, by whatever start."""
        run = self.run_of(cell)
        return (run.path / RECIPE_FILE).exists() and run.status == "done"

    def run(self, cell: Cell, progress: Progress, stop: StopRequest) -> Run:
        """Does the run of a cell; a stopped one is resumed where that is exact, else begun again."""
        run = self.run_of(cell)
        if (run.path / RECIPE_FILE).exists() and self._resumable(run):
            self._go_on(run, progress, stop)
        else:
            shutil.rmtree(run.path, ignore_errors=True)
            self._start(run.path, cell, progress, stop)
        shutil.rmtree(run.path / "checkpoints", ignore_errors=True)  # there is nothing to resume any more
        machine.release_freed_memory()  # what the allocator kept from one run fits the next badly, and would add up
        return run

    def _start(self, folder: Path, cell: Cell, progress: Progress, stop: StopRequest) -> None:
        data = write_draw(self.folder / "draws", self.source, self.whole, cell.images, cell.seed)
        if self.tuning is not None:  # the probe of the run before may have left others
            machine.tune(self.tuning.threads, self.tuning.allocator)
        train(
            data, self.model, out=folder, weights=self.weights, regime=cell.regime,
            budget=None if cell.regime == "small" else self.seconds, device=self.device, workers=self.workers,
            cache=self.cache, progress=progress, stop=stop, tuning=self.tuning, seed=cell.seed,
            **fields_for(cell.regime, self.weights, self.fields),
        )  # fmt: skip

    def _go_on(self, run: Run, progress: Progress, stop: StopRequest) -> None:
        resolved = run.record["resolved"]
        if self.tuning is not None:
            machine.tune(resolved["threads"] or None, resolved["tuned_allocator"])
        arch = None if run.record["model"]["in_zoo"] else self.model
        resume(run, arch=arch, workers=self.workers, cache=self.cache, progress=progress, stop=stop)

    def _resumable(self, run: Run) -> bool:
        """Whether there is something to go on from, on the machine that it began on."""
        then, now = run.record["environment"], describe_environment()
        if self.tuning is not None:
            now["threads"] = then["threads"]  # which will be set
        return bool(list_checkpoints(run.path / "checkpoints")) and not inexact_because(then, now)


def fields_for(regime: Regime, weights: str | Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the recipe's fields that do something in a regime: what is said of training is not said of a solved head, nor
    what is said of weights of those that are not there."""

    def does_nothing(name: str, value: Any) -> bool:
        if regime == "scratch":
            return name.partition(".")[0] == "fine_tune"
        try:
            refuse_ignored(regime, weights, {name: value})
        except UsageError:
            return True
        return False

    return {name: value for name, value in fields.items() if not does_nothing(name, value)}


class OfOne(Silent):
    """Passes on what one run of many tells: how far it is, and what a user should read."""

    def __init__(self, listener: Progress, title: str) -> None:
        self._listener, self._title = listener, title

    def stage(self, name: str, done: int, total: int) -> None:
        """Under the run's own title."""
        self._listener.stage(f"{self._title}: {name}", done, total)

    def step(self, position: Position, steps: int, epochs: int, images_per_second: float) -> None:
        """Training is one pass over all its steps."""
        self._listener.stage(f"{self._title}: training", position.global_step, steps * epochs)

    def message(self, text: str) -> None:
        """Under the run's own title."""
        self._listener.message(f"{self._title}: {text}")


class Clock:
    """How long the runs still take: by the budget and a timed pass at first, then by what finished runs took.

    Args:
        image_seconds: of one image through the network.
        num_images: to learn from, in all.
    """

    def __init__(self, runner: Runner, image_seconds: float, num_images: int, pending: Sequence[Cell]) -> None:
        self._budget, self._image, self._num_images = runner.seconds, image_seconds, num_images
        self._num_scored, self._num_classes = len(runner.whole.held_out), len(runner.source.classes)
        self._pending, self._expected, self._begun = list(pending), 0.0, time.monotonic()

    @property
    def left(self) -> float:
        """Seconds of all pending runs."""
        ratio = (time.monotonic() - self._begun) / self._expected if self._expected else 1.0
        return ratio * sum(map(self._expect, self._pending))

    def done(self, cell: Cell) -> None:
        """A run has ended."""
        self._pending.remove(cell)
        self._expected += self._expect(cell)

    def _expect(self, cell: Cell) -> float:
        learnt = cell.images * self._num_classes if cell.images else self._num_images
        # Each image and its mirror image; the features are kept for the regimes that begin from the same head.
        reading, training = (2 * learnt, 0.0) if cell.regime == "small" else (0, self._budget)
        return training + self._image * (reading + self._num_scored) + AROUND


def image_seconds(subject: Subject, num: int = 8) -> float:
    """Of one image through the network, on the CPU."""
    images, least = torch.zeros(num, *subject.image), float("inf")
    with torch.inference_mode(), evaluating(subject.module):
        for _ in range(2):  # the first one also warms up
            begun = time.perf_counter()
            subject.module(images)
            least = min(least, time.perf_counter() - begun)
    return least / num
