"""Similar pictures among vectors of length 1: the nearest ones, and clusters of near-duplicates.

Exact: every pair is compared, a block at a time, so that memory stays bounded whatever the number of vectors. Similarities are
cosines, sums in float32: right to about 1e-6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.errors import UsageError

ROWS, COLUMNS = 256, 1 << 14
"""Queries and vectors that are compared at once: 16 MB of similarities, 32 MB to rank them."""
ROUNDING = 1e-6
"""How far below 1 the similarity of a vector with itself may come out."""
MANY = 1_000_000
"""Vectors from which on FAISS searches, where it is installed."""

Vectors = NDArray[np.float32]
Ints = NDArray[np.int64]


class Neighbours(NamedTuple):
    """The nearest vectors of each query, the nearest first, of equal ones the earlier.

    Attributes:
        positions: int64 [Q, k].
        similarities: float32 [Q, k], cosines from -1 to 1.
    """

    positions: Ints
    similarities: NDArray[np.float32]


def nearest(vectors: Vectors, queries: Vectors, k: int, exclude: Ints | None = None) -> Neighbours:
    """The ``k`` vectors most similar to each query; all of them where there are fewer.

    Past a million vectors FAISS ranks them, where it is installed (the extra ``faiss``): as exact, but the
    order of equal ones is then its own.

    Args:
        vectors: float32 [N, D], of length 1.
        queries: float32 [Q, D], of length 1.
        k: neighbours wanted.
        exclude: int64 [Q], a position each that does not count: the query's own.

    Raises:
        UsageError: ``k`` is less than 1.
        ValueError: the queries are of another width.
    """
    if k < 1:
        raise UsageError(f"k is {k}", why="it is the number of pictures to find", fix="ask for at least 1")
    if queries.ndim != 2 or queries.shape[1] != vectors.shape[1]:
        raise ValueError(f"queries are {list(queries.shape)}, not [Q, {vectors.shape[1]}] as the vectors are wide")
    k = max(0, min(k, len(vectors) - (exclude is not None)))
    search = _faiss() if len(vectors) > MANY else None
    if search is not None and k:
        return _without(search(queries, vectors, k + (exclude is not None)), exclude)
    found = [
        _nearest_of(vectors, queries[start : start + ROWS], k, None if exclude is None else exclude[start : start + ROWS])
        for start in range(0, len(queries), ROWS)
    ]
    keys = np.concatenate(found) if found else np.empty((0, k), np.int64)
    return Neighbours(*_unpack(keys))


def near_duplicates(vectors: Vectors, threshold: float = 0.95, check: Callable[[int, int], None] | None = None) -> list[Ints]:
    """Clusters of vectors that a chain of pairs at least ``threshold`` similar connects, the largest first.

    Args:
        vectors: float32 [N, D], of length 1.
        threshold: a cosine, above 0 and at most 1.
        check: called with rows done and all rows, after each block; may raise to stop.

    Returns:
        Positions of each cluster of two or more, ascending; clusters of one size by their first.

    Raises:
        UsageError: no such threshold.
    """
    if not 0 < threshold <= 1:
        raise UsageError(f"threshold is {threshold:g}", why="it is a cosine similarity", fix="give more than 0 and at most 1")
    num = len(vectors)
    root = np.arange(num)
    for top in range(0, num, ROWS):
        for left in range(top, num, COLUMNS):
            similarities = vectors[top : top + ROWS] @ vectors[left : left + COLUMNS].T
            i, j = np.nonzero(similarities >= threshold - ROUNDING)
            _connect(root, i + top, j + left)
        if check is not None:
            check(min(num, top + ROWS), num)
    order = np.argsort(root, kind="stable")
    clusters = np.split(order, np.flatnonzero(np.diff(root[order])) + 1)
    return sorted((cluster for cluster in clusters if len(cluster) > 1), key=lambda cluster: (-len(cluster), cluster[0]))


def _connect(root: Ints, i: Ints, j: Ints) -> None:
    """Unites the sets of each pair. ``root`` says of each position the lowest of its set, before and after."""
    while True:
        a, b = root[i], root[j]
        apart = a != b
        if not apart.any():
            return
        i, j, a, b = i[apart], j[apart], a[apart], b[apart]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while ((above := root[root]) != root).any():
            root[:] = above


def _nearest_of(vectors: Vectors, queries: Vectors, k: int, exclude: Ints | None) -> Ints:
    """Packed similarities and positions [Q, k], the nearest first."""
    best = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(vectors) if k else 0, COLUMNS):
        similarities = queries @ vectors[start : start + COLUMNS].T
        if exclude is not None:
            rows = np.flatnonzero((exclude >= start) & (exclude < start + similarities.shape[1]))
            similarities[rows, exclude[rows] - start] = -np.inf
        best = np.concatenate([best, _largest(_pack(similarities, start), k)], axis=1)
        best = _largest(best, k)
    best.sort(axis=1)
    return best[:, ::-1]


def _largest(keys: Ints, k: int) -> Ints:
    return keys if keys.shape[1] <= k else np.partition(keys, keys.shape[1] - k, axis=1)[:, -k:]


def _pack(similarities: NDArray[np.float32], start: int) -> Ints:
    """[Q, M] similarities to the vectors from ``start`` on -> keys that order as they do, and of equal ones the earlier higher.

    A key is the similarity's bits above the position's: as integers, floats of one sign order as they do as numbers, and
    flipping all bits but the sign of the negative ones orders those as well.
    """
    bits = (similarities + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0
    bits ^= (bits >> 31) & 0x7FFFFFFF
    behind = 0xFFFFFFFF - np.arange(start, start + similarities.shape[1])
    keys: Ints = bits.astype(np.int64) << 32 | behind
    return keys


def _unpack(keys: Ints) -> tuple[Ints, NDArray[np.float32]]:
    bits = (keys >> 32).astype(np.int32)
    bits ^= (bits >> 31) & 0x7FFFFFFF
    return 0xFFFFFFFF - (keys & 0xFFFFFFFF), bits.view(np.float32)


def _faiss() -> Callable[[Vectors, Vectors, int], Neighbours] | None:
    """FAISS's exact search by inner product (M. Douze et al. 2024, arXiv:2401.08281); None where it is not installed."""
    try:
        import faiss
    except ImportError:
        return None

    def search(queries: Vectors, vectors: Vectors, k: int) -> Neighbours:
        similarities, positions = faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
        return Neighbours(positions, similarities)

    return search


def _without(found: Neighbours, exclude: Ints | None) -> Neighbours:
    """One neighbour a query fewer: the excluded one, or where it is not among them the last."""
    if exclude is None:
        return found
    own = found.positions == exclude[:, None]
    own[~own.any(axis=1), -1] = True
    shape = (len(own), own.shape[1] - 1)
    return Neighbours(found.positions[~own].reshape(shape), found.similarities[~own].reshape(shape))
