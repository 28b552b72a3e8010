"""Files that are whole or not there: written beside, synced, then renamed over the old one."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from striate.errors import Failed

_REMEDIES = (
    ((errno.ENOSPC, errno.EDQUOT), "free some space or name another folder"),
    ((errno.ENOENT, errno.ENOTDIR), "make its folder first, or name one that is there"),
    ((errno.EACCES, errno.EPERM, errno.EROFS), "name a folder that you may write to"),
)
"""What to do, by the error's numbers."""


@contextlib.contextmanager
def replacing(path: Path, what: str = "the file") -> Iterator[IO[bytes]]:
    """A file beside ``path`` that takes its name once it is whole and on the disk, and vanishes if it never is.

    Raises:
        Failed: the disk refused (no space, no permission); what was at ``path`` is still there.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        _sync_folder(path.parent)
    except OSError as error:
        remedy = next((fix for codes, fix in _REMEDIES if error.errno in codes), "name another folder")
        fix = f"{remedy}; nothing that was there has been changed"
        raise Failed(f"Could not write {what}", where=path, why=error.strerror or str(error), fix=fix) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def _sync_folder(folder: Path) -> None:
    """Makes the new name itself survive a power cut, where the system lets a folder be synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text whole or not at all. Raises :class:`Failed` as :func:`replacing` does."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON whole or not at all; ``nan`` and infinities are a ``ValueError``."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def make_folder(path: Path) -> Path:
    """Creates a folder with its parents.

    Raises:
        Failed: the disk refused, or a file of that name is in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(
            "Could not create the folder", where=path, why=error.strerror or str(error), fix="name another one with --out"
        ) from error
    return path
