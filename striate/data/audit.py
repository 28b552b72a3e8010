"""A look at every picture of a data set before anything is trained on it: one parallel pass, nothing is changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from striate import machine
from striate.data.duplicates import Likeness, Near, components, near_pairs
from striate.data.examine import TRAITS, Bad, Examined, examine
from striate.data.findings import Finding, findings
from striate.data.prefetch import ordered
from striate.data.source import SPLITS, ArraySource, Source
from striate.data.split import class_counts
from striate.data.stratify import Ints

LISTED = 1000
"""Entries of one list that go into ``audit.json``; the number of all is beside it."""


@dataclass(frozen=True)
class Leak:
    """Pictures of one split that are in another too.

    Attributes:
        splits: the earlier and the later, e.g. ``("train", "test")``.
        pairs: for each picture of the later split that has a twin, (position of a twin in the earlier, its own).
    """

    splits: tuple[str, str]
    pairs: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Conflict:
    """The same picture, or nearly, under different targets: positions i < j."""

    i: int
    j: int
    exact: bool


@dataclass(frozen=True, eq=False)
class Audit:
    """What was found.

    Attributes:
        source: the data.
        indices: int64 [M], the positions that were looked at, ascending.
        bad: the unreadable ones, in order.
        sizes: int32 [N, 2], (height, width) upright; 0 where not read.
        formats, modes: how many files are of each, the commonest first.
        traits: for each of ``TRAITS``, the positions that have it.
        exact: groups of positions with equal pixels, each ascending.
        near: pairs that are nearly equal, one of each exact group standing for all of it.
        likeness: what counted as nearly equal here.
    """

    source: Source
    indices: Ints
    bad: tuple[Bad, ...]
    sizes: NDArray[np.int32]
    formats: Mapping[str, int]
    modes: Mapping[str, int]
    traits: Mapping[str, Ints]
    exact: tuple[tuple[int, ...], ...]
    near: tuple[Near, ...]
    likeness: Likeness = field(repr=False)

    @property
    def num_bad(self) -> int:
        """Unreadable files."""
        return len(self.bad)

    @cached_property
    def bad_indices(self) -> Ints:
        """Positions of the unreadable files, int64, ascending."""
        return np.array([bad.index for bad in self.bad], dtype=np.int64)

    @cached_property
    def readable(self) -> Ints:
        """Positions that were looked at and can be read, int64, ascending."""
        return np.setdiff1d(self.indices, self.bad_indices)

    @cached_property
    def groups(self) -> Ints:
        """A number for each sample, int64 [N], equal for duplicates, exact or near, and for duplicates of these."""
        pairs = [(group[0], other) for group in self.exact for other in group[1:]] + [(pair.i, pair.j) for pair in self.near]
        return components(len(self.source), np.array(pairs, dtype=np.int64))

    @property
    def splits(self) -> dict[str, Ints]:
        """Positions looked at, by the split that the data gives; ``""`` where it gives none."""
        given = self.source.given[self.indices]
        return {name: self.indices[given == code] for code, name in enumerate(SPLITS) if (given == code).any()}

    def counts(self, indices: Ints | None = None) -> Ints:
        """Files of each class, int64 [K], among ``indices`` (all that were looked at); several classes count in each."""
        if self.source.kind == "value":
            return np.empty(0, dtype=np.int64)
        return class_counts(self.source.targets[self.indices if indices is None else indices], len(self.source.classes))

    @property
    def bad_counts(self) -> Ints:
        """Unreadable files of each class, int64 [K]."""
        return self.counts(self.bad_indices)

    @property
    def imbalance(self) -> float | None:
        """Images of the largest class for each of the smallest that has any; None where there are no classes."""
        counts = self.counts(self.readable)
        return float(counts.max() / counts[counts > 0].min()) if counts.any() else None

    @cached_property
    def leaks(self) -> tuple[Leak, ...]:
        """Duplicates across the splits that the data gives; what is in no split counts as training data."""
        given = np.where(self.source.given == 0, 1, self.source.given)
        found = []
        for early, late in ((1, 2), (1, 3), (2, 3)):
            ahead, behind = (self.readable[given[self.readable] == code] for code in (early, late))
            twin = dict(zip(self.groups[ahead[::-1]].tolist(), ahead[::-1].tolist(), strict=True))
            shared = behind[np.isin(self.groups[behind], self.groups[ahead])].tolist()
            if shared:
                found.append(Leak((SPLITS[early], SPLITS[late]), tuple((twin[int(self.groups[i])], i) for i in shared)))
        return tuple(found)

    @cached_property
    def conflicts(self) -> tuple[Conflict, ...]:
        """Duplicates whose targets differ. Numbers of nearly equal pictures may differ; those of equal ones may not."""
        targets = self.source.targets
        found = [
            Conflict(group[0], other, True)
            for group in self.exact
            if (other := next((i for i in group[1:] if (targets[i] != targets[group[0]]).any()), None)) is not None
        ]
        if self.source.kind != "value":
            found += [Conflict(pair.i, pair.j, False) for pair in self.near if (targets[pair.i] != targets[pair.j]).any()]
        return tuple(found)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What matters, as sentences, the gravest first."""
        return findings(self)

    def size_range(self, axis: Literal[0, 1]) -> tuple[int, int, int]:
        """Smallest, median and largest height (axis 0) or width (1) in pixels; zeros where nothing could be read."""
        values = self.sizes[self.readable, axis]
        return (int(values.min()), int(np.median(values)), int(values.max())) if len(values) else (0, 0, 0)

    def label(self, index: int) -> str:
        """The target of one sample in words."""
        target = self.source.targets[index]
        if self.source.kind == "value":
            return f"{float(target):.4g}"
        if self.source.kind == "labels":
            return ", ".join(self.source.classes[k] for k in np.flatnonzero(target)) or "none"
        return self.source.classes[int(target)]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: counts in full, lists up to ``LISTED`` entries each."""
        key, names = self.source.key, ("min", "median", "max")
        heights, widths = (dict(zip(names, self.size_range(axis), strict=True)) for axis in (0, 1))
        return {
            "format": "striate audit",
            "format_version": 1,
            "name": self.source.name,
            "location": self.source.location,
            "kind": self.source.kind,
            "classes": list(self.source.classes),
            "num": len(self.indices),
            "num_bad": self.num_bad,
            "splits": {name: {"num": len(part), "counts": self.counts(part).tolist()} for name, part in self.splits.items()},
            "counts": self.counts().tolist(),
            "bad_counts": self.bad_counts.tolist(),
            "imbalance": self.imbalance,
            "bad": [{"key": b.key, "target": self.label(b.index), "reason": b.reason, "why": b.why} for b in self.bad[:LISTED]],
            "formats": dict(self.formats),
            "modes": dict(self.modes),
            "traits": {name: len(where) for name, where in self.traits.items()},
            "sizes": {"height": heights, "width": widths},
            "duplicates": {
                "rule": self.likeness.words,
                "num_exact_groups": len(self.exact),
                "num_exact_images": sum(map(len, self.exact)),
                "exact": [[key(i) for i in group[:LISTED]] for group in self.exact[:LISTED]],
                "num_near": len(self.near),
                "near": [
                    {"a": key(pair.i), "b": key(pair.j), "bits": pair.bits, "difference": round(pair.difference, 6)}
                    for pair in self.near[:LISTED]
                ],
            },
            "conflicts": {
                "num": len(self.conflicts),
                "pairs": [
                    {"a": key(pair.i), "b": key(pair.j), "targets": [self.label(pair.i), self.label(pair.j)]}
                    for pair in self.conflicts[:LISTED]
                ],
            },
            "leaks": [
                {
                    "splits": list(leak.splits),
                    "images": len(leak.pairs),
                    "pairs": [[key(i), key(j)] for i, j in leak.pairs[:LISTED]],
                }
                for leak in self.leaks
            ],
            "ignored": self.source.ignored[:LISTED],
            "findings": [{"level": f.level, "text": f.text, "fix": f.fix} for f in self.findings],
        }


def audit(
    source: Source,
    *,
    indices: Sequence[int] | NDArray[Any] | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Decodes every sample once and compares it with every other. Reads only.

    Args:
        source: the data.
        indices: positions to look at; None: all.
        threads: for decoding; None: one a core. What is found does not depend on it.
        progress: told (pictures done, pictures), from the calling thread.
    """
    places = np.arange(len(source)) if indices is None else np.unique(np.asarray(indices, dtype=np.int64))
    tally = _Tally(source, places)
    size = 1024 if isinstance(source, ArraySource) else 16
    portions = [places[start : start + size] for start in range(0, len(places), size)]
    workers = threads or machine.num_cores()
    for results in ordered(lambda portion, stop: examine(source, portion.tolist()), portions, workers, ahead=4 * workers):
        for found in results:
            tally.add(found)
        if progress:
            progress(tally.done, len(places))
    return tally.audit()


class _Tally:
    """Collects what :func:`examine` says of each sample, in about 300 bytes a sample."""

    def __init__(self, source: Source, places: Ints) -> None:
        self.source, self.places, self.done = source, places, 0
        self.bad: list[Bad] = []
        self.formats: Counter[str] = Counter()
        self.modes: Counter[str] = Counter()
        self.traits: dict[str, list[int]] = {trait: [] for trait in TRAITS}
        self.sizes = np.zeros((len(source), 2), dtype=np.int32)
        self.digests = np.zeros((len(places), 16), dtype=np.uint8)
        self.hashes = np.zeros(len(places), dtype=np.uint64)
        self.thumbnails = np.zeros((len(places), 256), dtype=np.uint8)
        self.rows: list[int] = []  # of the readable ones

    def add(self, found: Examined | Bad) -> None:
        row, self.done = self.done, self.done + 1
        if isinstance(found, Bad):
            self.bad.append(found)
            return
        self.rows.append(row)
        self.sizes[found.index] = found.height, found.width
        self.digests[row] = np.frombuffer(found.pixels, dtype=np.uint8)
        self.hashes[row], self.thumbnails[row] = found.hash, found.thumbnail
        self.formats[found.format] += 1
        self.modes[found.mode] += 1
        for trait in found.traits:
            self.traits[trait].append(found.index)

    def audit(self) -> Audit:
        rows = np.array(self.rows, dtype=np.int64)
        _, first, number, counts = np.unique(
            self.digests[rows].view("V16")[:, 0], return_index=True, return_inverse=True, return_counts=True
        )
        by_group = rows[np.argsort(number, kind="stable")]
        equal = [group for group in np.split(by_group, np.cumsum(counts)[:-1]) if len(group) > 1]
        distinct = rows[np.sort(first)]
        near, likeness = near_pairs(self.hashes[distinct], self.thumbnails[distinct])
        places = self.places[distinct].tolist()
        return Audit(
            source=self.source,
            indices=self.places,
            bad=tuple(self.bad),
            sizes=self.sizes,
            formats=dict(self.formats.most_common()),
            modes=dict(self.modes.most_common()),
            traits={trait: np.array(found, dtype=np.int64) for trait, found in self.traits.items()},
            exact=tuple(sorted(tuple(self.places[group].tolist()) for group in equal)),
            near=tuple(Near(places[pair.i], places[pair.j], pair.bits, pair.difference) for pair in near),
            likeness=likeness,
        )
