"""Windows of pictures, scaled to the training size: drawn at random, and cut out of bytes as bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


def draw(height: Floats, width: Floats, scale: tuple[float, float], ratio: tuple[float, float], draws: Floats) -> Floats:
    """Crop-and-scale's windows [N, 4] (left, top, width, height) in pictures of ``height`` and ``width`` [N].

    Of as many tries as ``draws`` [N, 2 + 2 * tries] allow, the first that lies inside; else the largest centred window
    within ``ratio``.
    """
    tries = (draws.shape[1] - 2) // 2
    area = (height * width)[:, None] * (scale[0] + draws[:, 2 : 2 + tries] * (scale[1] - scale[0]))
    shape = np.exp(np.log(ratio[0]) + draws[:, 2 + tries :] * np.log(ratio[1] / ratio[0]))
    widths, heights = np.sqrt(area * shape), np.sqrt(area / shape)
    fits = (widths <= width[:, None]) & (heights <= height[:, None])
    chosen = np.arange(len(height)), fits.argmax(axis=1)
    fitted = fits.any(axis=1)
    own = np.clip(width / height, *ratio)
    cut_width = np.where(fitted, widths[chosen], np.minimum(width, height * own))
    cut_height = np.where(fitted, heights[chosen], np.minimum(height, width / own))
    place = np.where(fitted[:, None], draws[:, :2], 0.5)
    return np.stack((place[:, 0] * (width - cut_width), place[:, 1] * (height - cut_height), cut_width, cut_height), axis=1)


def cut(images: Tensor, window: Floats, size: tuple[int, int], flip_x: Array, flip_y: Array) -> Tensor:
    """Windows scaled to ``size`` by the triangle filter that Pillow has (its BILINEAR), then mirrored: uint8 [N, C, *size].

    Each image is computed from its own picture alone. Windows are rounded to whole pixels.

    Args:
        images: uint8 [N, C, H, W] on the CPU.
        window: [N, 4] left, top, width, height, inside the picture.
        flip_x, flip_y: [N] true to mirror left-right, top-bottom.
    """
    stop = np.maximum(np.rint(window[:, :2] + window[:, 2:]), 1).astype(np.int64)
    start = np.minimum(np.rint(window[:, :2]).astype(np.int64), stop - 1)
    result = torch.empty((len(images), *size, images.shape[1]), dtype=torch.uint8).permute(0, 3, 1, 2)
    for place, image, (left, top), (right, bottom), mirrored, upended in zip(
        result, images, start.tolist(), stop.tolist(), flip_x, flip_y, strict=True
    ):
        # The resize is several times as fast on pixels whose channels lie together.
        piece = image[None, :, top:bottom, left:right].contiguous(memory_format=torch.channels_last)
        scaled = F.interpolate(piece, size=size, mode="bilinear", antialias=True)[0]
        axes = [axis for axis, wanted in ((2, mirrored), (1, upended)) if wanted]
        place.copy_(scaled.flip(axes) if axes else scaled)
    return result
