"""So many images a class to learn from, drawn by a seed, and the same held-out images for every draw."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from striate.data.formats import open_source
from striate.data.source import SPLITS, ArraySource, Source
from striate.data.split import Split
from striate.errors import Refused, UsageError
from striate.files import make_folder, replacing, write_text

TRAIN, VALIDATION, TEST = (SPLITS.index(name) for name in ("train", "val", "test"))
LEAST = 2
"""Images a class: one to learn from and one to validate with."""


def pool(source: Source, whole: Split) -> NDArray[np.int64]:
    """Positions that may be drawn: what trains; where validation would be cut from it, that too."""
    own = len(np.unique(source.given)) > 1 and (source.given[whole.validation] == VALIDATION).any()
    return whole.train if own else np.union1d(whole.train, whole.validation)


def refuse_too_many(source: Source, whole: Split, images: int | None) -> None:
    """Raises ``UsageError`` where not every class has so many images to draw from."""
    if images is None:
        return
    if images < LEAST:
        raise UsageError(f"{images} images a class are too few", why="one learns and one validates", fix=f"from {LEAST} on")
    counts = class_counts(source, whole)
    least = int(counts.argmin())
    if counts[least] < images:
        raise UsageError(
            f"{images} images a class are more than there are",
            why=f"{source.classes[least]!r} has {counts[least]} to learn from",
            fix=f"--images with numbers up to {counts[least]}, and all",
        )


def class_counts(source: Source, whole: Split) -> NDArray[np.int64]:
    """Images of each class in the pool, int64 [K]."""
    return np.bincount(source.targets[pool(source, whole)], minlength=len(source.classes))


def write_draw(folder: Path, source: Source, whole: Split, images: int | None, seed: int) -> Path:
    """The draw as data of its own: a table of paths, or an archive where the images have no files.

    Of one seed, fewer images are among more. Validation is cut from the drawn ones when the draw is trained on; with all
    images, those that the data give for it validate.

    Returns:
        The file; what is there already is taken as it is.

    Raises:
        Refused: class names that a table does not keep.
        Failed: the disk refused.
    """
    chosen = dict.fromkeys(whole.held_out.tolist(), TEST)
    drawn = pool(source, whole)
    if images is None:
        chosen |= dict.fromkeys(np.setdiff1d(whole.validation, drawn).tolist(), VALIDATION)
    else:
        drawn = np.concatenate([_of_class(source, drawn, label, seed)[:images] for label in range(len(source.classes))])
    chosen |= dict.fromkeys(drawn.tolist(), TRAIN)
    make_folder(folder)
    stem = folder / (f"{images}-{seed}" if images else "all")
    path = stem.with_suffix(".npz" if isinstance(source, ArraySource) else ".csv")
    if not path.exists():
        (_write_arrays if isinstance(source, ArraySource) else _write_table)(path, source, chosen)
        _check(path, source)
    return path


def _of_class(source: Source, positions: NDArray[np.int64], label: int, seed: int) -> NDArray[np.int64]:
    own = positions[source.targets[positions] == label]
    return np.random.default_rng([seed, label]).permutation(own)


def _write_table(path: Path, source: Source, chosen: dict[int, int]) -> None:
    lines = csv.writer(text := io.StringIO(), lineterminator="\n")
    lines.writerow(("path", "label", "split"))
    for position, part in chosen.items():
        lines.writerow((Path(str(source.path(position))).absolute(), source.classes[source.targets[position]], SPLITS[part]))
    write_text(path, text.getvalue())


def _write_arrays(path: Path, source: Source, chosen: dict[int, int]) -> None:
    assert isinstance(source, ArraySource)
    positions, parts = np.array(list(chosen)), np.array(list(chosen.values()))
    arrays: dict[str, NDArray[np.generic]] = {"classes": np.array(source.classes)}
    for part in np.unique(parts).tolist():
        own = positions[parts == part]
        arrays |= {f"{SPLITS[part]}_images": source.images[own], f"{SPLITS[part]}_labels": source.targets[own]}
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def _check(path: Path, source: Source) -> None:
    """A table says a class by its name alone: one that reads as several, or as a number, would become another thing."""
    again = open_source(path)
    if again.kind != "label" or sorted(again.classes) != sorted(source.classes):
        path.unlink()
        raise Refused(
            "The names of the classes do not survive in a table",
            where=source.location,
            why="a bar divides classes, and numbers that are not whole are no names",
            fix="rename the classes",
        )
