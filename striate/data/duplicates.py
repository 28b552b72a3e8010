"""Pictures that are the same, or nearly: a 64-bit difference hash, a thumbnail that confirms it, and groups.

The hash (dHash: Krawetz 2013, "Kind of Like That") finds candidates, the correlation of two 16 x 16 grey thumbnails
decides. The hash alone would drown a user: among 18,200 handwritten letters 2.5 million pairs lie within 10 bits, and none
is a duplicate.

Thresholds were set on real data. Photos re-encoded at JPEG quality 30, halved, or made grey differ by 0.0011 at most (over
600 ImageNet photos), cropped by 2 % a side by 0.027 or less in 90 of 100; no two of these photos within 10 bits come closer
than 0.1. Of 158 CIFAR-10 pairs within 8 bits and 0.03, looked at on a sheet, none seemed unrelated. Where pictures are simple
shapes before an even ground (Fashion-MNIST, letters) thousands of unrelated pairs come as close as that; there only what
re-encoding explains counts: 57 pairs in the 70,000 of Fashion-MNIST, whose 24 least alike show the same garment or its twin,
and none among letters and digits.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate import machine
from striate.data.prefetch import ordered
from striate.data.preprocess import Preprocess
from striate.data.stratify import Ints

HASHED, THUMBNAIL = Preprocess((8, 9), channels=1), Preprocess((16, 16), channels=1)
"""What shrinks a picture for its difference hash, and for the thumbnail that is compared."""
TILE = (64, 4096)
"""Rows and columns of hashes that are compared at once: what stays in a core's cache."""

SCAN = 16
"""From this share of all pairs on (1 / SCAN), looking candidates up costs more than comparing each with each."""
PORTION = 8192
"""Candidates whose thumbnails are compared at once, or a few more."""

MAX_CANDIDATES, MAX_PARTNERS = 256, 32
"""For each picture: pairs looked at in one tile, and duplicates after it that end the search. Both only bound the work
where thousands of pictures are alike, and keep their chain whole."""


@dataclass(frozen=True)
class Likeness:
    """How alike two pictures must be to count as one.

    Attributes:
        bits: largest Hamming distance of the two difference hashes.
        difference: largest 1 - correlation of the two thumbnails.
    """

    bits: int
    difference: float

    @property
    def words(self) -> str:
        """The measure as a clause."""
        alike = f"grey 16 x 16 thumbnails correlated by {1 - self.difference:g} or more"
        return f"difference hashes within {self.bits} of 64 bits, and {alike}"


@dataclass(frozen=True)
class Near:
    """Two pictures that are nearly the same: positions i < j, bits between their hashes, 1 - correlation of their thumbnails."""

    i: int
    j: int
    bits: int
    difference: float


SAME_SCENE = Likeness(8, 0.03)
"""Resized, re-encoded, recoloured, slightly cropped."""
SAME_PICTURE = Likeness(2, 0.001)
"""Resized or re-encoded."""


def difference_hash(grey: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """64 bits a picture, one for each of 8 x 8 horizontal neighbours: does grey rise to the right? [N, 8, 9] -> uint64 [N]."""
    rises = np.packbits((grey[:, :, 1:] > grey[:, :, :-1]).reshape(len(grey), 64), axis=1)
    return rises.view(">u8")[:, 0].astype(np.uint64)


def near_pairs(hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8]) -> tuple[list[Near], Likeness]:
    """All pairs i < j that are near duplicates, and what counted as near.

    Args:
        hashes: uint64 [N].
        thumbnails: uint8 [N, 256].
    """
    likeness = _likeness(hashes, thumbnails)
    neighbours, coarse, workers = _Neighbours(hashes, likeness.bits), _coarse(thumbnails), machine.num_cores()

    def search(start: int, stop: threading.Event) -> list[Near]:
        found, partners = [], np.zeros(TILE[0], dtype=np.int64)
        for i, j, turn in neighbours.candidates(start):
            wanting = partners[i - start] < MAX_PARTNERS
            i, j, turn = i[wanting], j[wanting], turn[wanting]
            steps = coarse[i] - coarse[j]
            # Half the squared distance of any projection is at most 1 - correlation: most pairs need no closer look.
            possible = np.einsum("nk,nk->n", steps, steps) / 2 <= likeness.difference + 1e-5
            i, j, turn = i[possible], j[possible], turn[possible]
            differences = _differences(thumbnails, i, j)
            near = differences <= likeness.difference
            # What a row finds in the turn after the one that gave it enough partners is not looked for.
            each = np.zeros((TILE[0], int(turn.max(initial=0)) + 1), dtype=np.int64)
            np.add.at(each, (i[near] - start, turn[near]), 1)
            before = partners[:, None] + np.cumsum(each, axis=1) - each
            near &= before[i - start, turn] < MAX_PARTNERS
            i, j, differences = i[near], j[near], differences[near]
            partners += np.bincount(i - start, minlength=TILE[0])
            bits = np.bitwise_count(hashes[i] ^ hashes[j])
            found += [Near(*pair) for pair in zip(*(column.tolist() for column in (i, j, bits, differences)), strict=True)]
        return found

    pairs = [pair for found in ordered(search, range(0, len(hashes), TILE[0]), workers, ahead=4 * workers) for pair in found]
    return sorted(pairs, key=lambda pair: (pair.i, pair.j)), likeness


def _likeness(hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8], sample: int = 2048, enough: int = 20) -> Likeness:
    """The loose measure, unless the hash tells nothing here: many pairs collide and the thumbnails deny most of them."""
    # Evenly spaced, so that every class of a sorted folder is in the sample.
    rows = np.arange(len(hashes)) if len(hashes) <= sample else np.linspace(0, len(hashes) - 1, sample).astype(np.int64)
    hashes, thumbnails = hashes[rows], thumbnails[rows]
    collisions = confirmed = 0
    neighbours = _Neighbours(hashes, 3)
    for start in range(0, len(rows), TILE[0]):
        for i, j, _ in neighbours.candidates(start):
            collisions += len(i)
            confirmed += int((_differences(thumbnails, i, j) <= SAME_SCENE.difference).sum())
    return SAME_PICTURE if collisions > enough and confirmed < 0.2 * collisions else SAME_SCENE


class _Neighbours:
    """Finds every pair of hashes at most ``bits`` apart without comparing each with each.

    Of ``num`` groups that the 64 bits are dealt into, one differs in at most ``bits // num`` (the pigeonhole principle;
    multi-index hashing: M. Norouzi, A. Punjani, D. Fleet 2012, arXiv:1307.2982). A group's bits are a key: equal keys, and
    where that quotient is 1 also keys one bit away, are found in a sorted array.
    """

    def __init__(self, hashes: NDArray[np.uint64], bits: int) -> None:
        self.hashes, self.bits = hashes, bits
        num_groups = bits + 1 if bits < 4 else bits // 2 + 1
        planes = np.unpackbits(hashes.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)
        # Bits that nearly all pictures share tell none apart: each group gets its share of those that do.
        order = np.argsort(np.abs(2 * planes.sum(axis=0, dtype=np.int64) - len(hashes)), kind="stable")
        self.groups: list[tuple[Ints, Ints, Ints]] = []
        for group in range(num_groups):
            members = order[group::num_groups]
            key = np.zeros(len(hashes), dtype=np.int64)
            for place, plane in enumerate(members):
                key |= planes[:, plane].astype(np.int64) << place
            flips = np.append(0, 1 << np.arange(len(members) if bits // num_groups else 0))
            self.groups.append((key, np.sort(key * len(hashes) + np.arange(len(hashes))), flips))

    def candidates(self, start: int) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Pairs i < j, i in the ``TILE[0]`` rows from ``start`` on, and the turn of each: a row comes with a few at a time.

        Of each row, ``MAX_CANDIDATES`` in a tile of columns. Turns begin anew in each portion; no pair is in two.
        """
        row, j = np.divmod(self._near(start), len(self.hashes))  # a row a tile
        place = np.arange(len(row)) - np.searchsorted(row, row)
        turn = row // TILE[0] * (MAX_CANDIDATES // MAX_PARTNERS) + place // MAX_PARTNERS
        in_turns = np.argsort(turn, kind="stable")
        in_turns = in_turns[place[in_turns] < MAX_CANDIDATES]
        i, j, turn = row[in_turns] % TILE[0] + start, j[in_turns], turn[in_turns]
        first = 0
        while first < len(turn):
            last = int(np.searchsorted(turn, turn[min(first + PORTION, len(turn)) - 1], side="right"))
            yield i[first:last], j[first:last], turn[first:last] - turn[first]
            first = last

    def _near(self, start: int) -> Ints:
        """(tile * TILE[0] + i - start) * N + j for each pair, ascending."""
        rows, num = np.arange(start, min(start + TILE[0], len(self.hashes))), len(self.hashes)
        spans = []
        for key, pairs, flips in self.groups:
            wanted = (key[rows, None] ^ flips) * num
            low = np.searchsorted(pairs, (wanted + rows[:, None] + 1).reshape(-1))
            spans.append((pairs, low, np.searchsorted(pairs, (wanted + num).reshape(-1)) - low))
        if sum(int(counts.sum()) for _, _, counts in spans) > len(rows) * (num - start) // SCAN:
            return self._scan(rows)
        found = []
        for pairs, low, counts in spans:
            i = np.repeat(rows - start, counts.reshape(len(rows), -1).sum(axis=1))
            j = pairs[np.repeat(low - np.cumsum(counts) + counts, counts) + np.arange(len(i))] % num
            close = np.bitwise_count(self.hashes[start:][i] ^ self.hashes[j]) <= self.bits
            i, j = i[close], j[close]
            found.append(((j - start) // TILE[1] * TILE[0] + i) * num + j)
        codes = np.sort(np.concatenate(found))
        return codes[np.diff(codes, prepend=-1) > 0]  # a pair may be near in several groups

    def _scan(self, rows: Ints) -> Ints:
        found, num = [], len(self.hashes)
        for tile, left in enumerate(range(int(rows[0]), num, TILE[1])):
            distances = np.bitwise_count(self.hashes[rows, None] ^ self.hashes[None, left : left + TILE[1]])
            i, j = np.divmod(np.flatnonzero(distances <= self.bits), distances.shape[1])
            upper = i + rows[0] < j + left
            i, j = i[upper], j[upper]
            few = np.arange(len(i)) - np.searchsorted(i, i) < MAX_CANDIDATES
            found.append((tile * TILE[0] + i[few]) * num + j[few] + left)
        return np.concatenate(found)


def _coarse(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Thumbnails of mean 0 and length 1, projected on their 4 x 4 blocks: float32 [N, 16]."""
    coarse = np.zeros((len(thumbnails), 16), dtype=np.float32)
    for start in range(0, len(thumbnails), TILE[1]):
        whole = thumbnails[start : start + TILE[1]].astype(np.float32)
        whole -= whole.mean(1, keepdims=True)
        whole /= np.maximum(np.linalg.norm(whole, axis=1, keepdims=True), 1e-3)
        coarse[start : start + TILE[1]] = whole.reshape(-1, 4, 4, 4, 4).sum((2, 4)).reshape(-1, 16) / 4
    return coarse


def _differences(thumbnails: NDArray[np.uint8], i: Ints, j: Ints) -> NDArray[np.float32]:
    """1 - Pearson correlation of thumbnails i and j, [len(i)]; 1 where one is even grey, which nothing can confirm."""
    a, b = (thumbnails[k].astype(np.float32) for k in (i, j))
    a -= a.mean(1, keepdims=True)
    b -= b.mean(1, keepdims=True)
    norms = np.sqrt(np.einsum("nk,nk->n", a, a) * np.einsum("nk,nk->n", b, b))
    products: NDArray[np.float32] = np.einsum("nk,nk->n", a, b)
    correlations: NDArray[np.float32] = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return 1 - correlations


def components(num: int, pairs: NDArray[Any]) -> Ints:
    """Group number of each of ``num`` samples, int64 [num]: the lowest position that ``pairs`` [M, 2] connect it with."""
    parent = list(range(num))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in np.asarray(pairs, dtype=np.int64).reshape(-1, 2).tolist():
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return np.array([root(i) for i in range(num)], dtype=np.int64)
