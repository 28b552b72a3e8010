"""An index that is being made: vectors on the disk a batch at a time, so that what stopped goes on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from striate.errors import Failed, Refused
from striate.index import Vectors, are_unit

_HEADER = 4096
"""Bytes before the rows: what they are of, as JSON."""
_BLOCK = 1 << 12


class PartialIndex:
    """Rows of a file in the order of the data, zeros where there is none yet.

    A row counts as done when its length is 1, which no row torn by a crash has; one of zeros is made again.

    Raises:
        Refused: the file is of another model or other data.
        Failed: the disk refused.
    """

    def __init__(self, path: Path, content: dict[str, str], num: int, width: int) -> None:
        self.path, self._shape = path, (num, width)
        header = json.dumps({**content, "num": num, "width": width}).encode().ljust(_HEADER)
        try:
            new = not path.exists() or path.stat().st_size < _HEADER
            self._file = os.open(path, os.O_RDWR | (os.O_CREAT | os.O_TRUNC if new else 0), 0o644)
            if new:
                os.ftruncate(self._file, _HEADER + num * width * 4)
                os.pwrite(self._file, header, 0)
        except OSError as error:
            raise _failed(path, error) from error
        if os.pread(self._file, _HEADER, 0) != header:
            os.close(self._file)
            why, fix = "its model or its data was another", "delete this file to begin anew, or give the index another name"
            raise Refused("Another index was begun here", where=path, why=why, fix=fix)

    def __enter__(self) -> PartialIndex:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._file)

    def vectors(self) -> Vectors:
        """float32 [N, D], read as it is looked at."""
        if 0 in self._shape:
            return np.empty(self._shape, np.float32)
        return np.memmap(self.path, np.float32, "r", _HEADER, self._shape)

    def pending(self) -> NDArray[np.int64]:
        """Positions of the rows that are not done."""
        vectors = self.vectors()
        done = [are_unit(vectors[start : start + _BLOCK]) for start in range(0, len(vectors), _BLOCK)]
        return np.flatnonzero(~np.concatenate([*done, np.empty(0, np.bool_)]))

    def write(self, members: list[int], vectors: Vectors) -> None:
        """Puts vectors [M, D] at M positions."""
        try:
            for i, vector in zip(members, vectors, strict=True):
                os.pwrite(self._file, vector.tobytes(), _HEADER + i * vector.nbytes)
        except OSError as error:
            raise _failed(self.path, error) from error


def _failed(path: Path, error: OSError) -> Failed:
    return Failed(
        "Could not keep the vectors", where=path, why=error.strerror or str(error), fix="free some space or name another file"
    )
