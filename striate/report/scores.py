"""What the predictions of a classifier say about its classes, its mistakes and its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.metrics import wilson_interval
from striate.report.run_folder import Predictions

Interval = tuple[float, float]

MAJORITY = 0.5
"""Least probability that another class must have before a label is doubted."""


@dataclass(frozen=True)
class ClassRow:
    """A class in figures from 0 to 1 with 95 % Wilson intervals; precision is None where it was never predicted."""

    name: str
    support: int
    predicted: int
    recall: float
    recall_interval: Interval
    precision: float | None
    precision_interval: Interval
    f1: float
    average_precision: float | None = None


@dataclass(frozen=True)
class Pair:
    """``count`` images of class ``true`` taken for ``predicted``: ``share`` of the class."""

    true: int
    predicted: int
    count: int
    share: float


@dataclass(frozen=True)
class Suspects:
    """Samples whose label is likely wrong, the surest first: positions, the class suggested, and by how much it leads."""

    position: npt.NDArray[np.int64]
    suggested: npt.NDArray[np.int64]
    margin: npt.NDArray[np.float32]


def class_row(score: Mapping[str, Any]) -> ClassRow:
    """An entry of the evaluation's ``per_class`` with its intervals."""
    support, predicted = int(score["support"]), int(score["predicted"])
    hits = round((score["recall"] or 0.0) * support)
    return ClassRow(
        name=str(score["name"]),
        support=support,
        predicted=predicted,
        recall=score["recall"] or 0.0,
        recall_interval=wilson_interval(hits, support),
        precision=score["precision"],
        precision_interval=wilson_interval(hits, predicted),
        f1=score["f1"] or 0.0,
        average_precision=score["average_precision"],
    )


def confused_pairs(confusion: npt.NDArray[np.int64]) -> list[Pair]:
    """Every pair of classes that was mixed up, the most frequent first."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    true, predicted = np.nonzero(wrong)
    counts, support = wrong[true, predicted], confusion.sum(axis=1)
    order = np.lexsort((predicted, true, -counts))
    return [Pair(int(true[i]), int(predicted[i]), int(counts[i]), float(counts[i] / support[true[i]])) for i in order]


def likely_label_errors(predictions: Predictions) -> Suspects:
    """Samples that the model confidently places in another class than their label says.

    Confident learning (Northcutt, Jiang & Chuang, JAIR 2021, arXiv:1911.00068, eq. 1 and 2): class j's threshold is the mean
    probability of j over the samples labelled j. A sample belongs confidently to the most probable class that reaches its
    threshold; where that is not its label, the sample is suspect. Our thresholds are at least ``MAJORITY``, or a network
    that has learnt little would doubt half of the labels. Valid because the model was not trained on these samples.
    """
    p, label = predictions.probabilities, predictions.target
    own = np.take_along_axis(p, label[:, None], axis=1)[:, 0]
    support = np.bincount(label, minlength=p.shape[1])
    sums = np.bincount(label, weights=own, minlength=p.shape[1])
    means = np.divide(sums, support, out=np.full(p.shape[1], np.inf), where=support > 0)
    suggested = p.argmax(axis=1)  # the only class that can hold a majority
    highest = p.max(axis=1)
    margin = highest - own
    chosen = np.flatnonzero((suggested != label) & (highest >= np.maximum(means, MAJORITY)[suggested]))
    chosen = chosen[np.argsort(-margin[chosen], kind="stable")]
    return Suspects(chosen, suggested[chosen], margin[chosen])


def surest_mistakes(predictions: Predictions) -> npt.NDArray[np.int64]:
    """Positions of the wrong answers, the surest first."""
    wrong = np.flatnonzero(predictions.predicted != predictions.target)
    return wrong[np.argsort(-predictions.confidence[wrong], kind="stable")]


def cell_members(predictions: Predictions) -> dict[tuple[int, int], npt.NDArray[np.int64]]:
    """(true, predicted) -> positions: of mistakes the surest first, of right answers the least sure first."""
    surer_last = np.where(predictions.predicted == predictions.target, predictions.confidence, -predictions.confidence)
    order = np.lexsort((surer_last, predictions.predicted, predictions.target))
    cells = np.stack([predictions.target[order], predictions.predicted[order]])
    starts = np.flatnonzero(np.append(True, (np.diff(cells, axis=1) != 0).any(axis=0)))
    groups = np.split(order, starts[1:])
    return {(int(predictions.target[g[0]]), int(predictions.predicted[g[0]])): g for g in groups}
