"""The index: what a network makes of every picture of a data set, in one file that others read too.

``.npz`` holds the arrays ``vectors``, ``keys``, ``targets`` and ``classes``, and ``card``: JSON text on data and model.
``.parquet`` holds a row a picture (``key``, ``vector``, ``target``; ``label`` where it has one class), and the card with the
classes under ``striate`` in its schema's metadata; it takes pyarrow, which the extra ``parquet`` installs. Nothing that either
names is ever run.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.data.source import Kind
from striate.errors import Failed, Refused, UsageError
from striate.files import replacing

FORMAT, FORMAT_VERSION = "striate index", 1
UNIT = 1e-3
"""How far the length of a vector may be from 1: far beyond float32's rounding, far below any other vector's."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Origin:
    """The model that the vectors are from, and how it was given.

    Attributes:
        name: of its network.
        digest: hex SHA-256 of all weights that an embedding follows from.
        preprocess: fingerprint of its preprocessing.
        given: absolute path of the model, or where its weights are another tool's the network's name; None: only in memory.
        weights: absolute path of those weights.
    """

    name: str
    digest: str
    preprocess: str
    given: str | None
    weights: str | None = None

    def __str__(self) -> str:
        if self.given is None:
            return f"the {self.name} that made it"
        return self.given if self.weights is None else f"{self.given} --weights {self.weights}"

    def check(self, other: Origin) -> None:
        """Refuses vectors of ``other`` beside those of this model.

        Raises:
            Refused: the network, its weights or its preprocessing is another.
        """
        if (self.name, self.digest) != (other.name, other.digest):
            what = "other weights" if self.name == other.name else f"another network: {other.name}, not {self.name}"
        elif self.preprocess != other.preprocess:
            what = "another preprocessing"
        else:
            return
        raise Refused(
            "The index is of another model",
            where=other.given,
            why=f"this one has {what}; vectors of two models do not compare",
            fix=f"search with {self}, or embed the data again with this model",
        )


@dataclass(frozen=True, eq=False)
class Index:
    """Vectors of pictures, comparable by their dot product.

    Attributes:
        vectors: float32 [N, D], each of length 1, so that a dot product is the cosine similarity; a picture for which the
            network gave zeros alone keeps zeros, similar to nothing.
        keys: [N] the pictures' names within the data.
        targets: int64 [N] class numbers, float32 [N, K] of zeros and ones, or float32 [N] numbers.
        classes: names in the order of the targets; empty for ``value``.
        kind: ``label``, ``labels`` or ``value``.
        origin: the model.
        location: of the data, as it is opened by.
        root: folder that keys are paths below; None where they are no files.
    """

    vectors: Vectors
    keys: tuple[str, ...]
    targets: NDArray[Any]
    classes: tuple[str, ...]
    kind: Kind
    origin: Origin
    location: str
    root: str | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def label(self, i: int) -> str:
        """The target of a picture in words: its class, its classes, or its number."""
        if self.kind == "value":
            return f"{float(self.targets[i]):.6g}"
        chosen = [int(self.targets[i])] if self.kind == "label" else np.flatnonzero(self.targets[i]).tolist()
        return ", ".join(self.classes[k] for k in chosen)

    def path(self, i: int) -> str | None:
        """Where the picture's file lay when the index was made; None where it has none of its own."""
        return None if self.root is None else str(Path(self.root) / self.keys[i])

    def card(self) -> dict[str, Any]:
        """All but the arrays, as JSON values."""
        data = {"kind": self.kind, "location": self.location, "root": self.root}
        return {"format": FORMAT, "format_version": FORMAT_VERSION, "data": data, "model": asdict(self.origin)}


def write_index(path: str | Path, index: Index) -> Path:
    """Writes an index, whole or not at all, in the format that the suffix says; returns the path.

    Raises:
        UsageError: another suffix than ``.npz`` or ``.parquet``, or no pyarrow for the latter.
        Failed: the disk refused.
    """
    path = Path(path)
    write = _format(path).write
    with replacing(path, "the index") as file:
        write(file, index)
    return path


def read_index(path: str | Path) -> Index:
    """Reads an index whole.

    Raises:
        UsageError: there is no such file, its suffix is another, or pyarrow is needed and not installed.
        Refused: it is no index, a damaged one, or one of a newer version.
    """
    path = Path(path)
    read = _format(path).read
    if not path.is_file():
        raise UsageError("No such index", where=path, fix="make one: striate embed MODEL DATA -o index.npz")
    try:
        arrays, card = read(path)
        _check_version(path, card)
        data, classes = card["data"], tuple(map(str, arrays["classes"]))
        origin = Origin(**{field.name: card["model"][field.name] for field in fields(Origin)})
        vectors, keys, targets = arrays["vectors"], tuple(map(str, arrays["keys"])), arrays["targets"]
        index = Index(vectors, keys, targets, classes, data["kind"], origin, data["location"], data["root"])
    except (KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, Refused):
            raise
        why = f"{type(error).__name__}: {error}"
        raise Refused("Not a readable index", where=path, why=why, fix="make it again: striate embed") from error
    if fault := _fault(index):
        raise Refused("Not a whole index", where=path, why=fault, fix="make it again: striate embed")
    return index


def check_target(path: str | Path) -> None:
    """Raises as :func:`write_index` would, before hours of work: the suffix, pyarrow, the folder."""
    _format(Path(path))
    if not Path(path).absolute().parent.is_dir():
        raise Failed("The index has no folder to lie in", where=path, fix="make its folder first, or name one that is there")
    if Path(path).is_dir():
        raise UsageError("The index is to be a file, and a folder is there", where=path, fix="name another file")


def are_unit(vectors: Vectors) -> NDArray[np.bool_]:
    """Which rows have length 1: [N, D] -> [N]."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    unit: NDArray[np.bool_] = np.abs(lengths - 1) < UNIT
    return unit


def _fault(index: Index) -> str | None:
    vectors = index.vectors
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        return f"the vectors are {vectors.dtype} {list(vectors.shape)}, not float32 [N, D]"
    if not len(vectors) == len(index.keys) == len(index.targets):
        return f"{len(vectors)} vectors, {len(index.keys)} keys and {len(index.targets)} targets"
    for block in _blocks(vectors):
        if not (are_unit(block) | ~block.any(axis=1)).all():
            return "a vector has another length than 1"
    shape, k = index.targets.shape[1:], len(index.classes)
    if index.kind == "label" and (shape or not ((index.targets >= 0) & (index.targets < k)).all()):
        return "a target is no number of a class"
    return f"{list(shape)} targets a picture for {k} classes" if index.kind == "labels" and shape != (k,) else None


def _blocks(vectors: Vectors, rows: int = 1 << 14) -> Iterator[Vectors]:
    return (vectors[start : start + rows] for start in range(0, len(vectors), rows))


def _check_version(path: Path, card: dict[str, Any]) -> None:
    if card["format"] != FORMAT:
        raise Refused("Not an index", where=path, fix="give what `striate embed` wrote")
    if card["format_version"] > FORMAT_VERSION:
        why = f"its format is {card['format_version']}; this version reads formats up to {FORMAT_VERSION}"
        raise Refused("Written by a newer striate", where=path, why=why, fix="upgrade striate")


Arrays = dict[str, NDArray[Any]]


def _write_npz(file: IO[bytes], index: Index) -> None:
    keys, classes, card = (np.array(text, dtype=np.str_) for text in (index.keys, index.classes, json.dumps(index.card())))
    np.savez(file, vectors=index.vectors, keys=keys, targets=index.targets, classes=classes, card=card)


def _read_npz(path: Path) -> tuple[Arrays, dict[str, Any]]:
    with np.load(path, allow_pickle=False) as archive:  # unpickling would run whatever the file says
        arrays = {name: archive[name] for name in archive.files}
    return arrays, json.loads(str(arrays["card"]))


def _write_parquet(file: IO[bytes], index: Index) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = {"key": pa.array(index.keys, pa.string())}
    except UnicodeEncodeError as error:
        raise Refused("A name that is no UTF-8 text", where=repr(error.object), fix="write the index as .npz") from error
    if index.targets.size:
        columns["target"] = _rows(index.targets)
    if index.kind == "label":
        columns["label"] = pa.DictionaryArray.from_arrays(pa.array(index.targets, pa.int32()), pa.array(index.classes))
    columns["vector"] = _rows(index.vectors)
    card = json.dumps({**index.card(), "classes": index.classes})
    pq.write_table(pa.table(columns).replace_schema_metadata({"striate": card}), file)


def _read_parquet(path: Path) -> tuple[Arrays, dict[str, Any]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    card = json.loads(table.schema.metadata[b"striate"])
    targets = _array(table["target"]) if "target" in table.column_names else np.empty((len(table), 0), np.float32)
    arrays = {"keys": np.array(table["key"].to_pylist(), np.object_), "targets": targets, "vectors": _array(table["vector"])}
    return {**arrays, "classes": np.array(card["classes"], dtype=np.str_)}, card


def _rows(array: NDArray[Any]) -> Any:
    """[N] or [N, D] as an Arrow column, without a copy."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(array).reshape(-1))
    return flat if array.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, array.shape[1])


def _array(column: Any) -> NDArray[Any]:
    """What :func:`_rows` made a column of."""
    whole = column.combine_chunks()
    width = getattr(whole.type, "list_size", None)
    array: NDArray[Any] = whole.to_numpy() if width is None else whole.flatten().to_numpy().reshape(len(whole), width)
    return array


class _Format(NamedTuple):
    write: Callable[[IO[bytes], Index], None]
    read: Callable[[Path], tuple[Arrays, dict[str, Any]]]


_FORMATS = {".npz": _Format(_write_npz, _read_npz), ".parquet": _Format(_write_parquet, _read_parquet)}


def _format(path: Path) -> _Format:
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise UsageError("An index is an .npz or a .parquet file", where=path, fix="name it so, e.g. index.npz")
    if suffix == ".parquet" and find_spec("pyarrow") is None:
        fix = 'pip install "striate[parquet]", or name the index .npz'
        raise UsageError("Parquet files take pyarrow, which is not installed", where=path, fix=fix)
    return _FORMATS[suffix]
