"""Dividing samples into parts so that every class keeps its share of each, and what belongs together stays together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def apportion(total: int, shares: NDArray[np.float64] | Sequence[float], least: int | Ints = 0) -> Ints:
    """Whole numbers in proportion to ``shares`` that add up to ``total``, by largest remainder; none below ``least``.

    Ties go to the earlier entry. Where ``least`` adds up to more than ``total``, ``least`` is returned.
    """
    wanted = np.asarray(shares, dtype=np.float64)
    exact = wanted / wanted.sum() * total if wanted.sum() > 0 else np.zeros(len(wanted))
    counts = np.maximum(np.floor(exact + 1e-9).astype(np.int64), least)
    while counts.sum() < total:
        counts[np.argmax(exact - counts)] += 1
    floor = np.broadcast_to(least, counts.shape)
    while counts.sum() > total and (counts > floor).any():
        counts[np.argmax(np.where(counts > floor, counts - exact, -np.inf))] -= 1
    return counts


def stratify(targets: NDArray[Any], groups: Ints, order: NDArray[np.uint64], shares: Sequence[float]) -> Ints:
    """Assigns every sample a part, int64 [N] of 0 .. len(shares) - 1, whole groups at a time.

    One class each: every class is divided by largest remainder, and is in every part as long as it has that many
    groups (the parts come in order of need: a class with a single group is in part 0 only). Several classes each:
    iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011), the rarest class first. Numbers: by quantile.

    Args:
        targets: int64 [N] classes, float [N, K] of zeros and ones, or float [N] numbers.
        groups: [N]; samples of equal number go to the same part.
        order: uint64 [N], decides between equals; the assignment depends on nothing else, not on the samples' order.
        shares: of the parts, in order of need.
    """
    # Groups are numbered anew by their lowest `order`, so that neither their numbers nor their places matter.
    by_order = np.argsort(order, kind="stable")
    _, first, inverse = np.unique(groups[by_order], return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    group = np.empty(len(targets), dtype=np.int64)
    group[by_order] = rank[inverse]
    sizes = np.bincount(group, minlength=len(first))
    if targets.ndim == 2:
        return _iterative(targets, group, sizes, shares)[group]
    classes = targets if np.issubdtype(targets.dtype, np.integer) else _quantiles(targets)
    return _by_class(_group_classes(classes, group, len(first)), sizes, shares)[group]


def _quantiles(values: NDArray[Any]) -> Ints:
    """Up to ten bins of about equally many values, at least twenty each where there are so many; equal values share one."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, min(10, max(1, len(values) // 20)) + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")


def _group_classes(classes: Ints, group: Ints, num_groups: int) -> Ints:
    """The rarest class in each group: where duplicates carry different labels, the small class needs them most."""
    frequency = np.bincount(classes)[classes]
    rarest_last = np.lexsort((-classes, -frequency))
    found = np.zeros(num_groups, dtype=np.int64)
    found[group[rarest_last]] = classes[rarest_last]
    return found


def _by_class(classes: Ints, sizes: Ints, shares: Sequence[float]) -> Ints:
    """A part for each group; groups come in the order that decides between equals."""
    parts = np.zeros(len(sizes), dtype=np.int64)
    by_class = np.argsort(classes, kind="stable")
    ends = np.cumsum(np.bincount(classes))
    for start, end in pairwise((0, *ends.tolist())):
        members = by_class[start:end]
        if len(members):
            parts[members] = _divide(sizes[members], np.asarray(shares, dtype=np.float64))
    return parts


def _divide(sizes: Ints, shares: NDArray[np.float64]) -> Ints:
    """Parts for the groups of one class: groups of several first, the largest ahead, then single samples to fill exactly."""
    shares = shares[: min(len(shares), len(sizes))]
    missing = apportion(int(sizes.sum()), shares, least=1)
    empty = np.ones(len(shares), dtype=bool)
    parts = np.empty(len(sizes), dtype=np.int64)
    large = np.flatnonzero(sizes > 1)
    for placed, g in enumerate(large[np.argsort(-sizes[large], kind="stable")].tolist()):
        must_fill = len(sizes) - placed <= empty.sum()
        part = int(np.argmax(np.where(empty, missing, missing.min() - 1) if must_fill else missing))
        parts[g], empty[part] = part, False
        missing[part] -= sizes[g]
    single = np.flatnonzero(sizes == 1)
    counts = apportion(len(single), np.maximum(missing, empty), least=empty.astype(np.int64))
    # The last part takes the first of the order: a sample that joins later hardly moves the others.
    parts[single] = np.repeat(np.arange(len(shares))[::-1], counts[::-1])
    return parts


def _iterative(targets: NDArray[Any], group: Ints, sizes: Ints, shares: Sequence[float]) -> Ints:
    """A part for each group of samples with several classes each."""
    labels = np.zeros((len(sizes), targets.shape[1]))
    np.add.at(labels, group, targets > 0)
    wanted = np.outer(np.asarray(shares) / sum(shares), labels.sum(0))
    room = np.asarray(shares) / sum(shares) * sizes.sum()
    parts = np.full(len(sizes), -1, dtype=np.int64)

    def place(g: int, needs: NDArray[np.float64]) -> None:
        part = int(np.lexsort((-room, -needs.round(6)))[0])
        parts[g] = part
        wanted[part] -= labels[g]
        room[part] -= sizes[g]

    while True:
        left = labels[parts < 0].sum(0)
        if not left.any():
            break
        rarest = int(np.argmin(np.where(left > 0, left, np.inf)))
        for g in np.flatnonzero((parts < 0) & (labels[:, rarest] > 0)).tolist():
            place(g, wanted[:, rarest])
    for g in np.flatnonzero(parts < 0).tolist():
        place(g, room)
    return parts
