"""Small pictures as ``data:`` URIs, the most wanted first, until a budget of bytes is spent."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from striate.data.decode import decode
from striate.data.formats import open_source
from striate.data.source import Source
from striate.errors import StriateError
from striate.report.run_folder import RunFolder

SIDE = 96
"""Longer side of a thumbnail in pixels; smaller pictures stay as they are."""
PIXEL_ART = 48
"""Up to this side a picture is shown with visible pixels, and stored without loss."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture for a page: ``uri`` starts with ``data:image/``; ``pixelated``: enlarge it with visible pixels."""

    uri: str
    pixelated: bool


@dataclass(frozen=True)
class Pictures:
    """Where thumbnails come from: ``source``, or the reason why there is none."""

    source: Source | None
    absent: str

    def read(self, index: int, key: str) -> bytes | npt.NDArray[np.uint8] | None:
        """One sample as its source gives it; None where its file is gone, or another one by now."""
        if self.source is None or not 0 <= index < len(self.source) or self.source.key(index) != key:
            return None
        try:
            return self.source.read(index)
        except (StriateError, OSError):
            return None

    def take(self, index: int, key: str) -> Thumbnail | None:
        """The thumbnail of one sample; None where it cannot be read, or is damaged."""
        data = self.read(index, key)
        if data is None:
            return None
        try:
            picture = decode(data, channels=3, name=key, min_side=SIDE) if isinstance(data, bytes) else data
        except (StriateError, OSError):
            return None
        return encode(picture)


def open_pictures(run: RunFolder, source: Source | str | Path | None) -> Pictures:
    """Opens the data of a run again.

    Args:
        source: the data, or where they are now; None: where they were when the run was made.
    """
    location = source if source is not None else run.info["data"]["location"]
    try:
        opened = open_source(location, to_learn=False, download=False)
    except (StriateError, OSError) as error:
        why = str(error).splitlines()[0]
        fix = f"Put them back and run: striate report {run.path}"
        return Pictures(None, f"The images are not where they were ({why}), so none are shown. {fix}")
    if opened.fingerprint() != run.info["data"]["fingerprint"]:
        return Pictures(None, "The data have changed since this run, so no images are shown.")
    return Pictures(opened, "")


def encode(picture: npt.NDArray[np.uint8]) -> Thumbnail:
    """A picture uint8 [H, W, C], C of 1, 3 or 4, as PNG where it is tiny and as JPEG where it is not."""
    image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
    pixelated = max(image.size) <= PIXEL_ART
    file = io.BytesIO()
    if pixelated:
        image.save(file, "PNG", optimize=True)
    else:
        image = image.convert("RGB") if image.mode == "RGBA" else image
        image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
        image.save(file, "JPEG", quality=80, optimize=True)
    text = base64.b64encode(file.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/{'png' if pixelated else 'jpeg'};base64,{text}", pixelated)


def collect(pictures: Pictures, run: RunFolder, wanted: Iterable[int], budget: int) -> dict[int, Thumbnail]:
    """Thumbnails of positions of the run's predictions, in order of wish, within ``budget`` bytes of page."""
    taken: dict[int, Thumbnail] = {}
    predictions = run.predictions
    if predictions is None or pictures.source is None:
        return taken
    for position in wanted:
        if position in taken:
            continue
        thumbnail = pictures.take(int(predictions.index[position]), str(predictions.keys[position]))
        if thumbnail is None:
            continue
        budget -= len(thumbnail.uri)
        if budget < 0:
            break
        taken[position] = thumbnail
    return taken
