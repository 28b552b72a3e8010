"""What predictions are worth: every figure of an evaluation, from targets and probabilities alone, in NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate import metrics
from striate.evaluation_text import describe_scores
from striate.evaluation_tree import TreeScore, score_tree
from striate.tasks.decoding import THRESHOLD, Floats, Kind


class ClassScore(NamedTuple):
    """A class in figures from 0 to 1; None where a figure has no value (never predicted, never true)."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    predicted: int
    average_precision: float | None = None


class Confusion(NamedTuple):
    """``num`` images of class ``true`` were taken for ``predicted``."""

    true: str
    predicted: str
    num: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions on one split, and every figure that follows from them.

    Figures that do not belong to the kind of target are None: ``value`` has errors and no accuracy, ``labels`` no confusion.

    Attributes:
        probabilities: [N, K] 0..1, or [N] numbers for ``value``.
        targets: int64 [N] classes, [N, K] 0 or 1, or [N] numbers.
        classes: names in the order of the columns; empty for ``value``.
        kind: ``label``, ``labels`` or ``value``.
        keys: [N] stable names of the samples.
        index: [N] positions in the source.
        split: what was scored: ``test``, ``val``, ``train``, ``all``, ``held out``, ``validation``.
        how: one sentence on which images those are.
        bad: (key, reason) of each image that could not be read; it is in no figure.
        threshold: probability from which one of several labels counts as present.
    """

    probabilities: Floats
    targets: NDArray[Any]
    classes: tuple[str, ...]
    kind: Kind
    keys: NDArray[np.str_]
    index: NDArray[np.int64]
    split: str = "all"
    how: str = ""
    bad: tuple[tuple[str, str], ...] = ()
    threshold: float = THRESHOLD

    @classmethod
    def from_probabilities(
        cls,
        probabilities: Floats,
        targets: NDArray[Any],
        classes: Sequence[str] = (),
        kind: Kind = "label",
        keys: Sequence[str] | None = None,
        index: NDArray[np.int64] | None = None,
        split: str = "all",
        how: str = "",
        bad: Sequence[tuple[str, str]] = (),
        threshold: float = THRESHOLD,
    ) -> Evaluation:
        """Checks shapes and fills in what is left out: keys ``0, 1, ...`` and positions 0, 1, ...

        Raises:
            ValueError: no sample, or shapes that do not belong together.
        """
        n, num_classes = len(probabilities), len(classes)
        one, many = (n,), (n, num_classes)
        expected = {"label": (many, one), "labels": (many, many), "value": (one, one)}[kind]
        if not n or (probabilities.shape, targets.shape) != expected:
            raise ValueError(
                f"an evaluation of kind {kind!r} with {num_classes} classes needs probabilities {list(expected[0])} and targets "
                f"{list(expected[1])}, N at least 1, but got {list(probabilities.shape)} and {list(targets.shape)}"
            )
        names = np.array([str(i) for i in range(n)] if keys is None else list(keys), dtype=np.str_)
        places = np.arange(n) if index is None else np.asarray(index, np.int64)
        return cls(probabilities, targets, tuple(classes), kind, names, places, split, how, tuple(bad), threshold)

    @property
    def n(self) -> int:
        """Images scored."""
        return len(self.targets)

    @property
    def num_bad(self) -> int:
        """Images that could not be read."""
        return len(self.bad)

    @cached_property
    def predicted(self) -> NDArray[Any]:
        """[N] most probable class, [N, K] whether each label is present, or [N] numbers."""
        if self.kind == "value":
            return self.probabilities
        highest: NDArray[Any] = self.probabilities.argmax(axis=1)
        return highest if self.kind == "label" else self.probabilities >= self.threshold

    @cached_property
    def correct(self) -> NDArray[np.bool_] | None:
        """[N] whether the class, or every one of the labels, is right."""
        if self.kind == "value":
            return None
        right: NDArray[np.bool_] = self.predicted == (self.targets > 0.5 if self.kind == "labels" else self.targets)
        return np.all(right, axis=1) if self.kind == "labels" else right

    @property
    def accuracy(self) -> float | None:
        """Share of images whose class (all of whose labels) is right."""
        return None if self.correct is None else float(self.correct.mean())

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % Wilson interval of the accuracy."""
        return None if self.correct is None else metrics.wilson_interval(int(self.correct.sum()), self.n)

    @property
    def top5(self) -> float | None:
        """Share of images whose class is among the five most probable; None for five classes or fewer."""
        if self.kind != "label" or len(self.classes) <= 5:
            return None
        return metrics.top_k_accuracy(self.targets, self.probabilities, 5)

    @cached_property
    def tree(self) -> TreeScore | None:
        """How near the wrong classes are to the right ones; None where they are not ImageNet's."""
        return score_tree(self.classes, self.targets, self.predicted) if self.kind == "label" else None

    @cached_property
    def confusion(self) -> NDArray[np.int64] | None:
        """Counts [K, K], row = true class."""
        return metrics.confusion_matrix(self.targets, self.predicted, len(self.classes)) if self.kind == "label" else None

    @cached_property
    def per_class(self) -> tuple[ClassScore, ...]:
        """A row a class, in class order; empty for ``value``."""
        true, said, hits = self._counts()
        areas: list[float | None] = [None] * len(self.classes)
        if self.kind == "labels":
            columns = zip(self.targets.T, self.probabilities.T, strict=True)
            areas = [_finite(metrics.average_precision(true_column, column)) for true_column, column in columns]
        return tuple(
            ClassScore(name, _ratio(h, p), _ratio(h, t), _ratio(2 * h, t + p), t, p, area)
            for name, h, t, p, area in zip(self.classes, hits, true, said, areas, strict=True)
        )

    def _counts(self) -> tuple[list[int], list[int], list[int]]:
        """How often each class is true, is predicted, and is both."""
        if self.confusion is not None:
            return self.confusion.sum(1).tolist(), self.confusion.sum(0).tolist(), self.confusion.diagonal().tolist()
        if self.kind == "value":
            return [], [], []
        true = self.targets > 0.5
        return true.sum(0).tolist(), self.predicted.sum(0).tolist(), (true & self.predicted).sum(0).tolist()

    @property
    def macro_f1(self) -> float | None:
        """Mean F1 over the classes that occur among targets or predictions."""
        scores = [row.f1 for row in self.per_class if row.f1 is not None]
        return sum(scores) / len(scores) if scores else None

    @property
    def ece(self) -> float | None:
        """Expected calibration error of the predicted class, 0..1."""
        if self.kind != "label" or self.correct is None:
            return None
        return metrics.expected_calibration_error(self.probabilities.max(axis=1), self.correct)

    @property
    def reliability(self) -> metrics.ReliabilityBins | None:
        """Confidence against accuracy in 15 bins."""
        if self.kind != "label" or self.correct is None:
            return None
        return metrics.reliability_bins(self.probabilities.max(axis=1), self.correct)

    @property
    def majority_baseline(self) -> float | None:
        """Accuracy of always giving the most frequent class (set of labels) of these very targets."""
        if self.kind == "value":
            return None
        _, counts = np.unique(self.targets, axis=0, return_counts=True)
        return float(counts.max() / self.n)

    @property
    def worst_class(self) -> ClassScore | None:
        """The class of which the smallest share is found."""
        rows = [row for row in self.per_class if row.recall is not None]
        return min(rows, key=lambda row: row.recall or 0.0, default=None)

    @property
    def most_confused(self) -> Confusion | None:
        """The commonest mistake; None where there is none."""
        if self.confusion is None:
            return None
        wrong = self.confusion * (1 - np.eye(len(self.classes), dtype=np.int64))
        true, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
        num = int(wrong[true, predicted])
        return Confusion(self.classes[true], self.classes[predicted], num) if num else None

    @property
    def mean_average_precision(self) -> float | None:
        """Over the labels that occur."""
        return _finite(metrics.mean_average_precision(self.targets, self.probabilities)) if self.kind == "labels" else None

    @property
    def mae(self) -> float | None:
        """Mean absolute error, in the targets' units."""
        return metrics.mean_absolute_error(self.targets, self.probabilities) if self.kind == "value" else None

    @property
    def rmse(self) -> float | None:
        """Root of the mean squared error, in the targets' units."""
        if self.kind != "value":
            return None
        return float(np.sqrt(np.mean((self.targets.astype(np.float64) - self.probabilities) ** 2)))

    @property
    def r2(self) -> float | None:
        """Coefficient of determination; None where the targets do not vary."""
        return _finite(metrics.r2(self.targets, self.probabilities)) if self.kind == "value" else None

    @property
    def baseline_mae(self) -> float | None:
        """Mean absolute error of always giving the mean of these very targets."""
        if self.kind != "value":
            return None
        return metrics.mean_absolute_error(self.targets, np.full(self.n, self.targets.mean(dtype=np.float64)))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What ``predictions.npz`` of a run holds: ``index`` and ``keys`` [N], ``target``, ``probabilities`` in float32."""
        return {
            "index": self.index,
            "keys": self.keys,
            "target": self.targets,
            "probabilities": self.probabilities.astype(np.float32),
        }

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values of every figure; null where it has none. The samples themselves are in :meth:`arrays`."""
        names = ("accuracy", "interval", "top5", "macro_f1", "ece", "majority_baseline", "mean_average_precision")
        errors = ("mae", "rmse", "r2", "baseline_mae")
        figures = {name: getattr(self, name) for name in (*names, *errors)}
        # A network that diverged answers NaN, which JSON has no form for.
        return {name: _finite(value) if isinstance(value, float) else value for name, value in figures.items()} | {
            "kind": self.kind,
            "split": self.split,
            "how": self.how,
            "n": self.n,
            "num_bad": self.num_bad,
            "bad": [list(pair) for pair in self.bad],
            "classes": list(self.classes),
            "per_class": [row._asdict() for row in self.per_class],
            "worst_class": None if self.worst_class is None else self.worst_class.name,
            "most_confused": None if self.most_confused is None else self.most_confused._asdict(),
            "tree": None if self.tree is None else self.tree._asdict(),
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "reliability": None if self.reliability is None else _bins_to_json(self.reliability),
        }

    def text(self) -> str:
        """A few lines for a terminal."""
        return describe_scores(self.to_json())


def _bins_to_json(bins: metrics.ReliabilityBins) -> list[dict[str, Any]]:
    edges, *columns = (part.tolist() for part in bins)
    return [
        {"low": low, "high": high, "count": count, "confidence": _finite(confidence), "accuracy": _finite(accuracy)}
        for low, high, count, confidence, accuracy in zip(edges[:-1], edges[1:], *columns, strict=True)
    ]


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
