"""The position and memory of a training run, and how they go to a checkpoint and come back exactly."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from striate.checkpoint import Checkpoint, write_checkpoint
from striate.errors import Refused
from striate.files import write_text
from striate.fine_tuning import FineTuning
from striate.optimization import Plateau, WeightAverage
from striate.sealed import read_sealed, write_sealed
from striate.tasks.base import Batch
from striate.turns import Side

START_FILE = "start.safetensors"
"""Weights that a run began with, kept where it is pulled back to them."""
_PLAIN = ("epoch", "step", "global_step", "lr", "skipped", "nonfinite", "sums", "seen", "history")


@dataclass(frozen=True)
class Best:
    """The epoch whose weights are kept, and the validation figure that chose it."""

    epoch: int
    monitor: str
    figure: float

    def better_than(self, other: Best | None, mode: str) -> bool:
        """Strictly better, so that of equal epochs the first stays; a NaN is never better."""
        if math.isnan(self.figure):
            return False
        if other is None:
            return True
        return self.figure > other.figure if mode == "max" else self.figure < other.figure


@dataclass
class RunState:
    """Counters of a run.

    Attributes:
        epoch, step: done; ``step`` starts anew each epoch, ``global_step`` does not.
        lr: of the first player, as last used.
        skipped: turns with a non-finite loss or gradient, in all.
        nonfinite: such turns in a row, by player.
        sums, seen: of the epoch's training losses: loss times images, and images, by name.
        history: rows of the epochs done.
        best, best_weights: the epoch kept so far, and its state dict.
    """

    epoch: int = 0
    step: int = 0
    global_step: int = 0
    lr: float = 0.0
    skipped: int = 0
    nonfinite: dict[str, int] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: Best | None = None
    best_weights: dict[str, Tensor] | None = None

    def add_losses(self, losses: dict[str, float], size: int, player: str | None = None) -> None:
        """Adds a batch's mean losses to the sums of the epoch: the total as ``loss``, and each part where there are several."""
        named = {"loss": sum(losses.values()), **(losses if len(losses) > 1 or player else {})}
        for part, value in named.items():
            name = part if player is None else f"{player}.{part}"
            self.sums[name] = self.sums.get(name, 0.0) + value * size
            self.seen[name] = self.seen.get(name, 0) + size

    def mean_losses(self) -> dict[str, float]:
        """Mean training losses of the epoch so far."""
        return {name: value / self.seen[name] for name, value in self.sums.items()}

    def finish_epoch(self, row: dict[str, Any]) -> None:
        """Notes the row and moves to the next epoch."""
        self.history.append(row)
        self.epoch, self.step, self.sums, self.seen = self.epoch + 1, 0, {}, {}


class EpochClock:
    """Seconds and images of an epoch, and how many seconds went by waiting for batches."""

    def __init__(self) -> None:
        self.started, self.waited, self.images = time.perf_counter(), 0.0, 0

    @property
    def seconds(self) -> float:
        """Since the epoch, or its resumed part, began."""
        return time.perf_counter() - self.started

    @property
    def images_per_second(self) -> float:
        """Over these seconds, waiting included."""
        return self.images / max(1e-9, self.seconds)

    def waiting(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches; the time each takes to come is added to ``waited``."""
        while True:
            begun = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - begun
            if batch is None:
                return
            yield batch


class Resumable(Protocol):
    """The parts of a running ``fit`` that a checkpoint holds."""

    model: nn.Module
    sides: list[Side]
    average: WeightAverage | None
    plateau: Plateau
    fine_tuning: FineTuning
    batches: Any
    state: RunState
    micro_batch: int


def save_state(fit: Resumable, folder: Path) -> None:
    """Writes the best weights where they are new, then a checkpoint that names them, then ``metrics.jsonl``."""
    state, checkpoints = fit.state, folder / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    if state.best is not None and state.best_weights is not None and not _best_path(checkpoints, state.best).exists():
        write_sealed(_best_path(checkpoints, state.best), state.best_weights, {"best": asdict(state.best)})
    write_checkpoint(checkpoints, _collect(fit), state.global_step)
    if fit.fine_tuning.start and not (checkpoints / START_FILE).exists():
        write_sealed(checkpoints / START_FILE, fit.fine_tuning.start, {})
    _remove_older_bests(checkpoints, state)
    write_history(folder, state.history)


def write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    """``metrics.jsonl``: one line an epoch."""
    write_text(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in history))


def _collect(fit: Resumable) -> Checkpoint:
    state = fit.state
    checkpoint = Checkpoint()
    checkpoint.put("model", fit.model.state_dict())
    if fit.average is not None:
        checkpoint.put("average", fit.average.state_dict())
    for side in fit.sides:
        checkpoint.put_optimizer(side.name, side.optimizer)
    checkpoint.state = {
        **{name: getattr(state, name) for name in _PLAIN},
        "best": asdict(state.best) if state.best else None,
        "plateau": fit.plateau.state_dict(),
        "num_updates": fit.average.num_updates if fit.average else 0,
        "batches": fit.batches.state_dict(),
        "micro_batch": fit.micro_batch,
    }
    return checkpoint


def restore_state(fit: Resumable, checkpoint: Checkpoint, folder: Path) -> RunState:
    """Puts everything back, and cuts ``metrics.jsonl`` to what the checkpoint knows.

    Raises:
        Refused: when the data or the best weights are not those of the run.
    """
    saved = checkpoint.state
    fit.batches.load_state_dict(saved["batches"])
    fit.model.load_state_dict(checkpoint.get("model"))
    if fit.average is not None:
        fit.average.load_state_dict(checkpoint.get("average"), saved["num_updates"])
    for side in fit.sides:
        checkpoint.load_optimizer(side.name, side.optimizer)
    if fit.fine_tuning.start:
        fit.fine_tuning.load_start(read_sealed(folder / "checkpoints" / START_FILE)[1])
    fit.plateau.load_state_dict(saved["plateau"])
    fit.micro_batch = saved["micro_batch"]
    state = RunState(**{name: saved[name] for name in _PLAIN})
    if saved["best"] is not None:
        state.best = Best(**saved["best"])
        state.best_weights = _read_best(_best_path(folder / "checkpoints", state.best), state.best)
    _remove_later_bests(folder / "checkpoints", state)
    write_text(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in state.history))
    return state


def _best_path(checkpoints: Path, best: Best) -> Path:
    return checkpoints / f"best-{best.epoch:05d}.safetensors"


def _read_best(path: Path, best: Best) -> dict[str, Tensor]:
    info, weights = read_sealed(path)
    if info["best"] != asdict(best):
        raise Refused(
            "The best weights are not those that the checkpoint names", where=path, fix="start the run again with `striate train`"
        )
    return weights


def _remove_later_bests(checkpoints: Path, state: RunState) -> None:
    """Those of epochs that a kill undid: an inexact resume would not find the same weights again."""
    for path in checkpoints.glob("best-*.safetensors"):
        if state.best is None or path.name > _best_path(checkpoints, state.best).name:
            path.unlink(missing_ok=True)


def _remove_older_bests(checkpoints: Path, state: RunState) -> None:
    """Keeps the newest two: the checkpoint before the newest may name the one before."""
    bests = sorted(checkpoints.glob("best-*.safetensors"), reverse=True)
    for old in bests[2:]:
        old.unlink(missing_ok=True)
