"""A CSV of paths and targets: ``path,label`` and, if wanted, ``split``; other columns are ignored.

The first line names the columns. ``path`` (also ``file``, ``filename``, ``image``) is relative to the CSV's own folder.
The target's column says what it holds:

- ``labels``: any number of classes, separated by ``|``; an empty cell means none.
- ``value``: a number (regression).
- ``label`` (also ``class``): one class; but several classes where any cell has a ``|``, and a number where every cell
  is one and either not all are whole or most occur only once (fewer than two rows a distinct number on average).
"""

from __future__ import annotations

import csv
import math
import os
import posixpath
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.data.source import SPLIT_SPELLINGS, SPLITS, FileSource, Kind, natural_key
from striate.errors import Refused, UsageError, nearest

_PATH = ("path", "file", "filename", "image")
_TARGETS: dict[str, Kind | None] = {"label": None, "class": None, "labels": "labels", "value": "value"}


@dataclass
class _Table:
    """The columns of interest, compactly: a cell's text is kept once, whatever the number of its rows."""

    column: str
    keys: list[str] = field(default_factory=list)
    lines: array[int] = field(default_factory=lambda: array("q"))
    texts: dict[str, int] = field(default_factory=dict)
    cells: array[int] = field(default_factory=lambda: array("q"))
    splits: bytearray = field(default_factory=bytearray)


def open_csv(path: str) -> FileSource:
    """Opens ``csv:PATH``.

    Raises:
        UsageError: no such file, no such columns, or a cell that cannot be read; the line is named.
        Refused: files that are missing or listed twice.
    """
    file = Path(path).expanduser().absolute()
    table = _read(file)
    if not table.keys:
        raise UsageError("the table has no rows", where=file, fix="add a line a picture under the header")
    _check_files(file, table)
    kind, classes, targets = _targets(file, table)
    return FileSource(
        file.parent,
        table.keys,
        name=file.stem,
        location=f"csv:{file}",
        kind=kind,
        classes=classes,
        targets=targets,
        given=np.frombuffer(bytes(table.splits), dtype=np.uint8),
    )


def _read(file: Path) -> _Table:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            header = text.readline()
            # Spreadsheets write semicolons where the comma is the decimal mark.
            delimiter = max(",;\t", key=header.count)
            text.seek(0)
            rows = csv.reader(text, delimiter=delimiter, strict=True)
            return _collect(file, rows)
    except FileNotFoundError as error:
        raise UsageError("there is no such file", where=file) from error
    except UnicodeDecodeError as error:
        raise UsageError("the table is not UTF-8 text", where=file, why=str(error), fix="save it as CSV UTF-8") from error
    except csv.Error as error:
        raise UsageError(
            "the table is not well-formed CSV", where=file, why=str(error), fix="quote cells that hold commas or quotes"
        ) from error
    except OSError as error:
        raise UsageError("the file cannot be read", where=file, why=error.strerror) from error


def _collect(file: Path, rows: Any) -> _Table:
    header = [name.strip().lower() for name in next(rows, [])]
    path_column = _column(file, header, _PATH, "path")
    column = _column(file, header, tuple(_TARGETS), "label")
    split_column = header.index("split") if "split" in header else None
    table = _Table(header[column])
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        where = f"{file}, line {rows.line_num}"
        if len(row) != len(header):
            fix = "quote paths that hold a comma" if len(row) > len(header) else None
            raise UsageError(f"{len(row)} cells where the header names {len(header)}", where=where, fix=fix)
        key = row[path_column].strip()
        if not key:
            raise UsageError("a row without a path", where=where)
        table.keys.append(_key(file.parent, key))
        table.lines.append(rows.line_num)
        table.cells.append(table.texts.setdefault(row[column].strip(), len(table.texts)))
        table.splits.append(0 if split_column is None else _split(row[split_column], where))
    return table


def _column(file: Path, header: list[str], names: tuple[str, ...], what: str) -> int:
    found = [name for name in names if name in header]
    if len(found) == 1 and header.count(found[0]) == 1:
        return header.index(found[0])
    if found:
        raise UsageError(f"more than one column could be the {what}: {', '.join(found)}", where=file, fix="rename the others")
    why = f"its first line is {', '.join(header)[:80]!r}" if header else "it is empty"
    raise UsageError(
        f"the table has no column {what!r}",
        where=file,
        why=why,
        fix=f"name the columns in the first line; for this one: {', '.join(names)}",
    )


def _key(folder: Path, text: str) -> str:
    """The path as it is kept: tidy, with ``/``."""
    if "\\" in text and not os.path.lexists(folder / text):
        text = text.replace("\\", "/")
    return posixpath.normpath(text) if os.sep == "/" else posixpath.normpath(text.replace(os.sep, "/"))


def _split(text: str, where: str) -> int:
    word = text.strip().lower()
    if word and word not in SPLIT_SPELLINGS:
        raise UsageError(f"no split is called {word!r}", where=where, fix=nearest(word, SPLIT_SPELLINGS))
    return SPLITS.index(SPLIT_SPELLINGS.get(word, ""))


def _check_files(file: Path, table: _Table) -> None:
    first: dict[str, int] = {}
    for key, line in zip(table.keys, table.lines, strict=True):
        if (before := first.setdefault(key, line)) != line:
            why = f"first in line {before}"
            raise Refused(
                f"{key!r} is listed twice",
                where=f"{file}, line {line}",
                why=why,
                fix="keep one row a picture; several classes go into one cell, as a|b",
            )
    # Fifos and folders are left to decoding, which counts them.
    missing = [key for key in first if not os.path.lexists(file.parent / key)]
    if missing:
        where = f"{file}, line {first[missing[0]]}"
        why = f"looked for {file.parent / missing[0]}" + (
            f"; {len(missing):,} of {len(first):,} are missing" if len(missing) > 1 else ""
        )
        fix = "paths are relative to the folder of the CSV; correct or delete those lines"
        raise Refused(f"{missing[0]!r} is not there", where=where, why=why, fix=fix)


def _targets(file: Path, table: _Table) -> tuple[Kind, tuple[str, ...], NDArray[Any]]:
    """Kind, class names and targets, by the rule at the top of this file."""
    texts, cells = list(table.texts), np.frombuffer(table.cells, dtype=np.int64)
    numbers = [_number(text) for text in texts]
    kind = _TARGETS[table.column] or _infer(texts, numbers, len(cells))
    if kind == "value":
        if None in numbers:
            where = f"{file}, line {_line(table, numbers.index(None))}"
            raise UsageError(
                f"{texts[numbers.index(None)]!r} is not a number", where=where, fix="classes go into a column called label"
            )
        return "value", (), np.array(numbers, dtype=np.float32)[cells]
    if kind == "labels":
        sets = [sorted(set(_parts(text))) for text in texts]
        classes = sorted({name for names in sets for name in names}, key=natural_key)
        if not classes:
            raise Refused("no row has a label", where=file)
        position = {name: i for i, name in enumerate(classes)}
        hot = np.zeros((len(texts), len(classes)), dtype=np.float32)
        for i, names in enumerate(sets):
            hot[i, [position[name] for name in names]] = 1
        return "labels", tuple(classes), hot[cells]
    if "" in table.texts:
        where = f"{file}, line {_line(table, table.texts[''])}"
        raise UsageError("a row without a label", where=where, fix="fill it in; a column called labels may have empty cells")
    classes = sorted(texts, key=natural_key)
    position = {name: i for i, name in enumerate(classes)}
    return "label", tuple(classes), np.array([position[text] for text in texts], dtype=np.int64)[cells]


def _infer(texts: list[str], numbers: list[float | None], num_rows: int) -> Kind:
    if any("|" in text for text in texts):
        return "labels"
    if any(number is None for number in numbers):
        return "label"
    whole = all(number == int(number) for number in numbers if number is not None)
    return "label" if whole and num_rows >= 2 * len(texts) else "value"


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _parts(text: str) -> Iterator[str]:
    return (part.strip() for part in text.split("|") if part.strip())


def _line(table: _Table, text: int) -> int:
    """The first line whose cell has that text."""
    return table.lines[table.cells.index(text)]
