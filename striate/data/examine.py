"""One picture looked at closely: what its header says, whether it decodes, and what it can be recognised by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from striate.data import arrays
from striate.data.decode import ImageError, ImageFacts, decode, inspect
from striate.data.duplicates import HASHED, THUMBNAIL, difference_hash
from striate.data.source import ArraySource, Source

TRAITS = ("exif_rotated", "sixteen_bit", "alpha", "palette", "cmyk", "animated", "misnamed")
"""What is worth knowing of a file; ``misnamed``: its name ends like another format's."""

_FORMAT_BY_SUFFIX = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".apng": "PNG", ".webp": "WEBP",
    ".bmp": "BMP", ".dib": "BMP", ".gif": "GIF", ".tif": "TIFF", ".tiff": "TIFF",
}  # fmt: skip


@dataclass(frozen=True)
class Bad:
    """A picture that cannot be read: its position and key, a stable ``reason`` of a word or two, and ``why`` in a sentence."""

    index: int
    key: str
    reason: str
    why: str


@dataclass(frozen=True)
class Examined:
    """A picture that was read in full.

    Attributes:
        index: position in the source.
        format: of the file (``JPEG``, ...), or ``array`` for one of many in one file.
        mode: of the stored colours, in Pillow's words.
        traits: those of ``TRAITS`` that it has.
        height, width: pixels, upright.
        pixels: digest of the decoded RGB pixels and their shape.
        hash: uint64, thumbnail: uint8 [256], see :mod:`striate.data.duplicates`.
    """

    index: int
    format: str
    mode: str
    traits: tuple[str, ...]
    height: int
    width: int
    pixels: bytes
    hash: int
    thumbnail: NDArray[np.uint8]


def examine(source: Source, indices: Sequence[int]) -> list[Examined | Bad]:
    """Reads and decodes samples in full; an unreadable one is an answer, not an exception."""
    if isinstance(source, ArraySource):
        return _examine_arrays(source, indices)
    return [_examine_file(source, index) for index in indices]


def _examine_file(source: Source, index: int) -> Examined | Bad:
    key = source.key(index)
    try:
        data = source.read(index)
        assert isinstance(data, bytes), "a source other than of arrays reads encoded files"
        facts = inspect(data, key)
        picture = decode(data, 3, name=key)
        grey = THUMBNAIL.picture(picture)
        small, thumbnail = HASHED.pixels(grey)[None, :, :, 0], THUMBNAIL.pixels(grey)
    except ImageError as error:
        return Bad(index, key, error.reason, error.what if error.why is None else f"{error.what}: {error.why}")
    height, width, _ = picture.shape
    code, traits = int(difference_hash(small)[0]), _traits(facts, key)
    return Examined(index, facts.format, facts.mode, traits, height, width, _digest(picture), code, thumbnail.reshape(-1))


def _examine_arrays(source: ArraySource, indices: Sequence[int]) -> list[Examined | Bad]:
    pictures = source.images[np.asarray(indices, dtype=np.int64)]
    height, width, channels = pictures.shape[1:]
    grey = arrays.whole(pictures, THUMBNAIL)
    hashes = difference_hash(arrays.pixels(grey, HASHED)[..., 0]).tolist()
    thumbnails = arrays.pixels(grey, THUMBNAIL).reshape(len(pictures), -1)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    traits = ("alpha",) if channels == 4 else ()
    return [
        Examined(index, "array", mode, traits, height, width, _digest(picture), code, thumbnail)
        for index, picture, code, thumbnail in zip(indices, pictures, hashes, thumbnails, strict=True)
    ]


def _digest(picture: NDArray[np.uint8]) -> bytes:
    # SHA-256: processors have instructions for it, and then it takes a third of the time of BLAKE2.
    digest = hashlib.sha256(b"%d %d " % picture.shape[:2])
    digest.update(np.ascontiguousarray(picture).data)
    return digest.digest()[:16]


def _traits(facts: ImageFacts, key: str) -> tuple[str, ...]:
    misnamed = _FORMAT_BY_SUFFIX.get(PurePath(key).suffix.lower(), facts.format) != facts.format
    return tuple(trait for trait in TRAITS if (misnamed if trait == "misnamed" else getattr(facts, trait)))
