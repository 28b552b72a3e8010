"""Files from the network: resumed where they were cut, checked by SHA-256, and in place only when whole."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from striate.errors import Failed, Refused

Progress = Callable[[int, int | None], None]
"""Called with the bytes had so far, and the whole, where the server says it."""

_BLOCK = 2**18


def fetch(
    url: str, path: Path, *, sha256: str, progress: Progress | None = None, attempts: int = 3, timeout: float = 30.0
) -> Path:
    """Downloads ``url`` to ``path``. What came before a cut is kept in ``path.part`` and continued, in a later run too.

    Args:
        url: http or https.
        path: where the file goes; its folder is made. A file already there with the right checksum is left alone.
        sha256: hex, of the whole file; or its first digits, where no more is published.
        progress: told after each block.
        attempts: connections tried in a row that bring nothing before giving up.
        timeout: seconds without a byte before a connection counts as cut.

    Raises:
        Failed: no connection, or the server refuses.
        Refused: the file came whole, with another checksum; it is deleted.
    """
    if path.exists() and sha256_of(path).startswith(sha256):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _continue(url, part, progress, timeout)
            break
        except urllib.error.HTTPError as error:
            if error.code == 416 and before:  # nothing after what we have: it is whole, or not a part of this file
                break
            if error.code < 500 and error.code not in (408, 429):
                raise Failed(f"the server answered {error.code} {error.reason}", where=url) from error
            why = f"{error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            why = str(getattr(error, "reason", None) or error)
        failures = 0 if part.exists() and part.stat().st_size > before else failures + 1
        if failures >= attempts:
            raise Failed("the download failed", where=url, why=why, fix=f"try again later, or put the file at {path}")
        time.sleep(min(4.0, 0.25 * 2**failures) if failures > 1 else 0)
    if not (found := sha256_of(part)).startswith(sha256):
        part.unlink()
        why = f"its SHA-256 is {found}, not {sha256}"
        raise Refused(
            "the downloaded file is not the one expected; it was deleted",
            where=url,
            why=why,
            fix="try again, or look who answers for that address",
        )
    os.replace(part, path)
    return path


def fetch_first(urls: Sequence[str], path: Path, *, sha256: str, progress: Progress | None = None) -> Path:
    """Like :func:`fetch`, from the first of several addresses of the same file that delivers it."""
    for url in urls[:-1]:
        try:
            return fetch(url, path, sha256=sha256, progress=progress)
        except (Failed, Refused):
            continue
    return fetch(urls[-1], path, sha256=sha256, progress=progress)


def _continue(url: str, part: Path, progress: Progress | None, timeout: float) -> None:
    """One connection: asks for the bytes after those in ``part``, and adds what comes."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        # A server may ignore the range and send the whole, or another range: then it starts anew.
        if not (answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")):
            if answer.status == 206:
                part.unlink(missing_ok=True)
                raise http.client.HTTPException("the server sent another range than the one asked for")
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        with part.open("ab" if have else "wb") as file:
            while block := answer.read(_BLOCK):
                file.write(block)
                have += len(block)
                if progress:
                    progress(have, total)
    if total is not None and have < total:
        raise http.client.HTTPException(f"the connection ended after {have:,} of {total:,} bytes")


def sha256_of(path: Path) -> str:
    """Hex, of a whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
