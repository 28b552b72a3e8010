"""What makes an exported graph an artefact of ours: the card of its model inside the file, under a SHA-256 of its own bytes."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from striate import machine
from striate.errors import Failed, Refused, UsageError

CARD, SEAL = "striate", "striate_seal"
"""Names of the two entries in the metadata of an ONNX file, of an OpenVINO graph, and of a .pt2 archive."""
FORMAT_VERSION = 1
_PREFIX = "striate-sha256:"
UNSEALED = _PREFIX + 64 * "0"
"""What stands in the file's metadata until :func:`sealed` puts the digest there."""
_MARK = re.compile(_PREFIX.encode() + b"([0-9a-f]{64})")


def card_text(card: Mapping[str, Any]) -> str:
    """The card as the canonical JSON that is written into the file."""
    return json.dumps(card, sort_keys=True, separators=(",", ":"))


def sealed(main: bytes, *others: bytes) -> bytes:
    """``main`` with a digest in place of ``UNSEALED``: SHA-256 over itself, as it is here, and the files that belong to it."""
    assert main.count(UNSEALED.encode()) == 1, "one seal a file"
    return main.replace(UNSEALED.encode(), (_PREFIX + _digest((main,), others)).encode())


def check_seal(path: Path, main: bytes, *others: bytes) -> None:
    """Refuses a file that is not, to the bit, what was written."""
    found = list(_MARK.finditer(main))
    if not found:
        raise Refused(
            "Not an artefact of striate", where=path, why="it holds no seal", fix="make one: striate export MODEL --to onnx"
        )
    start, stop = found[0].span(1)
    view = memoryview(main)
    if len(found) != 1 or found[0][1].decode() != _digest((view[:start], b"0" * (stop - start), view[stop:]), others):
        fix = "copy it again from where it came, or export it again"
        raise Refused("Damaged, or changed since it was exported", where=path, why="its SHA-256 is another one", fix=fix)


def _digest(main: Sequence[bytes | memoryview], others: Sequence[bytes]) -> str:
    sha = hashlib.sha256()
    for pieces in (main, *((other,) for other in others)):
        sha.update(sum(map(len, pieces)).to_bytes(8, "little"))
        for piece in pieces:
            sha.update(piece)
    return sha.hexdigest()


def parse_card(path: Path, text: str | None) -> dict[str, Any]:
    """The card of an artefact, its ``export`` entry checked.

    Raises:
        Refused: there is none, or a newer version wrote it.
    """
    try:
        card = json.loads(text or "")
        export = card["export"]
        version, form = export["format"], export["form"]
        if type(version) is not int or form not in ("tensor", "images"):
            raise ValueError(f"format {version!r}, form {form!r}")
    except (ValueError, KeyError, TypeError) as error:
        why, fix = f"its card is not readable ({type(error).__name__}: {error})", "export the model again"
        raise Refused("Not an artefact of striate", where=path, why=why, fix=fix) from error
    if version > FORMAT_VERSION:
        why = f"this version reads formats up to {FORMAT_VERSION}"
        raise Refused(
            f"Exported by a newer striate ({card.get('striate')}, format {version})", where=path, why=why, fix="upgrade"
        )
    checked: dict[str, Any] = card
    return checked


def file_bytes(path: Path) -> bytes:
    """The whole file.

    Raises:
        UsageError: there is none.
        Failed: it cannot be read.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise UsageError("No such file", where=path, fix="name what `striate export` wrote") from error
    except OSError as error:
        raise Failed("Could not read the file", where=path, why=error.strerror or str(error)) from error


def missing_package(package: str, extra: str, path: Path | None, error: ImportError) -> UsageError:
    """The error for a backend that is not installed."""
    return UsageError(
        f"{package} is not installed", where=path, why=str(error).splitlines()[0], fix=f'pip install "striate[{extra}]"'
    )


def num_threads(threads: int | None = None) -> int:
    """Threads of a network's operators: as given, else ``OMP_NUM_THREADS``, else the cores this process may use."""
    return threads or int(os.environ.get("OMP_NUM_THREADS") or machine.num_cores())
