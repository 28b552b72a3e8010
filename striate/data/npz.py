"""NumPy archives: arrays of pictures and labels under the names that Keras, MedMNIST and others give them.

``train_images``/``train_labels`` (also ``x_train``/``y_train``), the same with ``val`` and ``test``, or ``images``/``labels``
(also ``x``/``y``); and, if there, ``classes``: the names. Pictures are uint8 [N, H, W], [N, H, W, C] or [N, C, H, W]. Labels are
whole numbers or names [N] or [N, 1] (one class each), zeros and ones [N, K] (several classes each), or floating point [N] (a
number each). Archives with pickled objects are refused.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.data.source import SPLITS, ArraySource, Kind, natural_key
from striate.errors import Refused, UsageError


def open_npz(path: str) -> ArraySource:
    """Opens ``npz:PATH``."""
    file = Path(path).expanduser().absolute()
    return read_npz(file, name=file.stem, location=f"npz:{file}")


def read_npz(path: Path, *, name: str, location: str) -> ArraySource:
    """Reads an archive whole.

    Raises:
        UsageError: no such file, or no arrays by the names above, or not of the kinds above.
        Refused: the file is damaged, or its arrays contradict one another.
    """
    try:
        # Never allow_pickle: unpickling runs whatever the file says.
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except FileNotFoundError as error:
        raise UsageError("there is no such file", where=path) from error
    except IsADirectoryError as error:
        raise UsageError("this is a folder, not an .npz file", where=path) from error
    except (OSError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error, MemoryError, ValueError) as error:
        if "pickle" in str(error).lower():
            fix = "save plain arrays: np.savez(file, images=..., labels=...) without dtype=object"
            raise UsageError("the archive holds pickled objects", where=path, why="opening those runs code", fix=fix) from error
        raise Refused("the archive cannot be read", where=path, why=str(error), fix="save or download it again") from error
    return _from_arrays(arrays, path, name, location)


def _from_arrays(arrays: Mapping[str, NDArray[Any]], path: Path, name: str, location: str) -> ArraySource:
    parts = [(split, *pair) for split in SPLITS if (pair := _pair(arrays, split, path))]
    if not parts:
        have = ", ".join(f"{key} {list(value.shape)}" for key, value in arrays.items()) or "nothing"
        raise UsageError(
            "no pictures in the archive",
            where=path,
            why=f"it holds {have}",
            fix="name the arrays images and labels, or train_images, train_labels, test_images, test_labels",
        )
    images = [_pictures(pictures, split, path) for split, pictures, _ in parts]
    if len({part.shape[1:] for part in images}) > 1:
        shapes = ", ".join(f"{split} {list(part.shape)}" for (split, _, _), part in zip(parts, images, strict=True))
        raise Refused("the splits hold pictures of different sizes", where=path, why=shapes, fix="resize them to one size")
    for (split, _, labels), part in zip(parts, images, strict=True):
        if len(labels) != len(part):
            raise Refused(f"{len(part)} pictures but {len(labels)} labels in split {split!r}", where=path)
    if len({labels.shape[1:] for _, _, labels in parts}) > 1:
        raise Refused("the labels of the splits differ in shape", where=path)
    if sum(map(len, images)) == 0:
        raise UsageError("the archive holds no pictures", where=path, why="its arrays have length 0")
    kind, classes, targets = _targets(np.concatenate([labels for _, _, labels in parts]), arrays.get("classes"), path)
    return ArraySource(
        np.concatenate(images) if len(images) > 1 else images[0],
        name=name,
        location=location,
        kind=kind,
        classes=classes,
        targets=targets,
        given=np.concatenate(
            [np.full(len(part), SPLITS.index(split), np.uint8) for (split, _, _), part in zip(parts, images, strict=True)]
        ),
    )


def _pair(arrays: Mapping[str, NDArray[Any]], split: str, path: Path) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Pictures and labels of a split, under the first pair of names that is there."""
    names = (
        [(f"{split}_images", f"{split}_labels"), (f"x_{split}", f"y_{split}")] if split else [("images", "labels"), ("x", "y")]
    )
    for images, labels in names:
        if images in arrays:
            if labels not in arrays:
                raise UsageError(f"{images!r} has no labels", where=path, fix=f"add an array {labels!r}")
            array = arrays[labels]
            return arrays[images], array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    return None


def _pictures(images: NDArray[Any], split: str, path: Path) -> NDArray[np.uint8]:
    """uint8 [N, H, W, C] from the layouts that occur."""
    what = f"the pictures{f' of {split}' if split else ''} are {images.dtype} {list(images.shape)}"
    if images.dtype != np.uint8:
        fix = (
            "save (images * 255).round().astype(numpy.uint8)"
            if images.dtype.kind == "f"
            else "bring them to 0..255, and save .astype(numpy.uint8)"
        )
        raise UsageError(what, where=path, why="uint8, 0..255, is read", fix=fix)
    if images.ndim == 3:
        return images[..., None]
    if images.ndim == 4 and images.shape[3] in (1, 3, 4):
        return images
    if images.ndim == 4 and images.shape[1] in (1, 3, 4):
        return np.moveaxis(images, 1, 3)
    raise UsageError(what, where=path, why="[N, H, W], [N, H, W, C] or [N, C, H, W] with C of 1, 3 or 4 is read")


def _targets(labels: NDArray[Any], names: NDArray[Any] | None, path: Path) -> tuple[Kind, Sequence[str], NDArray[Any]]:
    """Kind, class names and targets of all splits' labels together."""
    given = None if names is None else [str(name) for name in names.ravel()]
    if given is not None and len(set(given)) < len(given):
        raise Refused("a name occurs twice in 'classes'", where=path)
    if labels.ndim == 2 and labels.dtype.kind in "iufb":
        if not np.isin(labels, (0, 1)).all():
            raise UsageError(
                f"labels of shape {list(labels.shape)} other than 0 and 1", where=path, why="a column a class says yes or no"
            )
        if given is not None and len(given) != labels.shape[1]:
            raise Refused(f"{len(given)} names in 'classes' but {labels.shape[1]} columns of labels", where=path)
        return "labels", given or [str(i) for i in range(labels.shape[1])], labels.astype(np.float32)
    if labels.ndim == 1 and labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise Refused("labels that are infinite, or not numbers", where=path)
        return "value", (), labels.astype(np.float32)
    if labels.ndim != 1 or labels.dtype.kind not in "iubUS":
        raise UsageError(
            f"labels are {labels.dtype} {list(labels.shape)}", where=path, why="[N] or [N, K] numbers, or [N] names, are read"
        )
    if labels.dtype.kind in "US":
        text = labels.astype(str)
        found = sorted({str(label) for label in np.unique(text)}, key=natural_key)
        if given is not None and (unknown := sorted(set(found) - set(given))):
            raise Refused(f"labels that 'classes' does not name: {', '.join(unknown[:5])}", where=path)
        number = {label: i for i, label in enumerate(given or found)}
        return "label", given or found, np.array([number[label] for label in text], dtype=np.int64)
    numbers = labels.astype(np.int64)
    if given is not None:
        if numbers.min() < 0 or numbers.max() >= len(given):
            raise Refused(f"labels from {numbers.min()} to {numbers.max()} but {len(given)} names in 'classes'", where=path)
        return "label", given, numbers
    values, positions = np.unique(numbers, return_inverse=True)
    return "label", [str(value) for value in values], positions.astype(np.int64)
