"""What every data format turns into: an ordered, read-only, compact list of pictures with targets."""

from __future__ import annotations

import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from striate.data.image_file import read_file

Kind = Literal["label", "labels", "value"]

SPLITS = ("", "train", "val", "test")
"""What the codes of ``Source.given`` mean; the empty one: the data does not say."""

SPLIT_SPELLINGS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


class Source(ABC):
    """An ordered list of pictures and their targets. Nothing is decoded, and no file is ever changed.

    Attributes:
        name: short, fit for the name of a folder.
        location: what :func:`striate.data.formats.open_source` reopens it by, whatever the working folder.
        kind: ``label`` (one class each), ``labels`` (any number of classes each) or ``value`` (a number each).
        classes: names, in the order of the targets; empty for ``value``.
        targets: int64 [N] class numbers, or float32 [N, K] of zeros and ones, or float32 [N] numbers.
        given: uint8 [N], the split the data itself assigns, as a position in ``SPLITS``.
        ignored: what was seen and not taken, each with the reason.
    """

    def __init__(
        self,
        *,
        name: str,
        location: str,
        kind: Kind,
        classes: Sequence[str],
        targets: NDArray[Any],
        given: NDArray[np.uint8],
        ignored: Iterable[str] = (),
    ) -> None:
        self.name = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"
        self.location, self.kind, self.classes = location, kind, tuple(classes)
        self.targets, self.given, self.ignored = targets, given, list(ignored)
        assert len(targets) == len(given), "one target and one split code a sample"

    def __len__(self) -> int:
        return len(self.given)

    @abstractmethod
    def key(self, i: int) -> str:
        """The sample's lasting name, unique within the source: ``train/cats/2.jpg``, ``test/000012``."""

    @abstractmethod
    def path(self, i: int) -> Path | None:
        """The sample's own file, or None where many samples share one."""

    @abstractmethod
    def read(self, i: int) -> bytes | NDArray[np.uint8]:
        """An encoded file, or a decoded picture [H, W, C] of 1, 3 or 4 channels, 0..255.

        Raises:
            ImageError: the file is missing, too large or not a file.
        """

    @abstractmethod
    def stamp(self, i: int) -> bytes:
        """Changes when the sample's content does, without reading it: the key of a cache on this machine."""

    @abstractmethod
    def _update_fingerprint(self, digest: hashlib._Hash) -> None:
        """Adds every sample's key and what identifies its content, without its place on this machine."""

    def fingerprint(self) -> str:
        """Hex SHA-256 over classes, keys, targets, splits and the content's identity, the same wherever the data lies."""
        digest = hashlib.sha256(json.dumps([self.kind, self.classes, list(self.targets.shape)]).encode())
        digest.update(np.ascontiguousarray(self.targets).data)
        digest.update(np.ascontiguousarray(self.given).data)
        self._update_fingerprint(digest)
        return digest.hexdigest()


class FileSource(Source):
    """One file a sample. Holds the keys' bytes in one block: about 70 bytes a sample, so that millions fit.

    Args:
        root: the folder that keys are relative to.
        keys: paths with ``/``, relative to ``root`` (or absolute, where a CSV says so).
    """

    def __init__(self, root: Path, keys: Iterable[str], **common: Any) -> None:
        super().__init__(**common)
        self.root = root
        block, ends = bytearray(), [0]
        for key in keys:
            block += os.fsencode(key)
            ends.append(len(block))
        self._block, self._ends = bytes(block), np.array(ends, dtype=np.int64)
        assert len(ends) == len(self) + 1, "one key a sample"

    def key(self, i: int) -> str:
        return os.fsdecode(self._block[self._ends[i] : self._ends[i + 1]])

    def path(self, i: int) -> Path:
        return self.root / self.key(i)

    def read(self, i: int) -> bytes:
        return read_file(self.path(i), name=self.key(i))

    def stamp(self, i: int) -> bytes:
        path = self.path(i)
        return os.fsencode(path) + b"\0" + _size_and_time(path)

    def _update_fingerprint(self, digest: hashlib._Hash) -> None:
        for i in range(len(self)):
            digest.update(os.fsencode(self.key(i)) + b"\0" + _size_and_time(self.path(i)) + b"\n")


class ArraySource(Source):
    """Decoded pictures of one size, in memory.

    Attributes:
        images: uint8 [N, H, W, C], contiguous.
    """

    def __init__(self, images: NDArray[np.uint8], **common: Any) -> None:
        super().__init__(**common)
        assert images.dtype == np.uint8, "pictures are uint8"
        assert images.shape[:1] == (len(self),), "one picture a sample"
        assert images.ndim == 4, "pictures are [N, H, W, C]"
        self.images = np.ascontiguousarray(images)
        # A sample's number within its own split: keys stay when another split grows.
        self._position = np.zeros(len(self), dtype=np.int64)
        for code in range(len(SPLITS)):
            members = np.flatnonzero(self.given == code)
            self._position[members] = np.arange(len(members))
        self._digest: bytes | None = None

    @property
    def digest(self) -> bytes:
        """SHA-256 over all pictures, computed once."""
        if self._digest is None:
            self._digest = hashlib.sha256(repr(self.images.shape).encode() + b"\0").digest()
            self._digest = hashlib.sha256(self._digest + hashlib.sha256(self.images.data).digest()).digest()
        return self._digest

    def key(self, i: int) -> str:
        return f"{SPLITS[self.given[i]] or 'all'}/{self._position[i]:06d}"

    def path(self, i: int) -> None:
        return None

    def read(self, i: int) -> NDArray[np.uint8]:
        picture: NDArray[np.uint8] = self.images[i]
        return picture

    def stamp(self, i: int) -> bytes:
        return self.digest + int(i).to_bytes(8, "little")

    def _update_fingerprint(self, digest: hashlib._Hash) -> None:
        digest.update(self.digest)  # keys follow from the splits


def natural_key(text: str) -> tuple[Any, ...]:
    """Sort key that reads digits as numbers and ignores case, so that ``2 < 10`` and ``a < B``."""
    return tuple(int(part) if i % 2 else part.casefold() for i, part in enumerate(re.split(r"(\d+)", text))), text


def _size_and_time(path: Path) -> bytes:
    try:
        status = os.stat(path)
    except OSError:
        return b"missing"
    return f"{status.st_size} {status.st_mtime_ns}".encode()
