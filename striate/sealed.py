"""A safetensors file that proves itself: tensors and JSON values under one SHA-256.

Layout of the format (https://github.com/huggingface/safetensors): eight bytes of header length, a JSON header that gives
each tensor's dtype, shape and place, then the tensors' bytes. Any safetensors reader opens our files. Ours add two
strings to the header's metadata: ``striate``, the values as canonical JSON, and ``sha256``, a digest over every tensor
and every other metadata string. The format itself lets a flipped bit through; this reader checks the digest of the very
bytes it hands out, and refuses everything that is not exactly what was written.

Models (:mod:`striate.bundle`) and the checkpoints of a run are such files. Torch is imported by :func:`write_sealed` and
:func:`read_sealed` alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from striate.errors import Failed, Refused, UsageError
from striate.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

_MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library, so that no reader accepts what another refuses
_INFO, _DIGEST = "striate", "sha256"
_NAMES = {
    "F64": "float64", "I64": "int64", "U64": "uint64", "F32": "float32", "I32": "int32", "U32": "uint32", "F16": "float16",
    "BF16": "bfloat16", "I16": "int16", "U16": "uint16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
_ITEM_BYTES = {code: 1 if code == "BOOL" else int(code.lstrip("BFIU")) // 8 for code in _NAMES}


@dataclass(frozen=True)
class _Entry:
    """One tensor as the header describes it; ``start`` and ``stop`` are bytes after the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


Raw = npt.NDArray[np.uint8]


def write_sealed(path: str | Path, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> str:
    """Writes tensors and JSON values as one file with a digest: beside, synced, then renamed over ``path``.

    Args:
        path: the file to write; an existing one is replaced only once the new one is whole.
        tensors: on any device; those that share memory are each written in full.
        info: JSON values, NaN and infinities as well: they come back as they were.

    Returns:
        The SHA-256 over everything, as 64 lower-case hexadecimal digits.

    Raises:
        ValueError: a tensor has no bytes to write (meta, sparse, quantised).
        TypeError: ``info`` holds something that JSON has no form for.
        Failed: the disk refused (no space, no permission); what was at ``path`` is still there.
    """
    path = Path(path)
    raw = {name: _raw_bytes(name, tensor) for name, tensor in tensors.items()}
    metadata = {"format": "pt", _INFO: _canonical(info)}
    # Widest items first, as the safetensors library does: every tensor then starts at a multiple of its item size.
    order = sorted(raw, key=lambda name: (-_ITEM_BYTES[raw[name][0]], name))
    entries, offset = [], 0
    for name in order:
        dtype, shape, data = raw[name]
        entries.append(_Entry(name, dtype, shape, offset, offset + data.nbytes))
        offset += data.nbytes
    digest = _digest(metadata, [(entry, raw[entry.name][2]) for entry in entries])
    described = {
        entry.name: {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": (entry.start, entry.stop)} for entry in entries
    }
    header = _canonical({"__metadata__": {**metadata, _DIGEST: digest}, **described}).encode("ascii")
    header += b" " * (-len(header) % 8)
    with replacing(path, f"the file ({(len(header) + offset) / 1e6:.1f} MB)") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for name in order:
            file.write(raw[name][2].data)
    return digest


def read_sealed(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What :func:`write_sealed` wrote: the JSON values, and tensors on the CPU, each in its own writable memory.

    Raises:
        UsageError: there is no such file.
        Refused: it is not one of ours, or not as it was written; no value has been looked at.
    """
    info, tensors = _read(Path(path))
    return info, {entry.name: _tensor(entry, data) for entry, data in tensors}


def read_sealed_arrays(path: str | Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """The same as NumPy arrays, without torch; bfloat16 comes widened to float32, which is exact."""
    info, tensors = _read(Path(path))
    return info, {entry.name: _array(entry, data) for entry, data in tensors}


def read_values(path: str | Path) -> dict[str, Any]:
    """The JSON values alone, the digest over everything checked first, without torch."""
    return _read(Path(path))[0]


def _raw_bytes(name: str, tensor: Tensor) -> tuple[str, tuple[int, ...], Raw]:
    """A tensor's safetensors dtype, shape and bytes in row-major order."""
    import torch

    dtype = {getattr(torch, torch_name): code for code, torch_name in _NAMES.items()}.get(tensor.dtype)
    if dtype is None or tensor.layout != torch.strided or tensor.is_meta:
        raise ValueError(
            f"{name!r} is a {tensor.layout} tensor of {tensor.dtype} on {tensor.device}; "
            f"only plain tensors with values can be written ({', '.join(_NAMES.values())})"
        )
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return dtype, tuple(tensor.shape), data


def _tensor(entry: _Entry, data: Raw) -> Tensor:
    import torch

    dtype: torch.dtype = getattr(torch, _NAMES[entry.dtype])
    return torch.from_numpy(data).view(dtype).reshape(entry.shape) if data.size else torch.empty(entry.shape, dtype=dtype)


def _array(entry: _Entry, data: Raw) -> npt.NDArray[Any]:
    if entry.dtype == "BF16":
        return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(entry.shape)
    return data.view(_NAMES[entry.dtype]).reshape(entry.shape)


def _canonical(value: Any) -> str:
    """JSON with sorted keys, without spaces, in ASCII: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _digest(metadata: Mapping[str, str], tensors: list[tuple[_Entry, Raw]]) -> str:
    """SHA-256 over all metadata but the digest itself, then each tensor's name, dtype, shape and bytes, by name."""
    sha = hashlib.sha256(_canonical({key: value for key, value in metadata.items() if key != _DIGEST}).encode("ascii"))
    for entry, data in sorted(tensors, key=lambda pair: pair[0].name):
        sha.update(("\n" + _canonical([entry.name, entry.dtype, entry.shape]) + "\n").encode("ascii"))
        sha.update(data.data)
    return sha.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], list[tuple[_Entry, Raw]]]:
    """Values and tensor bytes of a file that is, to the bit, what was written."""
    try:
        with open(path, "rb", buffering=0) as file:
            metadata, entries = _read_header(path, file)
            tensors = [(entry, np.fromfile(file, np.uint8, entry.stop - entry.start)) for entry in entries]
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise UsageError("No such model file", where=path, fix="give a run folder or a model.safetensors") from error
    except OSError as error:
        raise Failed("Could not read the file", where=path, why=error.strerror or str(error)) from error
    if _digest(metadata, tensors) != metadata[_DIGEST]:
        _refuse(path, "its SHA-256 over tensors and metadata is not the one it was written with")
    info = _object(path, metadata[_INFO], "its card")
    return info, tensors


def _read_header(path: Path, file: IO[bytes]) -> tuple[dict[str, str], list[_Entry]]:
    """Metadata, and the tensors in the order of their bytes; ``file`` is left at the first of them."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= min(size - 8, _MAX_HEADER):
        # Only here: the length of a header of 640 bytes begins with 80 02 as well. Pickles and archives read as huge lengths.
        if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
            _refuse_pickle(path)
        _refuse(path, f"it is not a safetensors file, or a truncated one ({size:,} bytes)")
    header = _object(path, file.read(length), "its header")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _refuse(path, "its header's metadata are not strings")
    entries = sorted((_entry(path, name, value) for name, value in header.items()), key=lambda entry: (entry.start, entry.stop))
    end = 0
    for entry in entries:
        if entry.start != end:
            _refuse(path, f"tensor {entry.name!r} overlaps another or leaves a gap before it")
        end = entry.stop
    if 8 + length + end != size:
        _refuse(path, f"its tensors need {8 + length + end:,} bytes and it has {size:,}: truncated, or something was appended")
    if _INFO not in metadata or _DIGEST not in metadata:
        raise Refused(
            "Another tool's safetensors file: weights alone, without network, classes and preprocessing",
            where=path,
            fix=f"name the network they belong to, in Python: striate.build(NAME, weights={str(path)!r})",
        )
    return metadata, entries


def _entry(path: Path, name: str, value: Any) -> _Entry:
    def counts(numbers: Any) -> bool:
        return isinstance(numbers, list) and all(type(number) is int and number >= 0 for number in numbers)

    if not (isinstance(value, dict) and set(value) == {"dtype", "shape", "data_offsets"} and isinstance(value["dtype"], str)):
        _refuse(path, f"its header describes tensor {name!r} incompletely")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if dtype not in _ITEM_BYTES or not counts(shape) or not counts(offsets) or len(offsets) != 2:
        _refuse(path, f"tensor {name!r} has dtype {dtype!r}, shape {shape!r} and place {offsets!r}")
    if math.prod(shape) * _ITEM_BYTES[dtype] != offsets[1] - offsets[0]:
        _refuse(path, f"tensor {name!r} has another number of bytes than its shape {shape} of {dtype} needs")
    return _Entry(name, dtype, tuple(shape), *offsets)


def _object(path: Path, text: str | bytes, part: str) -> dict[str, Any]:
    """A JSON object in UTF-8 without doubled keys; anything else is refused."""
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"{part} is not readable ({str(error).splitlines()[0][:80]})")
    if not isinstance(value, dict):
        _refuse(path, f"{part} is not an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key appears twice")
    return result


def _refuse(path: Path, why: str) -> NoReturn:
    fix = "copy it again from where it came, or train again"
    raise Refused("Damaged, or not a file that striate wrote", where=path, why=why, fix=fix)


def _refuse_pickle(path: Path) -> NoReturn:
    raise Refused(
        "Another tool's checkpoint (a PyTorch pickle), not a striate model",
        where=path,
        why="it holds weights without network, classes and preprocessing, and reading it as a model could run code",
        fix=f"name the network its weights belong to, in Python: striate.build(NAME, weights={str(path)!r}) reads tensors only",
    )
