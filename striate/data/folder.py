"""One folder a class, once (``photos/cats/1.jpg``) or once a split (``photos/train/cats/1.jpg``).

It counts as split where every folder is called train, val or test (or training, valid, validation, testing), or where
``train`` holds class folders and no pictures of its own: folders beside it that name no split are then ignored.
Pictures in folders below a class folder belong to that class. Symbolic links are followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from striate.data.findings import counted
from striate.data.image_file import EXTENSIONS, sniff
from striate.data.source import SPLIT_SPELLINGS, SPLITS, FileSource, natural_key
from striate.errors import Refused, UsageError

# Pictures that cannot be read are taken all the same: decoding then names and counts them, where leaving them out would
# let part of a class vanish.
_TAKEN = EXTENSIONS | frozenset(
    [
        ".heic",
        ".heif",
        ".avif",
        ".jp2",
        ".j2k",
        ".jxl",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".psd",
        ".tga",
        ".svg",
        ".dng",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
        ".raf",
        ".orf",
        ".rw2",
    ]
)

_JUNK = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found", "__pycache__"})


@dataclass
class _Listing:
    """What lies below a folder; paths are relative to ``root``, with ``/``."""

    root: Path
    ignored: list[str] = field(default_factory=list)

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        """Names of the folders (natural order) and of the pictures (plain order) directly in ``folder``."""
        folders: list[str] = []
        pictures: list[str] = []
        try:
            with os.scandir(self.root / folder) as entries:
                for entry in entries:
                    if reason := self._why_not(entry):
                        self.ignored.append(f"{_join(folder, entry.name)}: {reason}")
                    else:
                        (folders if entry.is_dir() else pictures).append(entry.name)
        except OSError as error:
            raise UsageError("the folder cannot be read", where=self.root / folder, why=error.strerror) from error
        return sorted(folders, key=natural_key), sorted(pictures)

    def below(self, folder: str, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[str]:
        """Every picture in ``folder`` and the folders below it."""
        status = os.stat(self.root / folder)
        here = (status.st_dev, status.st_ino)
        if here in above:
            self.ignored.append(f"{folder}: a link to a folder that it lies in")
            return
        folders, pictures = self.children(folder)
        yield from (_join(folder, name) for name in pictures)
        for name in folders:
            yield from self.below(_join(folder, name), above | {here})

    @staticmethod
    def _why_not(entry: os.DirEntry[str]) -> str | None:
        name = entry.name
        if name.startswith("."):
            return "hidden"
        if name.lower() in _JUNK:
            return "left by the system"
        if entry.is_dir():
            return None
        suffix = os.path.splitext(name)[1].lower()
        if suffix in _TAKEN:
            return None
        if suffix or not entry.is_file():
            return "not a picture"
        try:
            with open(entry.path, "rb") as file:
                return None if sniff(file.read(16)) else "not a picture"
        except OSError:
            return None


@dataclass(frozen=True)
class _Class:
    """The pictures of one class in one split."""

    split: str
    name: str
    pictures: list[str]


def open_folder(path: str) -> FileSource:
    """Opens ``folder:PATH``.

    Raises:
        UsageError: no such folder, or no labelled pictures in it.
    """
    root = Path(path).expanduser().absolute()
    if not root.is_dir():
        what = "this is a file, not a folder" if root.exists() else "there is no such folder"
        raise UsageError(what, where=root)
    listing = _Listing(root)
    folders, loose = listing.children("")
    splits = _splits(listing, folders)
    groups: list[_Class] = []
    if splits:
        listing.ignored += [f"{name}: no split, beside train" for name in folders if name not in splits.values()]
        for split in (split for split in SPLITS if split in splits):
            groups += _classes(listing, split, splits[split])
        listing.ignored += [f"{name}: outside the splits" for name in loose]
    else:
        groups = _classes(listing, "", "")
    _check_filled(root, groups, splits, loose)
    names = sorted({group.name for group in groups}, key=natural_key)
    counts = [len(group.pictures) for group in groups]
    number = {name: i for i, name in enumerate(names)}
    return FileSource(
        root,
        (picture for group in groups for picture in group.pictures),
        name=root.name,
        location=f"folder:{root}",
        kind="label",
        classes=names,
        targets=np.repeat(np.array([number[group.name] for group in groups], dtype=np.int64), counts),
        given=np.repeat(np.array([SPLITS.index(group.split) for group in groups], dtype=np.uint8), counts),
        ignored=sorted(listing.ignored),
        unfit=_unfit(root, groups, splits),
    )


def _splits(listing: _Listing, folders: list[str]) -> dict[str, str]:
    """Split -> its folder; empty where the folders are classes."""
    named = [(SPLIT_SPELLINGS[name.lower()], name) for name in folders if name.lower() in SPLIT_SPELLINGS]
    found = dict(named)
    if not found:
        return {}
    if len(named) < len(folders):
        # A class may be called "train": one folder among others, with pictures and no class folders in it.
        if "train" not in found:
            return {}
        below, pictures = _Listing(listing.root).children(found["train"])
        if pictures or not below:
            return {}
    if len(found) < len(named):
        twice = ", ".join(name for _, name in named)
        raise UsageError(
            "two folders are the same split", where=listing.root, why=f"found {twice}", fix="merge them, or rename one"
        )
    return found


def _classes(listing: _Listing, split: str, folder: str) -> list[_Class]:
    """The class folders of a split, or of the root."""
    folders, loose = listing.children(folder)
    if loose and folder:
        listing.ignored.append(f"{folder}: {counted(len(loose), 'picture')} outside the class folders")
    elif loose:
        listing.ignored += [f"{name}: outside the class folders" for name in loose]
    return [_Class(split, name, sorted(listing.below(_join(folder, name)))) for name in folders]


_LAYOUT = "make one folder a class: PHOTOS/cats/1.jpg, PHOTOS/dogs/2.jpg"


def _check_filled(root: Path, groups: list[_Class], splits: dict[str, str], loose: list[str]) -> None:
    """Raises where there is no labelled picture at all."""
    if not any(group.pictures for group in groups):
        tables = sorted(file.name for file in root.iterdir() if file.suffix.lower() in (".csv", ".npz"))
        fix = f"give the file itself: {root / tables[0]}" if tables else f"{_LAYOUT}; or write a CSV with the columns path,label"
        why = f"{counted(len(loose), 'picture lies', 'pictures lie')} in it, without class folders" if loose else None
        if splits and not groups:
            why = f"{' and '.join(splits[split] for split in SPLITS if split in splits)} hold no class folders"
        raise UsageError("no labelled pictures in the folder", where=root, why=why, fix=fix)


def _unfit(root: Path, groups: list[_Class], splits: dict[str, str]) -> Refused | None:
    """One class, a class without pictures, or classes outside ``train`` that it has not."""
    filled = {group.name for group in groups if group.pictures}
    if empty := sorted({group.name for group in groups} - filled, key=natural_key):
        where = ", ".join(str(root / splits.get(group.split, "") / group.name) for group in groups if group.name == empty[0])
        what = f"class {empty[0]!r} has no pictures" + (f" ({len(empty)} classes in all)" if len(empty) > 1 else "")
        return Refused(what, where=where, fix="put pictures there, or remove the folder")
    trained = {group.name for group in groups if group.split == "train" and group.pictures}
    if trained and (untaught := sorted(filled - trained, key=natural_key)):
        split = next(group.split for group in groups if group.name == untaught[0] and group.pictures)
        why = f"{len(untaught)} of the classes have no training pictures; train has {_some(sorted(trained, key=natural_key))}"
        what = f"class {untaught[0]!r} is in {splits[split]} but not in {splits['train']}"
        return Refused(what, where=root, why=why, fix="spell the folders alike, or add training pictures, or remove the class")
    if len(filled) == 1:
        (only,) = filled
        inside = sorted(entry.name for entry in os.scandir(root / only) if entry.is_dir()) if not splits else []
        fix = f"give {root / only}, if its folders are the classes" if len(inside) > 1 else _LAYOUT
        return Refused(f"only one class, {only!r}", where=root, why="there is nothing to tell apart", fix=fix)
    return None


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
