"""The labelled images by which an artefact is judged, and those by which it is calibrated."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.data.channels import to_channels
from striate.data.decode import ImageError
from striate.data.formats import open_source
from striate.data.source import SPLITS, Source
from striate.data.split import Split, read_split
from striate.errors import Refused, Undecided
from striate.prediction import Model
from striate.runs import RECIPE_FILE, SPLIT_FILE, Run

Ints = NDArray[np.int64]

_WORDS = {"validation": "validation", "train": "training"}
_OPTIONS = {"validation": "--data", "train": "--calibrate"}


@dataclass(frozen=True)
class LabelledImages:
    """Some samples of a source.

    Attributes:
        index: int64 [N], their positions.
        how: one phrase on which they are: ``the run's 120 validation images``.
    """

    source: Source
    index: Ints
    how: str

    def spread(self, most: int) -> LabelledImages:
        """At most ``most`` of them, at equal distances, so that every class of a sorted folder keeps its share."""
        if len(self.index) <= most:
            return self
        chosen = self.index[np.linspace(0, len(self.index) - 1, most).round().astype(np.int64)]
        return replace(self, index=chosen, how=f"{most:,} of {self.how}")

    def pictures(self, model: Model) -> Iterator[NDArray[np.uint8]]:
        """Each whole picture, as a client would decode it: uint8 [H, W, 3] (4 for RGBA models). Unreadable ones are left out."""
        channels = max(3, model.preprocess.channels)
        plain = replace(model.preprocess, channels=channels, mean=(0.0,), std=(1.0,), scaled_decode=False)
        for i in self.index.tolist():
            with contextlib.suppress(ImageError):
                yield plain.picture(self.source.read(i), self.source.key(i))

    def tensors(self, model: Model) -> NDArray[np.uint8]:
        """Those that can be read, as the model's own preprocessing makes them: uint8 [N, C, h, w]."""
        pictures = (to_channels(picture, model.preprocess.channels) for picture in self.pictures(model))
        return np.stack([model.preprocess.pixels(picture) for picture in pictures]).transpose(0, 3, 1, 2)


def gate_images(model: Model, data: str | Path | Source | None) -> LabelledImages:
    """The images of the gate: never those that the model was trained on, where that is known.

    Args:
        model: a run's knows its validation split.
        data: others: their ``val``, else their ``test`` split, else all of them; None: the run's.

    Raises:
        Undecided: neither are there any.
        Refused: the run's data have changed.
    """
    return _images(model, data, "validation", ("val", "test"))


def calibration_images(model: Model, data: str | Path | Source | None) -> LabelledImages:
    """The images that a quantiser looks at: ``train`` of the data given, else all of them; None: the run's training images.

    Raises as :func:`gate_images`.
    """
    return _images(model, data, "train", ("train",))


def _images(model: Model, data: str | Path | Source | None, part: str, splits: tuple[str, ...]) -> LabelledImages:
    if data is None:
        run, source = _run_of(model, part)
        index = getattr(run, part)
        found = LabelledImages(source, index, f"the run's {len(index):,} {_WORDS[part]} images")
    else:
        found = _of_data(model, open_source(data, to_learn=False), part, splits)
    if not len(found.index):
        raise Undecided(f"No {_WORDS[part]} images", where=found.source.location, fix=f"name others with {_OPTIONS[part]}")
    return found


def _of_data(model: Model, source: Source, part: str, splits: tuple[str, ...]) -> LabelledImages:
    recorded = _recorded(model, source)
    if recorded is not None:
        index = getattr(recorded, part)
        return LabelledImages(source, index, f"the {len(index):,} {_WORDS[part]} images that the run took from {source.name}")
    for name in splits:
        index = np.flatnonzero(source.given == SPLITS.index(name))
        if len(index):
            return LabelledImages(source, index, f"the {len(index):,} images in {name} of {source.name}")
    return LabelledImages(source, np.arange(len(source)), f"the {len(source):,} images of {source.name}")


def _run_of(model: Model, part: str) -> tuple[Split, Source]:
    folder = model.path.parent if model.path is not None else None
    if folder is None or not (folder / RECIPE_FILE).exists() or not (folder / SPLIT_FILE).exists():
        raise Undecided(
            f"No images to {'judge the artefact' if part == 'validation' else 'calibrate'} by",
            where=model.path,
            why="the model does not lie in the folder of a run, so its own images are not known",
            fix=f"name labelled images: {_OPTIONS[part]} FOLDER",
        )
    recorded: dict[str, Any] = Run(folder).record["data"]
    source = open_source(recorded["location"])
    if source.fingerprint() != recorded["fingerprint"]:
        why = "a file was added, removed, renamed or changed since"
        raise Refused("The run's data are not what they were", where=source.location, why=why, fix="name others with --data")
    return read_split(folder / SPLIT_FILE, source), source


def _recorded(model: Model, source: Source) -> Split | None:
    """The split of the run that the model lies in, where these are its data."""
    beside = model.path.parent / SPLIT_FILE if model.path is not None else None
    trained_on = (model.info.get("data") or {}).get("fingerprint")
    if beside is None or not beside.exists() or trained_on != source.fingerprint():
        return None
    return read_split(beside, source)
