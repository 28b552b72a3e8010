"""What every data format turns into: an ordered, read-only, compact list of pictures with targets."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from striate.data.image_file import read_file
from striate.errors import Refused

Kind = Literal["label", "labels", "value"]

SPLITS = ("", "train", "val", "test")
"""What the codes of ``Source.given`` mean; the empty one: the data does not say."""

BLOCK = 1 << 12
"""Bytes of each of the three blocks that a file is recognised by."""

READERS = 8
"""Threads that read them: what a disk answers at once, not what the cores can compute."""

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
        unfit: why no network can learn from these data, though a trained one can be scored on them; None where one can.
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
        unfit: Refused | None = None,
    ) -> None:
        self.name = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"
        self.location, self.kind, self.classes = location, kind, tuple(classes)
        self.targets, self.given, self.ignored = targets, given, list(ignored)
        self.unfit = unfit or self._nothing_to_tell_apart()
        self._known_content: tuple[bytes, bytes] | None = None
        assert len(targets) == len(given), "one target and one split code a sample"

    def __len__(self) -> int:
        return len(self.given)

    def _nothing_to_tell_apart(self) -> Refused | None:
        if self.kind == "label" and len(self.classes) == 1:
            what, other = f"only one class, {self.classes[0]!r}", "another class"
        elif self.kind == "value" and len(self) and (self.targets == self.targets[0]).all():
            what, other = f"only one number, {self.targets[0]:g}", "other numbers"
        else:
            return None
        return Refused(what, where=self.location, why="there is nothing to tell apart", fix=f"add images of {other}")

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
    def _content(self) -> bytes:
        """A digest of every sample's key and of what identifies its content, without its place on this machine or its age."""

    def _stamps(self) -> bytes:
        """A digest that changes when any stamp does."""
        stamps = hashlib.sha256()
        for i in range(len(self)):
            stamps.update(self.stamp(i) + b"\n")
        return stamps.digest()

    def fingerprint(self) -> str:
        """Hex SHA-256 over classes, keys, targets, splits and the content's identity: the same for every copy of the data.

        Of each file its size counts and its bytes: all of them up to 12 KiB, of larger ones 4 KiB each from the beginning,
        the middle and the end. So of two larger files of one size that differ elsewhere alone, one passes for the other: a
        change of a compressed picture nearly always moves all that follows, a touched-up bitmap need not.

        It takes a core some 30 microseconds a file that the system has in memory, and 5 while no stamp has changed.
        """
        stamps = self._stamps()
        if self._known_content is None or self._known_content[0] != stamps:
            self._known_content = stamps, self._content()
        digest = hashlib.sha256(json.dumps([self.kind, self.classes, list(self.targets.shape)]).encode())
        digest.update(np.ascontiguousarray(self.targets).data)
        digest.update(np.ascontiguousarray(self.given).data)
        digest.update(self._known_content[1])
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

    def _file(self, i: int) -> bytes:
        """The same in bytes: a Path takes as long to make as the file to find."""
        return os.path.join(os.fsencode(self.root), self._block[self._ends[i] : self._ends[i + 1]])

    def read(self, i: int) -> bytes:
        return read_file(self.path(i), name=self.key(i))

    def stamp(self, i: int) -> bytes:
        path = self._file(i)
        return path + b"\0" + _size_and_time(path)

    def _content(self) -> bytes:
        digest = hashlib.sha256()
        with ThreadPoolExecutor(READERS, thread_name_prefix="striate-fingerprint") as pool:
            for part in pool.map(self._chunk_content, range(0, len(self), _CHUNK)):
                digest.update(part)
        return digest.digest()

    def _chunk_content(self, start: int) -> bytes:
        digest = hashlib.sha256()
        for i in range(start, min(start + _CHUNK, len(self))):
            digest.update(self._block[self._ends[i] : self._ends[i + 1]] + b"\0")
            for block in _blocks(self._file(i)):
                digest.update(block)
        return digest.digest()


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

    def _stamps(self) -> bytes:
        return self.digest  # every stamp begins with it

    def _content(self) -> bytes:
        return self.digest  # keys follow from the splits


def natural_key(text: str) -> tuple[Any, ...]:
    """Sort key that reads digits as numbers and ignores case, so that ``2 < 10`` and ``a < B``."""
    return tuple(int(part) if i % 2 else part.casefold() for i, part in enumerate(re.split(r"(\d+)", text))), text


_CHUNK = 256
"""Files that a thread takes at once."""


def _blocks(path: bytes) -> Iterator[bytes]:
    """The size of a file and its bytes from the beginning, the middle and the end; why not, where it cannot be read."""
    try:
        # Without O_NONBLOCK, opening a FIFO waits for a writer.
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        yield b"missing\0"
        return
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            yield b"not a file\0"
            return
        size = status.st_size
        yield size.to_bytes(8, "little")
        whole = size <= 3 * BLOCK
        for start in (0,) if whole else (0, (size - BLOCK) // 2, size - BLOCK):
            yield os.pread(file, size if whole else BLOCK, start)
    except OSError:
        yield b"unreadable\0"
    finally:
        os.close(file)


def _size_and_time(path: bytes) -> bytes:
    try:
        status = os.stat(path)
    except OSError:
        return b"missing"
    return f"{status.st_size} {status.st_mtime_ns}".encode()
