"""Data that are looked at: their audit, which of their pictures are asked for, and where these lie on a map."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from striate.data.audit import Audit, audit
from striate.data.decode import ImageError
from striate.data.preprocess import Preprocess
from striate.data.source import SPLITS, Source
from striate.errors import Refused
from striate.studio.corrections import Corrections
from striate.studio.events import Work
from striate.studio.opened import Opened

if TYPE_CHECKING:
    from striate.prediction import Model

Ints = NDArray[np.int64]
Tell = Callable[[int, int, str], None]

MOST_ON_MAP = 2000
"""Pictures on a map: of more, so many are drawn by lot, always the same."""
SMALL = Preprocess((16, 16), channels=3)
"""What a map without a network compares: the picture itself, tiny."""
PORTION = 32


@dataclass
class DataSet:
    """One of the data that were opened.

    Attributes:
        name: what addresses call it.
        source: the data.
        corrections: of its labels.
        audit: begun when first asked for.
        maps: by the model's name; the empty one: of the pictures themselves.
    """

    name: str
    source: Source
    corrections: Corrections
    maps: dict[str, Work[dict[str, Any]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def audit(self) -> Work[Audit]:
        """The look at every picture, in a thread."""
        return Work(lambda tell: audit(self.source, progress=lambda done, total: tell(done, total, "reading")))

    def audited(self) -> Audit:
        """The finished audit. Raises ``Refused`` while it is not."""
        if self.audit.error is not None:
            raise self.audit.error
        if self.audit.result is None:
            raise Refused("The data are still being read", fix="wait a moment")
        return self.audit.result

    def map(self, name: str, model: Callable[[], Model] | None) -> Work[dict[str, Any]]:
        """The map by a model's embeddings, or by the pixels; made once."""
        with self._lock:
            work = self.maps.get(name)
            if work is None or work.error is not None:
                work = self.maps[name] = Work(lambda tell: make_map(self.source, model, tell))
            return work

    def select(self, kind: str, label: str | None, split: str | None, search: str) -> Ints:
        """Positions of the pictures that are asked for, ascending.

        Args:
            kind: ``all``, ``bad``, ``duplicates``, ``conflicts``, ``corrected``, or a trait of the audit.
            label: of this class, as it is corrected.
            split: of the data's own; empty: of none.
            search: text within the key, in any case.
        """
        chosen = self._of_kind(kind)
        if split is not None:
            chosen = chosen[self.source.given[chosen] == SPLITS.index(split)]
        if label is not None:
            chosen = chosen[[self._has(i, label) for i in chosen.tolist()]]
        if search:
            low = search.casefold()
            chosen = chosen[[low in self.source.key(i).casefold() for i in chosen.tolist()]]
        return chosen

    def describe(self, i: int) -> dict[str, Any]:
        """One picture, for the page."""
        split = SPLITS[self.source.given[i]]
        corrected = self.corrections.labels.get(i)
        found = self.__dict__.get("audit")  # not begun by a question about one picture
        bad = found is not None and found.result is not None and bool((found.result.bad_indices == i).any())
        return {
            "index": i,
            "key": self.source.key(i),
            "label": self.label(i),
            "split": split,
            "corrected": corrected,
            "bad": bad,
        }

    def label(self, i: int) -> str:
        """What the data say a picture is."""
        target = self.source.targets[i]
        if self.source.kind == "value":
            return f"{float(target):.4g}"
        if self.source.kind == "labels":
            return ", ".join(self.source.classes[k] for k in np.flatnonzero(target)) or "none"
        return self.source.classes[int(target)]

    def _has(self, i: int, label: str) -> bool:
        if (corrected := self.corrections.labels.get(i)) is not None:
            return corrected == label
        if self.source.kind == "labels":
            return label in self.source.classes and bool(self.source.targets[i][self.source.classes.index(label)])
        return self.label(i) == label

    def _of_kind(self, kind: str) -> Ints:
        if kind == "all":
            return np.arange(len(self.source))
        if kind == "corrected":
            return np.array(sorted(self.corrections.labels), dtype=np.int64)
        found = self.audited()
        if kind == "bad":
            return found.bad_indices
        if kind == "duplicates":
            return np.unique([i for group in duplicate_groups(found) for i in group["members"]]).astype(np.int64)
        if kind == "conflicts":
            return np.unique([i for pair in found.conflicts for i in (pair.i, pair.j)]).astype(np.int64)
        return found.traits.get(kind, np.empty(0, dtype=np.int64))


@dataclass
class DataSets:
    """All of them, each opened when it is first asked for."""

    opened: Opened
    _known: dict[str, DataSet] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, name: str) -> DataSet:
        """The data of that name. Raises what :meth:`Opened.source` does."""
        source = self.opened.source(name)
        with self._lock:
            if name not in self._known:
                self._known[name] = DataSet(name, source, Corrections(source, name, self.opened.home))
            return self._known[name]


def duplicate_groups(found: Audit) -> list[dict[str, Any]]:
    """Groups of equal pictures, then pairs of nearly equal ones, the most alike first; each with what makes it worse."""
    split, targets = found.source.given, found.source.targets

    def group(members: tuple[int, ...], difference: float) -> dict[str, Any]:
        across = len({int(split[i]) for i in members}) > 1
        differ = any((targets[i] != targets[members[0]]).any() for i in members)
        return {"members": list(members), "difference": difference, "across_splits": across, "labels_differ": differ}

    near = sorted(found.near, key=lambda pair: pair.difference)
    return [*(group(members, 0.0) for members in found.exact), *(group((p.i, p.j), round(p.difference, 5)) for p in near)]


def make_map(source: Source, model: Callable[[], Model] | None, tell: Tell) -> dict[str, Any]:
    """Principal components of what a model makes of the pictures; without one, of the pictures at 16 x 16 pixels.

    Raises:
        Refused: the model has no embedding, or no picture can be read.
    """
    from striate.embedding_map import pca_plane

    chosen = np.arange(len(source))
    if len(chosen) > MOST_ON_MAP:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, MOST_ON_MAP, replace=False))
    kept: list[int] = []
    vectors: list[NDArray[np.float32]] = []
    for members, rows in _vectors(source, chosen, model):
        kept += members
        vectors.append(rows)
        tell(len(kept), len(chosen), "embedding" if model else "comparing")
    if not kept:
        raise Refused("No picture can be read", where=source.location)
    plane = pca_plane(np.concatenate(vectors))
    span = np.maximum(np.ptp(plane.points, axis=0).max(), np.finfo(np.float64).tiny)
    points = (plane.points - plane.points.mean(axis=0)) / span
    return {
        "axes": list(plane.axes),
        "index": kept,
        "x": np.round(points[:, 0], 4).tolist(),
        "y": np.round(points[:, 1], 4).tolist(),
    }


def _vectors(source: Source, chosen: Ints, model: Callable[[], Model] | None) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
    embedder, preprocess = None, SMALL
    if model is not None:
        from striate.embedder import Embedder

        embedder = Embedder(model())
        preprocess = embedder.model.preprocess
    for start in range(0, len(chosen), PORTION):
        members: list[int] = []
        pictures = []
        for i in chosen[start : start + PORTION].tolist():
            try:
                pictures.append(preprocess(source.read(i), source.key(i)).transpose(2, 0, 1))
                members.append(i)
            except ImageError:
                continue
        if members:
            images = np.stack(pictures)
            plain: NDArray[np.float32] = images.reshape(len(images), -1).astype(np.float32)
            yield members, plain / np.float32(255) if embedder is None else embedder(images)
