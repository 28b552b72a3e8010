"""A folder of pictures that nothing sorts into classes: enough to embed them, not to learn from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from striate.data import idx, imagenet
from striate.data.image_file import EXTENSIONS
from striate.data.source import FileSource, natural_key


def find(folder: Path) -> bool:
    """Whether pictures lie directly in a folder, no folders beside them, and their names say no classes."""
    if not folder.is_dir() or idx.find(folder) or imagenet.find(folder):
        return False
    with os.scandir(folder) as entries:
        return not any(entry.is_dir() and not entry.name.startswith(".") for entry in entries) and bool(_pictures(folder))


def open_unsorted(folder: Path) -> FileSource:
    """Opens the pictures directly in a folder; each has any number of no classes."""
    root = folder.expanduser().absolute()
    keys = _pictures(root)
    return FileSource(
        root,
        keys,
        name=root.name,
        location=str(root),
        kind="labels",
        classes=(),
        targets=np.empty((len(keys), 0), np.float32),
        given=np.zeros(len(keys), np.uint8),
    )


def _pictures(folder: Path) -> list[str]:
    names = (name for name in os.listdir(folder) if not name.startswith("."))
    return sorted((name for name in names if os.path.splitext(name)[1].lower() in EXTENSIONS), key=natural_key)
