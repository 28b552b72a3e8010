"""One process at a time in a run's folder: a lock that the system gives back when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from striate.errors import Refused

LOCK_FILE = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds ``folder`` for the process as long as the block lasts; its lock file goes with it.

    Raises:
        Refused: another process (or another part of this one) holds it.
    """
    path = folder / LOCK_FILE
    descriptor = _open_locked(path)
    if descriptor is None:
        raise Refused(
            "This run is being trained right now",
            where=folder,
            why=f"process {_holder(path)} holds it",
            fix="wait for it, or stop it first (Ctrl-C there saves everything)",
        )
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        # While it is still locked: a file that another process has locked since must not vanish from under it.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Whether some process holds ``folder``. A lock file that a killed process left behind is no lock."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _open_locked(path: Path) -> int | None:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:  # a file system without locks: as before there were any
            return descriptor
        # Between opening and locking, its last holder may have taken the file away.
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text().strip() or "?"
    return "?"
