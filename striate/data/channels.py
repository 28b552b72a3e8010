"""Pixels of any kind to 1, 3 or 4 channels of 8 bits: one definition of grey, of transparency and of depth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Color = tuple[int, int, int]

_STRIP_PIXELS = 2**20


def to_channels(picture: NDArray[np.uint8], channels: int, alpha_color: Color = (255, 255, 255)) -> NDArray[np.uint8]:
    """uint8 [H, W] or [H, W, 1, 3 or 4] -> uint8 [H, W, channels].

    Grey is repeated to RGB; RGB becomes grey by Pillow's luma (ITU-R 601-2); transparency is composited on ``alpha_color``
    unless 4 channels are asked for, which are opaque where there was none.
    """
    if picture.ndim == 2:
        picture = picture[:, :, None]
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (1, 3, 4):
        raise ValueError(f"a picture is uint8 [H, W, 1, 3 or 4] but this is {picture.dtype} {list(picture.shape)}")
    if picture.shape[2] == channels:
        return picture
    if picture.shape[2] == 1 and channels == 3:
        return np.repeat(picture, 3, axis=2)
    height, width = picture.shape[:2]

    def strip(top: int, bottom: int) -> Image.Image:
        part = np.ascontiguousarray(picture[top:bottom])
        return Image.fromarray(part[:, :, 0] if part.shape[2] == 1 else part)

    return _by_strips(strip, height, width, channels, alpha_color, alpha=picture.shape[2] == 4)


def pillow_to_array(image: Image.Image, channels: int, alpha_color: Color, shift: int) -> NDArray[np.uint8]:
    """A loaded Pillow image of any mode -> uint8 [H, W, channels]; ``shift`` drops the low bits of ``I;16`` modes."""
    width, height = image.size
    to_eight = _depth(image, shift)
    alpha = image.has_transparency_data

    def strip(top: int, bottom: int) -> Image.Image:
        part = image if (top, bottom) == (0, height) else image.crop((0, top, width, bottom))
        return part if to_eight is None else to_eight(part)

    return _by_strips(strip, height, width, channels, alpha_color, alpha)


def _by_strips(
    strip: Callable[[int, int], Image.Image], height: int, width: int, channels: int, alpha_color: Color, alpha: bool
) -> NDArray[np.uint8]:
    # In strips, for Pillow's conversions each hold a copy at 4 bytes a pixel and its tobytes() two more.
    result = np.empty((height, width, channels), dtype=np.uint8)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        result[top:bottom] = np.asarray(_convert(strip(top, bottom), channels, alpha_color, alpha)).reshape(-1, width, channels)
    return result


def _convert(part: Image.Image, channels: int, alpha_color: Color, alpha: bool) -> Image.Image:
    if channels == 4:
        return part if part.mode == "RGBA" else part.convert("RGBA")
    if alpha:
        part = part if part.mode == "RGBA" else part.convert("RGBA")
        opacity = part.getchannel("A")
        if opacity.getextrema() != (255, 255):
            ground = Image.new("RGB", part.size, alpha_color)
            ground.paste(part, mask=opacity)  # exact, at twice the speed of alpha_composite
            part = ground
    if channels == 3:
        return part if part.mode == "RGB" else part.convert("RGB")
    # By way of RGB, for Pillow's direct conversions to grey round in other ways.
    return part.convert("L") if part.mode in ("1", "L") else part.convert("RGB").convert("L")


def _depth(image: Image.Image, shift: int) -> Callable[[Image.Image], Image.Image] | None:
    """What brings a strip of a mode with more than 8 bits to mode ``L`` or ``LA``; None for the others."""
    if image.mode.startswith("I;16"):
        transparent = image.info.get("transparency")

        # Dropping low bits is exact for both ways in which 8 bits are widened to 16: x * 257 and x * 256.
        def sixteen(part: Image.Image) -> Image.Image:
            values = np.asarray(part)
            grey = Image.fromarray((values >> shift).astype(np.uint8))
            if not isinstance(transparent, int):
                return grey
            return Image.merge("LA", (grey, Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))))

        return sixteen
    if image.mode not in ("I", "F"):
        return None
    low, high = image.getextrema()
    limits = (255, 65535, 2**31 - 1) if image.mode == "I" else (1, 255, 65535)
    limit = next((x for x in limits if low >= 0 and high <= x), None)  # type: ignore[operator]
    if limit is None:
        raise PixelRange(f"numbers from {low} to {high}: there is no telling which is black and which is white")
    factor = 255 / limit

    def wide(part: Image.Image) -> Image.Image:
        values = np.asarray(part)
        if not np.isfinite(values).all():
            raise PixelRange("numbers that are infinite, or not numbers")
        return Image.fromarray(np.floor(values * factor + 0.5).astype(np.uint8))

    return wide


class PixelRange(ValueError):
    """Numbers in a picture that have no place on 0..255."""
