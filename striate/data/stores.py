"""Where a loader's pixels come from: an array in memory, or files through a cache. Both give whole batches."""

from __future__ import annotations

import math
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from striate.data import arrays
from striate.data.cache import PixelCache, stamp_of
from striate.data.decode import ImageError, decode
from striate.data.prefetch import Stopped
from striate.data.preprocess import Preprocess
from striate.data.source import ArraySource, Source

Picture = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]

CACHED_SIDE = 1.15
"""Shorter side of a picture kept whole for augmented training, as a multiple of the training size."""


class Store(ABC):
    """Pictures by position in the source."""

    @abstractmethod
    def take(self, positions: Positions, stop: threading.Event) -> dict[str, Tensor]:
        """``image`` uint8 [N, C, H, W]; for whole pictures, each in the top left corner of its canvas, ``extent`` [N, 2].

        Raises:
            ImageError: a file cannot be read.
            Stopped: ``stop`` was set.
        """


class ArrayStore(Store):
    """Slices of one tensor.

    Args:
        source: in memory.
        positions: the only ones that will be asked for; others are not even converted.
        preprocess: how pixels are made.
        whole: pictures before the resize rather than pixels after it.
    """

    def __init__(self, source: ArraySource, positions: Positions, preprocess: Preprocess, whole: bool) -> None:
        shape = source.images.shape[1:3]
        resized = preprocess.resized(*shape) != shape or preprocess.size != shape
        self._whole = whole and resized
        images = source.images
        self._rows: Tensor | None = None
        if images.shape[3] != preprocess.channels or (resized and not whole):
            # Only a copy is worth renumbering for.
            rows = np.full(len(source), -1, dtype=np.int64)
            rows[positions] = np.arange(len(positions))
            self._rows = torch.from_numpy(rows)
            images = arrays.whole(images[positions], preprocess)
            images = images if whole else arrays.pixels(images, preprocess)
        self._images = tensor(images)

    def take(self, positions: Positions, stop: threading.Event) -> dict[str, Tensor]:
        index = torch.from_numpy(positions)
        image = self._images.index_select(0, index if self._rows is None else self._rows[index]).permute(0, 3, 1, 2)
        if not self._whole:
            return {"image": image}
        return {"image": image, "extent": torch.tensor(image.shape[2:]).expand(len(image), 2)}


class FileStore(Store):
    """Files, decoded when they are first asked for and then read from the cache.

    Args:
        source: of files.
        prepare: (encoded file, name) -> uint8 [H, W, C], of one shape unless ``whole``.
        whole: pictures differ in size, and are put into canvases.
        cache: None: decode every time.
    """

    def __init__(self, source: Source, prepare: Callable[[Any, str], Picture], whole: bool, cache: PixelCache | None) -> None:
        self._source, self._prepare, self._whole, self.cache = source, prepare, whole, cache
        self._records = np.full(len(source), -1, dtype=np.int32)

    def take(self, positions: Positions, stop: threading.Event) -> dict[str, Tensor]:
        if not self._whole and self.cache is not None and (self._records[positions] >= 0).all():
            images = self.cache.gather(self._records[positions].astype(np.int64))
            if images is not None:
                return {"image": torch.from_numpy(images).permute(0, 3, 1, 2)}
        pictures = []
        for position in positions.tolist():
            if stop.is_set():
                raise Stopped
            pictures.append(self.picture(position))
        if not self._whole:
            return {"image": torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)}
        extent = np.array([picture.shape[:2] for picture in pictures], dtype=np.int64)
        canvas = np.zeros((len(pictures), *extent.max(axis=0), pictures[0].shape[2]), dtype=np.uint8)
        for place, picture in zip(canvas, pictures, strict=True):
            place[: picture.shape[0], : picture.shape[1]] = picture
        return {"image": torch.from_numpy(canvas).permute(0, 3, 1, 2), "extent": torch.from_numpy(extent)}

    def picture(self, position: int) -> Picture:
        """One picture [H, W, C], from the cache or else decoded and put there.

        Raises:
            ImageError: the file cannot be read.
        """
        if self.cache is None:
            return self._decode(position)
        if self.has(position):
            kept = self.cache.get(int(self._records[position]))
            if kept is not None:
                return kept
        stamp = self._stamp(position)  # before the file is read, as in fill()
        picture = self._decode(position)
        self._records[position] = self.cache.put(stamp, picture)
        return picture

    def fill(self, positions: Positions, stop: threading.Event) -> dict[int, str]:
        """Decodes what the cache does not hold, and puts it there: reasons by position of what cannot be read."""
        failed: dict[int, str] = {}
        fresh: dict[int, tuple[int, Picture]] = {}
        for position in positions.tolist():
            if stop.is_set():
                break
            try:
                if not self.has(position):
                    stamp = self._stamp(position)  # before the file is read, lest a change in between pass for the old content
                    fresh[position] = stamp, self._decode(position)
            except ImageError as error:
                failed[position] = error.reason
        if self.cache is not None and fresh:
            stamps, pictures = zip(*fresh.values(), strict=True)
            self._records[list(fresh)] = self.cache.put_all(stamps, pictures)
        return failed

    def has(self, position: int) -> bool:
        """Whether the cache holds the picture as it now is on disk, as far as its record says."""
        if self.cache is None:
            return False
        if self._records[position] < 0:
            self._records[position] = self.cache.find(np.array([self._stamp(position)], dtype=np.uint64))[0]
        return bool(self._records[position] >= 0)

    def _decode(self, position: int) -> Picture:
        return self._prepare(self._source.read(position), self._source.key(position))

    def _stamp(self, position: int) -> int:
        return stamp_of(self._source.stamp(position))


def tensor(array: npt.NDArray[Any]) -> Tensor:
    """A view of an array that nobody writes to, also where NumPy holds it read-only (which PyTorch warns of)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def whole_picture(preprocess: Preprocess) -> Callable[[Any, str], Picture]:
    """What augmented training reads: the picture in the right channels, made no larger than training needs.

    Its shorter side becomes ``ceil(1.15 x training size)`` (or ``preprocess.resize`` where that is more) and is never
    enlarged; a JPEG is decoded at 1/2, 1/4 or 1/8 where that suffices.
    """
    side = max(math.ceil(CACHED_SIDE * max(preprocess.size)), preprocess.resize or 0)

    def prepare(data: bytes | Picture, name: str) -> Picture:
        if isinstance(data, np.ndarray):
            picture = preprocess.picture(data, name)
        else:
            picture = decode(
                data,
                preprocess.channels,
                name=name,
                alpha_color=preprocess.alpha_color,
                exif=preprocess.exif,
                max_pixels=preprocess.max_pixels,
                min_side=side,
            )
        height, width = picture.shape[:2]
        if min(height, width) <= side:
            return picture
        smaller = (side, round(width * side / height)) if height <= width else (round(height * side / width), side)
        return _shrunk(picture, smaller, preprocess.interpolation)

    return prepare


def _shrunk(picture: Picture, size: tuple[int, int], interpolation: str) -> Picture:
    """uint8 [H, W, C] -> [h, w, C]: Pillow's filters by PyTorch, 2 to 3 times as fast, a level off here and there,
    for training alone. What validates or predicts is made by ``Preprocess``.
    """
    image = tensor(picture)[None].permute(0, 3, 1, 2)  # this very order: else the strides are not seen to be channels_last
    return F.interpolate(image, size=size, mode=interpolation, antialias=True)[0].permute(1, 2, 0).numpy()
