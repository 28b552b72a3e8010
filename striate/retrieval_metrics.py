"""Figures of embeddings, in plain NumPy: does the nearest neighbour show the same, and does a distance tell same from other?

A figure that has no value (no query with a match, no pair of a kind) is NaN, never a silent 0 or 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from striate.data.randomness import permutation, uniform
from striate.metrics import average_precision

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]

_CHUNK = 512
"""Queries that are compared with everything at once."""


def unit_length(embeddings: Floats) -> Floats:
    """[N, D] -> the same directions at length 1, so that a product is a cosine; a row of zeros stays one."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    units: Floats = embeddings / np.where(lengths > 0, lengths, 1)
    return units


class Retrieval(NamedTuple):
    """Each image a query among all the others.

    Attributes:
        recall: by k: share of the queries with an image of their class among the k nearest.
        mean_average_precision: mean over the queries of the area under their precision-recall steps.
        num_queries: those that have another image of their class; no other counts.
    """

    recall: dict[int, float]
    mean_average_precision: float
    num_queries: int


def retrieval_figures(embeddings: Floats, labels: Array, ks: Sequence[int] = (1, 5), max_queries: int | None = None) -> Retrieval:
    """:func:`recall_at_k` and :func:`retrieval_average_precision` from one pass over the pairs.

    Args:
        embeddings: [N, D]; near is what has a large cosine.
        labels: int64 [N].
        max_queries: the queries are that many images at most, drawn evenly; each is compared with all. None: all.
    """
    ahead, areas = [], []
    for similarities, same in _queries(unit_length(embeddings), labels, max_queries):
        best = np.where(same, similarities, -np.inf).max(axis=1, keepdims=True)
        ahead.append((~same & (similarities >= best)).sum(axis=1))
        areas += [average_precision(*row) for row in zip(same, similarities, strict=True)]
    if not areas:
        return Retrieval({k: float("nan") for k in ks}, float("nan"), 0)
    strangers = np.concatenate(ahead)
    return Retrieval({k: float((strangers < k).mean()) for k in ks}, float(np.mean(areas)), len(areas))


def recall_at_k(embeddings: Floats, labels: Array, k: int = 1) -> float:
    """Share of images with another of their class among the ``k`` nearest others (H. Jégou et al., PAMI 33, 2011).

    [N, D] and int64 [N]. At equal distance the other class comes first, so that embeddings that are all one have recall 0.
    Images without another of their class do not count; NaN where none has.
    """
    return retrieval_figures(embeddings, labels, (k,)).recall[k]


def retrieval_average_precision(embeddings: Floats, labels: Array) -> float:
    """mAP: each image ranks all the others by cosine; the mean of :func:`striate.metrics.average_precision` over them.

    [N, D] and int64 [N]. Images without another of their class do not count; NaN where none has.
    """
    return retrieval_figures(embeddings, labels, ()).mean_average_precision


def _queries(units: Floats, labels: Array, max_queries: int | None) -> Iterator[tuple[Floats, npt.NDArray[np.bool_]]]:
    """Some queries at a time: cosines to all the others, and which of those are of the query's class: [n, N - 1] each."""
    _, member, counts = np.unique(labels, return_inverse=True, return_counts=True)
    chosen = np.flatnonzero(counts[member] > 1)
    if max_queries is not None and len(chosen) > max_queries:
        chosen = np.sort(chosen[permutation(0, 0, len(chosen))[:max_queries]])
    for start in range(0, len(chosen), _CHUNK):
        rows = chosen[start : start + _CHUNK]
        others = np.arange(len(labels)) != rows[:, None]
        shape = (len(rows), len(labels) - 1)
        similarities = (units[rows] @ units.T)[others].reshape(shape)
        yield similarities, (labels[rows, None] == labels)[others].reshape(shape)


def verification_pairs(labels: Array, num_pairs: int | None = None, seed: int = 0) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
    """Pairs of different images for verification, "do these two show the same?".

    Args:
        labels: int64 [N].
        num_pairs: of the same class, and as many again of two classes, each drawn evenly from all such pairs, with
            replacement. None: every pair once, all N (N - 1) / 2.
        seed: of the draw.

    Returns:
        Positions of the first and of the second image, and whether their classes are the same: [M] each. A kind of pair that
        there is none of is left out.
    """
    if num_pairs is None:
        first, second = np.triu_indices(len(labels), 1)
        return first, second, labels[first] == labels[second]
    # Sorted by class, an image's partners are a run of neighbours (its class), or all that is outside of that run.
    order = np.argsort(labels, kind="stable")
    classes = labels[order]
    start = np.searchsorted(classes, classes, side="left")
    size = np.searchsorted(classes, classes, side="right") - start
    own = np.arange(len(labels)) - start
    parts = []
    for same, partners in ((True, size - 1), (False, len(labels) - size)):
        if not partners.any():
            continue
        draws = uniform(seed, int(same), np.arange(num_pairs), "verification", 2)
        cumulative = np.cumsum(partners)
        a = np.searchsorted(cumulative, (draws[:, 0] * cumulative[-1]).astype(np.int64), side="right")
        step = 1 + (draws[:, 1] * partners[a]).astype(np.int64)
        beside = start[a] + (own[a] + step) % size[a]
        outside = (start[a] + size[a] + step - 1) % len(labels)
        parts.append((order[a], order[beside if same else outside], np.full(num_pairs, same)))
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.bool_)
    firsts, seconds, sames = zip(*parts, strict=True)
    return np.concatenate(firsts), np.concatenate(seconds), np.concatenate(sames)


class RocCurve(NamedTuple):
    """Accepting every pair whose score is at least ``threshold``: [T] each, from accepting nothing to accepting all.

    Attributes:
        false_accept: share of the pairs of two classes that are accepted (false positive rate).
        true_accept: share of the pairs of one class that are accepted (true positive rate).
        threshold: descending; the first is infinite.
    """

    false_accept: Floats
    true_accept: Floats
    threshold: Floats


def roc_curve(same: Array, scores: Array) -> RocCurve:
    """Receiver operating characteristic; NaN rates where there is no pair of a kind.

    Args:
        same: [M] whether a pair is of one class, or any 0 or 1.
        scores: [M], higher = more alike. Equal scores share one threshold.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, matches = scores[order], np.asarray(same)[order].astype(np.bool_)
    last_of_ties = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1) if len(ranked) else np.empty(0, np.int64)
    rates = []
    for kind in (~matches, matches):
        accepted = np.append(0, np.cumsum(kind)[last_of_ties])
        rates.append(accepted / kind.sum() if kind.any() else np.full(len(accepted), np.nan))
    return RocCurve(rates[0], rates[1], np.append(np.inf, ranked[last_of_ties]))


def roc_auc(same: Array, scores: Array) -> float:
    """Area under :func:`roc_curve`: the probability that a pair of one class scores above one of two, ties counting half."""
    curve = roc_curve(same, scores)
    return float(np.trapezoid(curve.true_accept, curve.false_accept)) if len(scores) else float("nan")


def equal_error_rate(same: Array, scores: Array) -> float:
    """The error rate, 0..1, at the threshold that accepts as large a share of others as it rejects of the same.

    Between two thresholds of :func:`roc_curve` both rates are taken as straight lines. 0.5 is no better than chance; NaN
    where there is no pair of a kind.
    """
    curve = roc_curve(same, scores)
    gap = curve.false_accept - (1 - curve.true_accept)
    if not len(scores) or np.isnan(gap).any():
        return float("nan")
    after = int(np.argmax(gap >= 0))  # never the first, where nothing is accepted and the gap is -1
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    false_accept = curve.false_accept
    return float(false_accept[after - 1] + share * (false_accept[after] - false_accept[after - 1]))
