"""Figures of merit in plain NumPy, each with its formula and its edge cases.

A figure that has no value (no sample, no positive) is NaN, never a silent 0 or 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


def accuracy(targets: Array, predicted: Array) -> float:
    """Share of equal entries of two [N] arrays, 0..1; NaN where N is 0."""
    return float(np.mean(targets == predicted)) if len(targets) else float("nan")


def wilson_interval(correct: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Score interval of a proportion of ``correct`` out of ``n``; (0, 1) where n is 0.

    With p = correct / n: (p + z²/2n ± z·sqrt(p(1 - p)/n + z²/4n²)) / (1 + z²/n). ``z`` = 1.96 covers 95 %. Unlike the
    normal interval it stays within 0..1 and does not collapse at 0 or n. (Wilson, JASA 22, 1927; Agresti & Coull, 1998.)
    """
    if n == 0:
        return 0.0, 1.0
    p, z2 = correct / n, z * z
    centre, half = p + z2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At 0 and n the bound is exactly 0 or 1; rounding would leave 1e-17.
    low = 0.0 if correct == 0 else float((centre - half) / (1 + z2 / n))
    high = 1.0 if correct == n else float((centre + half) / (1 + z2 / n))
    return low, high


def top_k_hits(targets: Array, scores: Array, k: int = 5) -> npt.NDArray[np.bool_]:
    """Whether the true class is among the ``k`` best: targets [N], scores [N, K] -> [N].

    Of equal scores the lower class comes first, as in ``argmax``, so that k = 1 is accuracy. NaN is never a hit.
    """
    own = np.take_along_axis(scores, targets[:, None], axis=1)
    not_lower = np.arange(scores.shape[1]) >= targets[:, None]
    behind = (scores < own) | ((scores == own) & not_lower)
    hits: npt.NDArray[np.bool_] = (~behind).sum(axis=1) < k
    return hits


def top_k_accuracy(targets: Array, scores: Array, k: int = 5) -> float:
    """Share of samples whose true class is among the ``k`` best, see :func:`top_k_hits`; NaN where N is 0."""
    return float(top_k_hits(targets, scores, k).mean()) if len(targets) else float("nan")


def confusion_matrix(targets: Array, predicted: Array, num_classes: int, ignore: int | None = None) -> npt.NDArray[np.int64]:
    """Counts [K, K]: row = true class, column = predicted one. Both arrays have one shape, any number of axes.

    Entries whose target is ``ignore`` are left out. Raises ``ValueError`` where another class is outside 0..K-1.
    """
    targets, predicted = np.ravel(targets), np.ravel(predicted)
    if ignore is not None:
        kept = targets != ignore
        targets, predicted = targets[kept], predicted[kept]
    for name, values in (("targets", targets), ("predicted", predicted)):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            raise ValueError(
                f"confusion_matrix: {name} hold {values.min()}..{values.max()}, but classes are 0..{num_classes - 1}"
            )
    cells = targets.astype(np.int64) * num_classes + predicted.astype(np.int64)
    counts: npt.NDArray[np.int64] = np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
    return counts


class ClassFigures(NamedTuple):
    """Per class, [K] each. ``support`` counts its true samples."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: npt.NDArray[np.int64]


def precision_recall_f1(confusion: Array) -> ClassFigures:
    """A confusion matrix [K, K] -> figures per class.

    precision = TP / predicted, recall = TP / true, F1 = 2 TP / (predicted + true). A class never predicted has precision
    0, one without true samples recall 0, one with neither F1 0: read them beside ``support``.
    """
    hits, true, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return ClassFigures(_ratio(hits, predicted), _ratio(hits, true), _ratio(2 * hits, predicted + true), true)


def macro_f1(confusion: Array) -> float:
    """Mean F1 over the classes that occur among the true or predicted labels; NaN where none does."""
    occurs = confusion.sum(axis=0) + confusion.sum(axis=1) > 0
    return float(precision_recall_f1(confusion).f1[occurs].mean()) if occurs.any() else float("nan")


class ReliabilityBins(NamedTuple):
    """Equal-width bins of confidence. ``edges`` has one entry more; the means of an empty bin are NaN."""

    edges: Floats
    counts: npt.NDArray[np.int64]
    confidence: Floats
    accuracy: Floats


def reliability_bins(confidence: Array, correct: Array, num_bins: int = 15) -> ReliabilityBins:
    """Mean confidence and accuracy per bin (m/M, (m+1)/M] of confidence; 0 belongs to the first.

    Args:
        confidence: [N] probability of the predicted class, 0..1.
        correct: [N] whether the prediction was right.
    """
    edges = np.linspace(0, 1, num_bins + 1)
    confidence = confidence.astype(np.float64)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, num_bins - 1)
    counts = np.bincount(place, minlength=num_bins)
    sums = [np.bincount(place, weights=values, minlength=num_bins) for values in (confidence, correct)]
    return ReliabilityBins(edges, counts, _ratio(sums[0], counts, np.nan), _ratio(sums[1], counts, np.nan))


def expected_calibration_error(confidence: Array, correct: Array, num_bins: int = 15) -> float:
    """ECE = sum over bins of (count / N) · |accuracy - confidence|; NaN where N is 0.

    Bins as in :func:`reliability_bins`. (Naeini et al., AAAI 2015; Guo et al., ICML 2017, eq. 5.)
    """
    bins = reliability_bins(confidence, correct, num_bins)
    filled = bins.counts > 0
    gaps = np.abs(bins.accuracy - bins.confidence)[filled]
    return float(gaps @ bins.counts[filled] / len(confidence)) if len(confidence) else float("nan")


def average_precision(targets: Array, scores: Array) -> float:
    """Area under the precision-recall steps of one class: sum over thresholds of (R_n - R_{n-1}) · P_n.

    Equal scores share one threshold; nothing is interpolated. NaN where there is no positive.

    Args:
        targets: [N] 0 or 1.
        scores: [N], higher = more likely positive.
    """
    order = np.argsort(-scores, kind="stable")
    positives = targets[order].astype(np.float64)
    if not positives.sum():
        return float("nan")
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hits = np.cumsum(positives)[last_of_ties]
    return float(np.diff(hits, prepend=0) @ (hits / (last_of_ties + 1)) / hits[-1])


def mean_average_precision(targets: Array, scores: Array) -> float:
    """Mean of :func:`average_precision` over the classes that have a positive, [N, K] each; NaN where none has."""
    areas = [average_precision(targets[:, k], scores[:, k]) for k in np.flatnonzero(targets.any(axis=0))]
    return float(np.mean(areas)) if areas else float("nan")


def mean_absolute_error(targets: Array, predicted: Array) -> float:
    """mean |t - p| of two [N] arrays, in their units; NaN where N is 0."""
    return float(np.abs(targets.astype(np.float64) - predicted).mean()) if len(targets) else float("nan")


def r2(targets: Array, predicted: Array) -> float:
    """Coefficient of determination: 1 - sum (t - p)² / sum (t - mean t)²; 0 is as good as the mean, below is worse.

    NaN where the targets do not vary.
    """
    targets = targets.astype(np.float64)
    spread = ((targets - targets.mean()) ** 2).sum() if len(targets) else 0.0
    return float(1 - ((targets - predicted) ** 2).sum() / spread) if spread else float("nan")


def mean_iou(confusion: Array) -> float:
    """Mean of TP / (true + predicted - TP) over the classes that occur in either; NaN where none does.

    Count pixels by ``confusion_matrix(mask, predicted, num_classes, ignore=255)``, summed over images first.
    """
    hits = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return float((hits[union > 0] / union[union > 0]).mean()) if union.any() else float("nan")


def psnr(target: Array, predicted: Array, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio 10 log10(peak² / mean squared error) in dB, over all entries; infinite where equal."""
    error = np.mean((target.astype(np.float64) - predicted) ** 2)
    return float(10 * np.log10(peak**2 / error)) if error else float("inf")


def box_iou(boxes: Array, others: Array) -> Floats:
    """Intersection over union of every pair: xyxy [M, 4] and [N, 4] -> [M, N]; 0 for two empty boxes."""
    top_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(bottom_right - top_left, 0, None).prod(axis=2)
    areas, other_areas = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (boxes, others))
    return _ratio(shared, areas[:, None] + other_areas[None] - shared)


def box_average_precision(truths: list[Array], detections: list[tuple[Array, Array]], iou: float = 0.5) -> float:
    """Average precision of one class of boxes: Pascal VOC's since 2010. NaN where there is no true box.

    By descending score over all images, a detection is a hit if the true box it overlaps most, by at least ``iou``, is not
    taken yet. The area is under the precision made monotone (each recall gets the best precision at it or beyond).

    Args:
        truths: an image each: boxes [M, 4], xyxy.
        detections: an image each: boxes [D, 4] and scores [D].
    """
    num_true = sum(map(len, truths))
    if not num_true:
        return float("nan")
    image = np.repeat(np.arange(len(detections)), [len(scores) for _, scores in detections])
    boxes = np.concatenate([b.reshape(-1, 4) for b, _ in detections])
    order = np.argsort(-np.concatenate([scores for _, scores in detections]), kind="stable")
    taken = [np.zeros(len(t), bool) for t in truths]
    hits = np.zeros(len(order), bool)
    for place, d in enumerate(order):
        overlaps = box_iou(boxes[d][None], truths[image[d]].reshape(-1, 4))[0]
        if overlaps.size and overlaps.max() >= iou and not taken[image[d]][overlaps.argmax()]:
            taken[image[d]][overlaps.argmax()] = hits[place] = True
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    return float(monotone[hits].sum() / num_true)


def _ratio(numerator: Array, denominator: Array, empty: float = 0.0) -> Floats:
    """Elementwise quotient; ``empty`` where the denominator is 0."""
    quotient = np.full(np.broadcast_shapes(np.shape(numerator), np.shape(denominator)), empty, np.float64)
    return np.divide(numerator, denominator, out=quotient, where=denominator != 0)
