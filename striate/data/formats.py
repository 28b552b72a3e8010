"""Every data format by its scheme, and the one way to open data: :func:`open_source`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from striate.data import csv, demo, folder, idx, imagenet, npz
from striate.data.source import Source
from striate.errors import UsageError, nearest

FORMATS: dict[str, Callable[[str], Source]] = {
    "demo": demo.open_demo,
    "folder": folder.open_folder,
    "csv": csv.open_csv,
    "npz": npz.open_npz,
    "idx": idx.open_idx,
    "mnist": idx.open_mnist,
    "fashion": idx.open_fashion,
    "imagenet": imagenet.open_imagenet,
}
"""Scheme -> what opens the rest of ``scheme:rest``."""

_LOCAL = {"mnist": partial(idx.open_mnist, download=False), "fashion": partial(idx.open_fashion, download=False)}


def open_source(data: str | Path | Source, *, to_learn: bool = True, download: bool = True) -> Source:
    """Opens data.

    Args:
        data: ``scheme:rest`` with a scheme of ``FORMATS``; or a path, whose format follows from what lies there (a word
            alone is always a path); or a source, returned as it is.
        to_learn: whether a network is to learn from the data; to be scored, it may hold a single class.
        download: whether data sets that are downloaded may be.

    Raises:
        UsageError: nothing is there, or it is of no format known.
        Refused: it is there, but its content contradicts itself, or there is nothing ``to_learn``.
    """
    source = data if isinstance(data, Source) else _open(data, FORMATS if download else {**FORMATS, **_LOCAL})
    if to_learn and source.unfit is not None:
        raise source.unfit
    return source


def _open(data: str | Path, formats: Mapping[str, Callable[[str], Source]]) -> Source:
    text = os.fspath(data)
    # A scheme has two letters or more, for C:\photos is a path.
    match = re.fullmatch(r"([A-Za-z][A-Za-z0-9]+):(.*)", text, re.DOTALL)
    if match and not isinstance(data, Path) and not os.path.exists(text):
        scheme, rest = match.groups()
        if scheme not in formats:
            raise UsageError(f"no data format is called {scheme!r}", where=text, fix=nearest(scheme, formats))
        return formats[scheme](rest)
    return formats[_format_of(Path(text).expanduser(), text)](text)


def _format_of(path: Path, text: str) -> str:
    """The scheme for what lies at a path."""
    if path.is_dir():
        return "idx" if idx.find(path) else "imagenet" if imagenet.find(path) else "folder"
    suffix = path.suffix.lower()
    if not path.exists():
        word = text.lower().replace("-", "_")
        if word in demo.SAMPLES:
            fix = f"for the data shipped with striate write demo:{word}"
        elif word in FORMATS:
            fix = f"for the data set, or the format, write {word}:" + ("" if word in ("mnist", "fashion") else "PATH")
        else:
            fix = "give a folder with one folder a class, a .csv, an .npz, or demo:fashion"
        raise UsageError("there is no such file or folder", where=text, why="a word without a colon is a path", fix=fix)
    if suffix in (".csv", ".tsv"):
        return "csv"
    if suffix == ".npz":
        return "npz"
    if suffix in (".zip", ".tar", ".gz", ".tgz", ".xz", ".7z", ".rar", ".bz2"):
        raise UsageError("this is an archive", where=path, fix="unpack it, and give the folder")
    raise UsageError(
        "this file is of no data format known", where=path, fix="give a folder with one folder a class, a .csv or an .npz"
    )
