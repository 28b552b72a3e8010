"""What the curves show, in plain language, by rules that are written out here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from striate.data.findings import counted
from striate.report.run_folder import Epoch, RunFolder
from striate.report.words import number, percent

LEAST_EPOCHS = 4
"""Fewer points than this show no trend."""
CHANGE = 0.03
"""A relative change of a loss that is worth words."""


@dataclass(frozen=True)
class Finding:
    """A sentence or two, how grave it is, and the section that shows more."""

    text: str
    tone: Literal["plain", "good", "warn"] = "plain"
    section: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """How the network fits: a clause for the verdict, what the curves show, and what to do about it (empty: nothing)."""

    clause: str
    comment: str
    advice: str = ""


@dataclass(frozen=True)
class _Point:
    """An epoch with both losses."""

    epoch: int
    train: float
    validation: float
    metric: float | None


def diagnose(run: RunFolder) -> Diagnosis | None:
    """Overfitting, underfitting or neither, from the two losses; None where there are too few epochs to say."""
    if run.epochs and not any(e.validation_loss is not None for e in run.epochs):
        comment = "Nothing was held back for validation, so overfitting cannot be seen here."
        advice = "Hold images back for validation (--validation 0.1), or overfitting stays unseen."
        return Diagnosis("without a validation split, overfitting cannot be seen", comment, advice)
    points = [point for point in map(_point, run.epochs) if point is not None]
    if not points:
        return None
    guessing = _guessing(run, points[-1])
    if guessing or len(points) < LEAST_EPOCHS:
        return guessing
    return _rising(run, points) or _still_falling(points) or _gap(points[-1]) or _sound(points[-1])


def _point(epoch: Epoch) -> _Point | None:
    if epoch.train_loss is None or epoch.validation_loss is None:
        return None
    return _Point(epoch.number, epoch.train_loss, epoch.validation_loss, epoch.metric)


def _guessing(run: RunFolder, last: _Point) -> Diagnosis | None:
    """Cross-entropy that has hardly left ln K, the loss of guessing evenly."""
    if (
        run.kind != "label"
        or run.info["recipe"]["loss"] not in ("auto", "cross_entropy")
        or last.train < 0.9 * math.log(len(run.classes))
    ):
        return None
    chance = f"guessing evenly among {len(run.classes)} classes costs {number(math.log(len(run.classes)))}"
    return Diagnosis(
        "it underfits: training loss is hardly better than guessing",
        f"Training loss ended at {number(last.train)}; {chance}: underfitting.",
        "It has learnt next to nothing. Try another learning rate first, then more epochs or a larger network.",
    )


def _rising(run: RunFolder, points: list[_Point]) -> Diagnosis | None:
    """Validation loss up from its lowest, by more than it jitters, while training loss went on down."""
    losses = np.array([point.validation for point in points])
    lowest, last = points[int(losses.argmin())], points[-1]
    rise = float(np.median(losses[-3:])) - lowest.validation
    jitter = float(np.median(np.abs(np.diff(losses[len(losses) // 2 - 1 :]))))
    falls = lowest.train - last.train > CHANGE * abs(lowest.train)
    if points.index(lowest) > len(points) - 3 or rise < max(CHANGE * abs(lowest.validation), 2 * jitter) or not falls:
        return None
    comment = (
        f"Validation loss rose after epoch {lowest.epoch} (from {number(lowest.validation)} to {number(last.validation)}) "
        f"while training loss fell on (from {number(lowest.train)} to {number(last.train)}): overfitting."
    )
    kept_up = last.metric is not None and lowest.metric is not None and last.metric > lowest.metric - 0.002
    if run.metric_name == "accuracy" and kept_up:
        comment += " Accuracy did not suffer: it grew surer of its mistakes rather than making more of them."
    return Diagnosis(
        f"it overfits: validation loss rose after epoch {lowest.epoch}",
        comment,
        "Against overfitting, more augmentation, label smoothing, weight decay or data would help; more epochs would not.",
    )


def _still_falling(points: list[_Point]) -> Diagnosis | None:
    """The last tenth of the points (at least two) still took 2 % or more an epoch off the validation loss."""
    before, last = points[-1 - max(2, len(points) // 10)], points[-1]
    epochs = last.epoch - before.epoch
    lowest = min(point.validation for point in points)
    if before.validation <= 0 or last.validation > lowest or (last.validation / before.validation) ** (1 / epochs) > 0.98:
        return None
    fall = f"from {number(before.validation)} to {number(last.validation)} over the last {epochs} epochs"
    return Diagnosis(
        "it was still improving when it stopped",
        f"Validation loss was still falling when training stopped ({fall}).",
        "Train longer: validation loss was still falling when it stopped.",
    )


def _gap(last: _Point) -> Diagnosis | None:
    """Training loss under half the validation loss, though that did not rise."""
    if not 0 <= last.train < 0.5 * last.validation:
        return None
    losses = f"Training loss ended at {number(last.train)}, validation loss, which did not rise, at {number(last.validation)}"
    return Diagnosis(
        "it overfits mildly: training loss ended far below validation loss",
        f"{losses}: it fits the images it has seen far better than new ones (mild overfitting).",
        "More augmentation or data may close the gap between training and validation loss.",
    )


def _sound(last: _Point) -> Diagnosis:
    comment = f"Both losses levelled off (training {number(last.train)}, validation {number(last.validation)}): no overfitting."
    if last.train > last.validation:
        comment += " Training loss is the higher one where augmentation, dropout or an average over the epoch make it so."
    return Diagnosis("no overfitting was seen", comment)


def loss_comments(run: RunFolder, diagnosis: Diagnosis | None) -> list[str]:
    """Sentences under the loss curves."""
    points = counted(sum(_point(e) is not None for e in run.epochs), "epoch")
    comments = [diagnosis.comment if diagnosis else f"{points} with both losses: too few to read a trend."]
    losses = [(e.number, e.train_loss) for e in run.epochs]
    for (_, before), (epoch, after) in pairwise(losses):
        if before is not None and after is not None and 0 < 1.5 * before < after:
            jump = f"Training loss jumped at epoch {epoch} (from {number(before)} to {number(after)})"
            comments.append(f"{jump}: the learning rate may be too high.")
            break
    missing = [epoch for epoch, value in losses if value is None]
    if missing:
        comments.append(f"No finite training loss in {counted(len(missing), 'epoch')}, first in epoch {missing[0]}.")
    return comments


def metric_comments(run: RunFolder) -> list[str]:
    """Sentences under the curve of the figure that chose the weights."""
    reading = percent if run.metric_name == "accuracy" else number
    kept = run.kept
    if kept is None or kept.metric is None:
        return []
    last = run.epochs[-1]
    comments = [f"Best at epoch {kept.number} with {reading(kept.metric)}: those weights were kept and scored."]
    if last.number != kept.number and last.metric is not None:
        comments.append(f"The last epoch had {reading(last.metric)}.")
    return comments


def rate_comments(run: RunFolder) -> list[str]:
    """A sentence on the course of the learning rate."""
    rates = [(e.number, e.lr) for e in run.epochs if e.lr is not None]
    if len(rates) < 2:
        return []
    first, last = rates[0][1], rates[-1][1]
    epoch, peak = max(rates, key=lambda rate: rate[1])
    if peak == min(lr for _, lr in rates):
        return [f"Constant at {number(peak)}."]
    rise = f"Rose to {number(peak)} by epoch {epoch}" if peak > first else f"Started at {number(peak)}"
    return [f"{rise}, then fell to {number(last)}." if last < peak else f"{rise}."]
