"""A ``torch.export`` archive (.pt2) as a network, run by PyTorch.

PyTorch reads such an archive through pickle where its entries ask for it, and hands expressions in it to SymPy, which
evaluates them. So it sees only archives that were read here before: without a pickled entry, and without any name but those
of operators and of the shapes' arithmetic.
"""

from __future__ import annotations

import io
import json
import logging
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from striate.backends.artefact import CARD, SEAL, check_seal, file_bytes, parse_card
from striate.errors import Refused

_ENTRIES = re.compile(
    r"archive_(format|version)|byteorder|\.data/(version|serialization_id)|models/model\.json"
    r"|data/(weights|constants)/(model_(weights|constants)_config\.json|weight_\d+|tensor_\d+)"
    rf"|data/sample_inputs/model\.pt|extra/({CARD}|{SEAL})"
)
_TARGET = re.compile(r"torch\.ops\.aten\.\w+\.\w+|_operator\.\w+|torch\.sym_\w+")
_SHAPES = {
    "Symbol", "Integer", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "FloorDiv", "CleanDiv", "CeilDiv", "PythonMod",
    "IntTrueDiv", "ToFloat", "TruncToInt", "positive", "nonnegative", "integer", "True", "False",
}  # fmt: skip
"""The words of the shapes' arithmetic."""


class TorchProgramNetwork:
    """Runs the program on uint8 images, on torch's own threads.

    Args:
        path: what ``striate export --to torch`` wrote.

    Attributes:
        card: of the model, with the entry ``export``.

    Raises:
        UsageError: there is no such file.
        Refused: the file is not, to the bit, what was exported, or holds what could run code, or is not readable by this torch.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        data = file_bytes(path)
        self.card: dict[str, Any] = parse_card(path, _read_archive(path, data))
        logger = logging.getLogger("torch.export")
        level = logger.level
        logger.setLevel(logging.CRITICAL)  # it logs the traceback of what it then raises
        try:
            self._program = torch.export.load(io.BytesIO(data)).module()
        except Exception as error:  # anything: a program of another version
            why = str(error).splitlines()[0][:200]
            raise Refused(f"torch {torch.__version__} cannot open the program", where=path, why=why) from error
        finally:
            logger.setLevel(level)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [N, C, h, w] ([N, H, W, C] of one any size for the form ``images``) -> raw outputs float32 [N, K]."""
        return self.outputs(images)["logits"]

    def outputs(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """All that the program returns: ``logits``, and for the form ``images`` also ``probabilities``, float32 [N, K] each."""
        if not images.flags.writeable or min(images.strides) < 0:
            images = images.copy()  # torch takes neither
        with torch.inference_mode():
            returned = self._program(torch.from_numpy(images))
        tensors = returned if isinstance(returned, tuple) else (returned,)
        return {name: tensor.numpy() for name, tensor in zip(("logits", "probabilities"), tensors, strict=False)}


def _read_archive(path: Path, data: bytes) -> str:
    """The card's text, of an archive that is sealed and holds nothing that could run code."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = {entry.filename.partition("/")[2]: archive.read(entry) for entry in archive.infolist()}
            doubled = len(entries) != len(archive.infolist())
    except (zipfile.BadZipFile, RuntimeError, ValueError, OSError, EOFError, NotImplementedError) as error:
        raise Refused("Not a .pt2 archive", where=path, why=str(error), fix="copy it again from where it came") from error
    unsafe = "an entry appears twice" if doubled else next(_unsafe(entries), None)
    if unsafe is not None:
        raise Refused("The archive could run code when it is opened", where=path, why=unsafe, fix="open what striate exported")
    check_seal(path, *contents(entries))
    return entries.get(f"extra/{CARD}", b"").decode("utf-8", "replace")


def contents(entries: dict[str, bytes]) -> tuple[bytes, bytes]:
    """What the seal of an archive is over: the entry that bears it, and all the others by name."""
    rest = b"".join(
        f"\n{name} {len(entries[name])}\n".encode() + entries[name] for name in sorted(entries) if name != f"extra/{SEAL}"
    )
    return entries.get(f"extra/{SEAL}", b""), rest


def _unsafe(entries: dict[str, bytes]) -> Iterator[str]:
    """What torch would unpickle or evaluate, a phrase each."""
    yield from (f"unknown entry {name!r}" for name in entries if not _ENTRIES.fullmatch(name))
    if entries.get("data/sample_inputs/model.pt"):
        yield "its sample inputs are pickled"
    for name in (name for name in entries if name.endswith(".json")):
        try:
            parsed = json.loads(entries[name])
        except (ValueError, RecursionError):
            yield f"{name} is not readable"
            continue
        yield from _unsafe_values(parsed)


def _unsafe_values(value: Any) -> Iterator[str]:
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        if not isinstance(value, dict):
            continue
        pending += value.values()
        if value.get("use_pickle"):
            yield f"{value.get('path_name')!r} is pickled"
        target, expression = value.get("target"), value.get("expr_str")
        if isinstance(target, str) and not _TARGET.fullmatch(target):
            yield f"it calls {target[:80]!r}"
        if isinstance(expression, str) and not _is_arithmetic(expression):
            yield f"it evaluates {expression[:80]!r}"


def _is_arithmetic(expression: str) -> bool:
    """Whether an expression over shapes has no words but those of arithmetic, and symbols in quotes."""
    words = re.findall(r"\w+", re.sub(r"'[a-z]\d+'", "", expression))
    only = re.fullmatch(r"(?:[\w\s(),=+*/<>-]|'[a-z]\d+')*", expression) is not None
    return only and all(word in _SHAPES or re.fullmatch(r"\d+|[a-z]\d+", word) for word in words)
