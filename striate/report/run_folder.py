"""The files of a run as the report needs them: the one place that knows their keys."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.errors import Refused
from striate.runs import AUDIT_FILE, EVALUATION_FILE, METRICS_FILE, PREDICTIONS_FILE, Run
from striate.tasks.decoding import THRESHOLD

MONITORS = ("accuracy", "mean_average_precision", "mae", "loss")
"""Figures that choose a checkpoint, the best first."""


@dataclass(frozen=True)
class Predictions:
    """What the model said about the split that was scored.

    Attributes:
        index: [N] positions in the source.
        keys: [N] stable names of the samples.
        target: [N] class, [N, K] 0 or 1, or [N] number.
        probabilities: [N, K] 0..1, or [N] numbers.
    """

    index: npt.NDArray[np.int64]
    keys: npt.NDArray[np.str_]
    target: npt.NDArray[Any]
    probabilities: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def predicted(self) -> npt.NDArray[np.int64]:
        """[N] class of the highest probability."""
        best: npt.NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return best

    @cached_property
    def confidence(self) -> npt.NDArray[np.float32]:
        """[N] probability of the predicted class."""
        highest: npt.NDArray[np.float32] = self.probabilities.max(axis=1)
        return highest

    @property
    def sureness(self) -> tuple[float, float]:
        """Mean confidence and accuracy of a one-label classifier."""
        return float(self.confidence.mean()), float((self.predicted == self.target).mean())


@dataclass(frozen=True)
class Epoch:
    """A line of ``metrics.jsonl``; None where nothing was measured."""

    number: int
    train_loss: float | None
    validation_loss: float | None
    metric: float | None
    lr: float | None
    seconds: float | None
    images_per_second: float | None
    parts: dict[str, float]
    best: bool


@dataclass(frozen=True)
class RunFolder:
    """A run's files. ``evaluation``, ``predictions`` and ``audit`` are None where the run has none (yet)."""

    path: Path
    info: dict[str, Any]
    epochs: list[Epoch]
    metric_name: str
    evaluation: dict[str, Any] | None
    predictions: Predictions | None
    audit: dict[str, Any] | None

    @property
    def kind(self) -> str:
        """``label``, ``labels`` or ``value``; another task's name where it is none of these."""
        task = self.info["task"]
        return str(task.get("kind", task["name"]))

    @property
    def classes(self) -> list[str]:
        """Names in the order of the outputs."""
        return [str(name) for name in self.info["classes"]]

    @property
    def threshold(self) -> float:
        """Probability from which one of several labels counts as present."""
        return float(self.info["task"].get("threshold", THRESHOLD))

    @property
    def kept(self) -> Epoch | None:
        """The epoch whose weights were kept: the last that was the best so far."""
        return next((epoch for epoch in reversed(self.epochs) if epoch.best), None)

    @property
    def confusion(self) -> npt.NDArray[np.int64] | None:
        """Counts [K, K], row = true class; None without one class an image."""
        counts = (self.evaluation or {}).get("confusion")
        return None if counts is None else np.array(counts, np.int64)


def read_run(path: Path) -> RunFolder:
    """Reads a run folder.

    Raises:
        UsageError: the folder holds no ``recipe.json``.
        Refused: one of its files is damaged.
    """
    rows = _read_lines(path / METRICS_FILE)
    metric_name = _metric_name(rows)
    return RunFolder(
        path=path,
        info=Run(path).record,
        epochs=[_epoch(row, metric_name) for row in rows],
        metric_name=metric_name,
        evaluation=_read_json(path / EVALUATION_FILE),
        predictions=_read_predictions(path / PREDICTIONS_FILE),
        audit=_read_json(path / AUDIT_FILE),
    )


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(path, error) from error
    if not isinstance(value, dict):
        raise _damaged(path, f"it holds a {type(value).__name__}, not an object")
    return value


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """One row an epoch. A last line cut short by a crash is left out; of an epoch written twice the later one counts."""
    rows: dict[int, dict[str, Any]] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for i, line in enumerate(lines):
        try:
            row = json.loads(line)
            rows[int(row["epoch"])] = row
        except (ValueError, KeyError, TypeError) as error:
            if i + 1 < len(lines):
                raise _damaged(path, f"line {i + 1}: {error!r}") from error
    return [rows[number] for number in sorted(rows)]


def _read_predictions(path: Path) -> Predictions | None:
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            probabilities = arrays["probabilities"].astype(np.float32, copy=False)
            return Predictions(arrays["index"].astype(np.int64), arrays["keys"].astype(str), arrays["target"], probabilities)
    except (ValueError, KeyError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, why: object) -> Refused:
    return Refused("A file of this run is damaged", where=path, why=str(why), fix="delete it, and the report does without")


def _metric_name(rows: list[dict[str, Any]]) -> str:
    names = {name for row in rows for name in row.get("validation") or {} if not name.startswith("loss")}
    return next((name for name in MONITORS if name in names), min(names, default="accuracy"))


def _epoch(row: Mapping[str, Any], metric_name: str) -> Epoch:
    train, validation = row.get("train") or {}, row.get("validation") or {}
    losses = [_finite(value) for value in ([train["loss"]] if "loss" in train else train.values())]
    return Epoch(
        number=int(row["epoch"]),
        train_loss=sum(v for v in losses if v is not None) if losses and None not in losses else None,
        validation_loss=_finite(validation.get("loss")),
        metric=_finite(validation.get(metric_name)),
        lr=_finite(row.get("lr")),
        seconds=_finite(row.get("seconds")),
        images_per_second=_finite(row.get("images_per_second")),
        parts=_parts(row),
        best=bool(row.get("best")),
    )


def _parts(row: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of the epoch by what they went on: every ``NAME_seconds`` field, ``step`` (their whole) left out."""
    found = {name.removesuffix("_seconds"): _finite(value) for name, value in row.items() if name.endswith("_seconds")}
    return {name: value for name, value in found.items() if value is not None and name != "step"}


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
