"""Decoded pictures on disk, read through the page cache: what epoch 2 reads instead of decoding again.

A cache is a folder of two files that only grow. ``pixels`` holds pictures one after another; ``rows`` holds one record a
picture: where it lies, its shape, and checksums of the pixels and of the record. A record is written after its pixels and
under a lock, so that runs share a cache, and one that dies in between leaves nothing but unclaimed bytes, which the next
writer overwrites. Records are found by a stamp of the picture's file: files that change or come anew are the only ones
decoded again.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import shutil
import threading
import zlib
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]

_SHAPE = ("height", "width", "channels")
_ROW = np.dtype([("stamp", "<u8"), ("offset", "<u8"), *((side, "<u4") for side in _SHAPE), ("pixels", "<u4"), ("row", "<u8")])
_UNREAD, _SOUND, _DAMAGED = range(3)
# Stamps found since the last sort are looked up in a dict, which takes 20 times the memory of a sorted array.
_MAX_RECENT = 1 << 14


def default_limit(root: Path) -> int:
    """16 GiB, or a quarter of what the disk of the folder ``root`` has for caches where that is less."""
    return min(16 << 30, (shutil.disk_usage(root).free + sum(map(_size, _folders(root)))) // 4)


def stamp_of(identity: bytes) -> int:
    """64 bits of a hash of ``Source.stamp(i)``, and what a picture is found by."""
    return int.from_bytes(blake2b(identity, digest_size=8).digest(), "little")


class PixelCache:
    """A bounded store of uint8 pictures [H, W, C] in ``root / name``, shared by all threads and processes that open it.

    Args:
        root: the folder of all caches.
        name: of this one; pictures under one name must come from one preprocessing.
        limit: bytes that all caches under ``root`` may take together. Those not in use go first, the longest unused
            ahead; after that nothing more is stored.

    Attributes:
        stopped: why nothing more is stored (the bound, no space); empty as long as it is.

    Raises:
        OSError: the folder cannot be made or written to.
    """

    def __init__(self, root: Path, name: str, limit: int) -> None:
        self.root, self.folder, self.limit, self.stopped = root, root / name, limit, ""
        self._lock, self._closed = threading.RLock(), False
        self._pixels, self._rows = _open_shared(self.folder)
        os.utime(self._rows)
        self._records = np.empty(0, dtype=_ROW)
        self._state = np.empty(0, dtype=np.uint8)
        self._sorted_stamps, self._sorted_records = np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
        self._recent: dict[int, int] = {}
        self._num, self._num_bytes_read, self._end = 0, 0, 0
        self._map: Picture = np.empty(0, dtype=np.uint8)
        self._read_rows()

    def __len__(self) -> int:
        return self._num

    def find(self, stamps: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Record numbers, int64 [N], -1 where there is none."""
        with self._lock:
            found = np.full(len(stamps), -1, dtype=np.int64)
            if len(self._sorted_stamps):
                place = np.searchsorted(self._sorted_stamps, stamps, side="right") - 1
                match = self._sorted_stamps[place] == stamps
                found[match] = self._sorted_records[place[match]]
            if self._recent:
                found = np.array([self._recent.get(int(s), r) for s, r in zip(stamps, found, strict=True)], dtype=np.int64)
            return found

    def put(self, stamp: int, picture: Picture) -> int:
        """Stores a picture [H, W, C] unless it is there, and returns its record's number; -1 where it could not be stored."""
        return self.put_all([stamp], [picture])[0]

    def put_all(self, stamps: Sequence[int], pictures: Sequence[Picture]) -> list[int]:
        """Stores those of several pictures that are not there yet: their records' numbers, -1 for what could not be stored.

        Locking the files and taking in what others wrote costs as much for one as for many.
        """
        fresh = {
            stamp: (data, zlib.crc32(data.data)) for stamp, data in zip(stamps, map(np.ascontiguousarray, pictures), strict=True)
        }
        with self._lock:
            if self.stopped or self._closed:
                return [-1] * len(stamps)
            try:
                fcntl.flock(self._rows, fcntl.LOCK_EX)
                try:
                    self._append(fresh)
                finally:
                    fcntl.flock(self._rows, fcntl.LOCK_UN)
            except OSError as error:
                self.stopped = f"{error.strerror} in {self.folder}"
            return [self._sound(stamp) for stamp in stamps]

    def get(self, record: int) -> Picture | None:
        """The picture [H, W, C], a read-only view of the file; None where its bytes are not those that were stored."""
        row = self._records[record]
        offset, shape = int(row["offset"]), [int(row[side]) for side in _SHAPE]
        size = math.prod(shape)
        if offset + size > len(self._map):
            self._remap()
        picture = self._map[offset : offset + size]
        if self._state[record] == _UNREAD:
            sound = len(picture) == size and zlib.crc32(picture.data) == int(row["pixels"])
            self._state[record] = _SOUND if sound else _DAMAGED
        return picture.reshape(shape) if self._state[record] == _SOUND else None

    def gather(self, records: npt.NDArray[np.int64]) -> Picture | None:
        """Pictures of one shape as [N, H, W, C] in one copy, in a cache whose pictures all have it; None if any is damaged."""
        for record in records[self._state[records] == _UNREAD].tolist():
            self.get(record)
        if (self._state[records] != _SOUND).any():
            return None
        shape = [int(self._records[side][records[0]]) for side in _SHAPE]
        size = math.prod(shape)
        if int(self._records["offset"][records].max()) + size > len(self._map):
            self._remap()
        slots = self._map[: len(self._map) // size * size].reshape(-1, *shape)
        return slots[(self._records["offset"][records] // np.uint64(size)).astype(np.int64)]

    def close(self) -> None:
        """Gives the files back; views that :meth:`get` returned stay readable."""
        with self._lock:
            if not self._closed:
                self._map, self._closed = np.empty(0, dtype=np.uint8), True
                os.close(self._pixels)
                os.close(self._rows)

    def _append(self, fresh: dict[int, tuple[Picture, int]]) -> None:
        """Writes pictures (with their checksums) that no sound record has, as many as there is room for."""
        self._read_rows()
        fresh = {stamp: entry for stamp, entry in fresh.items() if self._sound(stamp) < 0}
        while fresh and not self._make_room(sum(data.nbytes for data, _ in fresh.values())):
            self.stopped = f"the caches in {self.root} are at their bound of {self.limit / 1e9:.1f} GB"
            fresh.popitem()
        rows, end = np.zeros(len(fresh), dtype=_ROW), self._end
        for row, (stamp, (data, checksum)) in zip(rows, fresh.items(), strict=True):
            _write(self._pixels, data.data.cast("B"), end)
            row["stamp"], row["offset"], row["pixels"] = stamp, end, checksum
            for side, length in zip(_SHAPE, data.shape, strict=True):
                row[side] = length
            end += data.nbytes
        rows["row"] = _row_checksums(rows)
        _write(self._rows, rows.tobytes(), self._num_bytes_read)
        self._read_rows()
        self._state[self._num - len(fresh) : self._num] = _SOUND  # just written, and read through the same pages

    def _sound(self, stamp: int) -> int:
        """The number of the picture's record; -1 where there is none, or its pixels are known to be damaged."""
        record = int(self.find(np.array([stamp], dtype=np.uint64))[0])
        return record if record >= 0 and self._state[record] != _DAMAGED else -1

    def _read_rows(self) -> None:
        """Takes in the records written since the last look, by whomever."""
        whole = os.fstat(self._rows).st_size // _ROW.itemsize * _ROW.itemsize
        if whole <= self._num_bytes_read:
            return
        fresh = np.frombuffer(os.pread(self._rows, whole - self._num_bytes_read, self._num_bytes_read), dtype=_ROW)
        self._num_bytes_read += len(fresh) * _ROW.itemsize
        fresh = fresh[fresh["row"] == _row_checksums(fresh)]
        ends = fresh["offset"] + fresh["height"].astype(np.uint64) * fresh["width"] * fresh["channels"]
        written = ends <= os.fstat(self._pixels).st_size
        fresh, ends = fresh[written], ends[written]
        if not len(fresh):
            return
        num = self._num + len(fresh)
        if num > len(self._records):
            more = max(fresh.size, self._num)
            self._records = np.concatenate((self._records[: self._num], np.empty(more, dtype=_ROW)))
            self._state = np.concatenate((self._state[: self._num], np.full(more, _UNREAD, dtype=np.uint8)))
        self._records[self._num : num] = fresh
        self._recent.update(zip(fresh["stamp"].tolist(), range(self._num, num), strict=True))
        self._num, self._end = num, max(self._end, int(ends.max()))
        if len(self._recent) > _MAX_RECENT:
            stamps = self._records["stamp"][:num]
            self._sorted_records = np.argsort(stamps, kind="stable")  # of equal stamps the last record counts
            self._sorted_stamps = stamps[self._sorted_records]
            self._recent.clear()

    def _remap(self) -> None:
        with self._lock:
            size = os.fstat(self._pixels).st_size
            if size > len(self._map):
                self._map = np.frombuffer(mmap.mmap(self._pixels, size, prot=mmap.PROT_READ), dtype=np.uint8)

    def _make_room(self, num_bytes: int) -> bool:
        """Whether ``num_bytes`` more stay within the bound, after clearing away what nobody uses."""
        others = {folder: _size(folder) for folder in _folders(self.root) if folder != self.folder}
        for folder in sorted(others, key=_last_use):
            if self._end + num_bytes + sum(others.values()) <= self.limit:
                break
            if _remove_unused(folder):
                del others[folder]
        return self._end + num_bytes + sum(others.values()) <= self.limit


def _open_shared(folder: Path) -> tuple[int, int]:
    """The cache's two files, ``pixels`` locked as in use."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        files: list[int] = []
        try:
            for name in ("pixels", "rows"):
                files.append(os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
            fcntl.flock(files[0], fcntl.LOCK_SH)
            if all(os.fstat(file).st_nlink for file in files):
                return files[0], files[1]
        except FileNotFoundError:
            pass  # another run clears the folder away, as it does where a file has no name any more: once again
        except OSError:
            for file in files:
                os.close(file)
            raise
        for file in files:
            os.close(file)


def _write(file: int, data: memoryview | bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _row_checksums(rows: npt.NDArray[np.void]) -> npt.NDArray[np.uint64]:
    """One checksum a record over its other fields; never that of a record of zeros, which is 0 too."""
    checksum = np.full(len(rows), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for field in ("stamp", "offset", *_SHAPE, "pixels"):
        checksum = (checksum ^ rows[field].astype(np.uint64)) * np.uint64(0xBF58476D1CE4E5B9)
        checksum ^= checksum >> np.uint64(29)
    return checksum


def _folders(root: Path) -> list[Path]:
    return [folder for folder in root.iterdir() if (folder / "rows").exists()]


def _size(folder: Path) -> int:
    try:
        return (folder / "pixels").stat().st_size
    except FileNotFoundError:
        return 0


def _last_use(folder: Path) -> float:
    try:
        return (folder / "rows").stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _remove_unused(folder: Path) -> bool:
    """Deletes a cache unless some run has it open; says whether it is gone."""
    try:
        file = os.open(folder / "pixels", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return not folder.exists()
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Renamed first, in one step: whoever opens it meanwhile finds all of the old cache or none.
        doomed = folder.with_name(f".{folder.name}.{os.getpid()}")
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        return True
    except OSError:
        return False
    finally:
        os.close(file)
