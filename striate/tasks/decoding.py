"""From raw outputs to what a person reads, in NumPy alone: a server with an exported model needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["label", "labels", "value"]
"""One class an image, any number of classes an image, or one number an image."""

THRESHOLD = 0.5
"""Probability from which one of several labels counts as present, where a task does not say otherwise."""

Floats = npt.NDArray[np.floating[Any]]


def softmax(logits: Floats) -> Floats:
    """Logits [..., K] -> probabilities [..., K] that sum to 1 over the last axis; large logits do not overflow."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Floats = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(logits: Floats) -> Floats:
    """Logits of any shape -> probabilities 0..1, elementwise; neither sign overflows."""
    decayed = np.exp(-np.abs(logits))
    probabilities: Floats = np.where(logits >= 0, 1, decayed) / (1 + decayed)
    return probabilities


@dataclass(frozen=True)
class Prediction:
    """What a network says of one image.

    Attributes:
        source: the file it was read from, or its position among images given as arrays.
        top: (class, probability) pairs, most probable first; equal ones in class order. Empty for ``value``.
        labels: the classes it is taken to show: the most probable one (``label``), or all at or above the threshold
            (``labels``, in class order, perhaps none). Empty for ``value``.
        value: the number predicted, in the units of the training data; None unless the kind is ``value``.
        error: why there is no prediction; the other fields are empty then.
    """

    source: str
    top: tuple[tuple[str, float], ...] = ()
    labels: tuple[str, ...] = ()
    value: float | None = None
    error: str | None = None

    @property
    def label(self) -> str | None:
        """The most probable class; None for a number or an error."""
        return self.top[0][0] if self.top else None

    @property
    def probability(self) -> float | None:
        """The probability of ``label``, 0..1."""
        return self.top[0][1] if self.top else None


@dataclass(frozen=True)
class Decoder:
    """How the raw outputs of a classifier or regressor are read; built from a task, or from what a bundle says of it.

    Attributes:
        kind: see :data:`Kind`.
        classes: names, in the order of the outputs; empty for ``value``.
        target_mean, target_std: of the training targets of ``value``: an output of 0 is the mean, 1 one deviation above.
        threshold: probability from which ``labels`` counts a class as present.
    """

    kind: Kind
    classes: tuple[str, ...] = ()
    target_mean: float = 0.0
    target_std: float = 1.0
    threshold: float = THRESHOLD

    @classmethod
    def from_json(cls, task: Mapping[str, Any], classes: Sequence[str]) -> Decoder:
        """Reads the ``task`` and ``classes`` entries of a bundle's metadata."""
        given = {name: float(task[name]) for name in ("target_mean", "target_std", "threshold") if name in task}
        return cls(task["kind"], tuple(classes), **given)

    def scores(self, raw: Floats) -> Floats:
        """Raw outputs -> figures.

        Args:
            raw: [N, K] logits, or [N, 1] or [N] standardised numbers for ``value``.

        Returns:
            ``label``: [N, K] probabilities that sum to 1; ``labels``: [N, K] probabilities, each 0..1 by itself;
            ``value``: [N] numbers in the units of the training data.
        """
        if self.kind == "label":
            return softmax(raw)
        if self.kind == "labels":
            return sigmoid(raw)
        values: Floats = raw.reshape(len(raw)) * self.target_std + self.target_mean
        return values

    def predictions(self, scores: Floats, sources: Sequence[str], top: int = 5) -> list[Prediction]:
        """Figures of :meth:`scores` -> one record an image, with the ``top`` most probable classes."""
        if self.kind == "value":
            return [Prediction(source, value=float(value)) for source, value in zip(sources, scores, strict=True)]
        return [self._prediction(row, source, top) for source, row in zip(sources, scores, strict=True)]

    def _prediction(self, probabilities: Floats, source: str, top: int) -> Prediction:
        best = np.argsort(-probabilities, kind="stable")[: max(top, 1)]
        pairs = tuple((self.classes[k], float(probabilities[k])) for k in best)
        present = np.flatnonzero(probabilities >= self.threshold) if self.kind == "labels" else best[:1]
        return Prediction(source, pairs, tuple(self.classes[k] for k in present))
