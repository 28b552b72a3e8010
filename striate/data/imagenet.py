"""ImageNet: its 1,000 classes, the WordNet hierarchy above them, and folders whose names are WordNet identifiers (wnids).

``wordnet/README.md`` says where the table is from. A wnid is ``n`` and eight digits: ``n02084071`` is the dog.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from striate.data.folder import open_folder
from striate.data.image_file import EXTENSIONS
from striate.data.source import SPLIT_SPELLINGS, FileSource, natural_key
from striate.errors import Refused

_TABLE = Path(__file__).parent / "wordnet" / "imagenet1k.tsv"
_WNID = re.compile(r"n\d{8}")
_WNID_WITHIN = re.compile(r"(?<![A-Za-z0-9])n\d{8}(?!\d)")


class Synset(NamedTuple):
    """A concept of WordNet.

    Attributes:
        wnid: its identifier.
        output: position among the outputs of a network of the 1,000 classes; None above them.
        name: unique among the classes.
        parents: wnids of its hypernyms, in WordNet's order; none above ``entity``.
    """

    wnid: str
    output: int | None
    name: str
    parents: tuple[str, ...]


@cache
def synsets() -> dict[str, Synset]:
    """wnid -> synset: the 1,000 classes and everything above them."""
    rows = (line.split("\t") for line in _TABLE.read_text(encoding="utf-8").splitlines())
    return {
        wnid: Synset(wnid, int(output) if output else None, name, tuple(" ".join(parents).split()))
        for wnid, output, name, *parents in rows
    }


@cache
def class_synsets() -> tuple[Synset, ...]:
    """The 1,000 classes in the order of a network's outputs."""
    return tuple(sorted((synset for synset in synsets().values() if synset.output is not None), key=lambda s: s.output or 0))


@cache
def class_names() -> tuple[str, ...]:
    """Their names, in the order of a network's outputs."""
    return tuple(synset.name for synset in class_synsets())


def find_wnids(names: Iterable[str]) -> list[str] | None:
    """The wnid of each class name; None where one is no class of ImageNet."""
    known = {synset.name: synset.wnid for synset in class_synsets()}
    found = [known.get(name) for name in names]
    return None if None in found else [wnid for wnid in found if wnid is not None]


@cache
def lineage(wnid: str) -> tuple[str, ...]:
    """From ``entity`` to the synset itself. Where it has several hypernyms the first counts, which makes the graph a tree."""
    parents = synsets()[wnid].parents
    return (*(lineage(parents[0]) if parents else ()), wnid)


def find(folder: Path) -> bool:
    """Whether pictures lie there sorted by wnid: in class folders, once or once a split, or loose with a wnid in each name."""
    folders, pictures = _listing(folder)
    if folders and all(name.lower() in SPLIT_SPELLINGS for name in folders):
        folders, pictures = _listing(folder / folders[0])
    if folders:
        return all(_WNID.fullmatch(name) for name in folders)
    return bool(pictures) and all(_WNID_WITHIN.search(name) for name in pictures)


def open_imagenet(path: str) -> FileSource:
    """Opens ``imagenet:PATH``: a folder a wnid (``n01440764/1.jpg``), once or once a split, or loose pictures with a wnid in
    each name (``n01440764_tench.jpg``). Classes carry their WordNet names, wnids that are no class of ImageNet themselves.

    Raises:
        UsageError: no such folder, or no labelled pictures in it.
        Refused: a picture without a wnid.
    """
    root = Path(path).expanduser().absolute()
    folders, pictures = _listing(root)
    source = open_folder(path) if folders or not pictures else _open_loose(root, pictures)
    known = {synset.wnid: synset.name for synset in class_synsets()}
    source.classes = tuple(known.get(wnid, wnid) for wnid in source.classes)
    source.location = f"imagenet:{root}"
    return source


def _open_loose(root: Path, pictures: Sequence[str]) -> FileSource:
    """Pictures without folders; the wnid in a name is its class."""
    matches = [_WNID_WITHIN.search(name) for name in pictures]
    if unnamed := [name for name, match in zip(pictures, matches, strict=True) if match is None]:
        why = f"{len(unnamed):,} pictures have no WordNet identifier in their name, the first: {unnamed[0]}"
        raise Refused("pictures without a class", where=root, why=why, fix="name them as in n01440764_tench.jpg")
    wnids = [match[0] for match in matches if match is not None]
    classes = sorted(set(wnids))
    number = {wnid: i for i, wnid in enumerate(classes)}
    return FileSource(
        root,
        pictures,
        name=root.name,
        location=f"imagenet:{root}",
        kind="label",
        classes=classes,
        targets=np.array([number[wnid] for wnid in wnids], np.int64),
        given=np.zeros(len(pictures), np.uint8),
    )


def _listing(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the folders and of the pictures directly in a folder, hidden ones left out; none where it cannot be read."""
    folders, pictures = [], []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
                pictures.append(entry.name)
    return sorted(folders, key=natural_key), sorted(pictures, key=natural_key)
