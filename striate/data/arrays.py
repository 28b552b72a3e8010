"""Many pictures of one size at once: the same pixels that ``Preprocess`` makes one by one, without a loop over them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from striate.data.preprocess import Preprocess, centred

Pictures = npt.NDArray[np.uint8]

# Pixels of a stack handed to Pillow at once, a side of which may have at most 2**31 - 1.
_STACK_PIXELS = 1 << 22


def whole(images: Pictures, preprocess: Preprocess) -> Pictures:
    """``Preprocess.picture`` for uint8 [N, H, W, C]: [N, H, W, channels], and the very array where C is right already."""
    num, height, width, channels = images.shape
    if channels == preprocess.channels:
        return images
    return preprocess.picture(images.reshape(num * height, width, channels)).reshape(num, height, width, -1)


def pixels(images: Pictures, preprocess: Preprocess) -> Pictures:
    """``Preprocess.pixels`` for uint8 [N, H, W, channels]: [N, h, w, channels], and the very array where nothing is resized.

    Pillow's resize is two passes, each rounded to uint8, and each skips an axis that keeps its length. So pictures are
    stacked along the other axis and resized together.
    """
    num, height, width, _ = images.shape
    resized = preprocess.resized(height, width)
    if resized != (height, width):
        step = max(1, _STACK_PIXELS // (max(height, resized[0]) * max(width, resized[1])))
        parts = [_resize(images[start : start + step], resized, preprocess) for start in range(0, num, step)]
        images = np.concatenate(parts) if parts else np.empty((0, *resized, preprocess.channels), dtype=np.uint8)
    return centred(images, preprocess.size)


def _resize(images: Pictures, resized: tuple[int, int], preprocess: Preprocess) -> Pictures:
    num, height, _, channels = images.shape
    new_height, new_width = resized
    outright = replace(preprocess, resize=None, max_pixels=2 * _STACK_PIXELS + new_height * new_width)
    rows = replace(outright, size=(num * height, new_width)).pixels(images.reshape(num * height, -1, channels))
    # [N, H, w, C] -> [H, N * w, C], so that a column of the stack is a column of one picture.
    columns = rows.reshape(num, height, new_width, channels).swapaxes(0, 1).reshape(height, num * new_width, channels)
    columns = replace(outright, size=(new_height, num * new_width)).pixels(columns)
    return columns.reshape(new_height, num, new_width, channels).swapaxes(0, 1)
