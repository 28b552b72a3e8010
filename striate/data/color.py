"""Changing values where they stand: brightness, contrast, saturation and erased rectangles, for a batch at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]

# ITU-R BT.601, as Pillow's conversion to "L".
_LUMA = (0.299, 0.587, 0.114)

ERASED_AREA = (0.02, 0.33)
"""Smallest and largest erased share of the image's area (Zhong et al. 2017, table 1's setting)."""
ERASED_RATIO = (0.3, 3.3)
"""Smallest and largest height / width of the erased rectangle."""


def adjust(images: Tensor, brightness: Array, contrast: Array, saturation: Array) -> Tensor:
    """Factors [N] on the values, on their distances from the image's mean grey, and on those from each pixel's own grey.

    The three are linear and clamped to 0..255 once, at the end, so that their order makes no difference; factors of 1
    give back the very values. ``images`` is float32 [N, C, H, W] on 0..255; grey is BT.601 luma for three channels and
    the mean of the channels otherwise.
    """
    channels = images.shape[1]
    luma = images.new_tensor(_LUMA if channels == 3 else [1 / channels] * channels).view(1, -1, 1, 1)
    grey = (images * luma).sum(1, keepdim=True) if channels > 1 else images
    mean = grey.mean((2, 3), keepdim=True)
    own, shared, middle = (
        torch.from_numpy(factor.astype(np.float32)).to(images.device).view(-1, 1, 1, 1)
        for factor in (brightness * contrast * saturation, brightness * contrast * (1 - saturation), brightness * (1 - contrast))
    )
    return torch.addcmul(grey * shared + mean * middle, images, own).clamp_(0, 255)


def erase(images: Tensor, chosen: Array, draws: Array) -> Tensor:
    """Random erasing: in the ``chosen`` images one rectangle becomes one random colour.

    Args:
        images: float32 [N, C, H, W] on 0..255.
        chosen: bool [N].
        draws: even numbers [N, 4 + C]: area, ratio, top, left, and the colour of each channel.
    """
    height, width = images.shape[2:]
    area = ERASED_AREA[0] + draws[:, 0] * (ERASED_AREA[1] - ERASED_AREA[0])
    ratio = np.exp(np.log(ERASED_RATIO[0]) + draws[:, 1] * np.log(ERASED_RATIO[1] / ERASED_RATIO[0]))
    heights = np.minimum(np.rint(np.sqrt(area * height * width * ratio)), height)
    widths = np.minimum(np.rint(np.sqrt(area * height * width / ratio)), width)
    top, left = np.floor(draws[:, 2] * (height - heights + 1)), np.floor(draws[:, 3] * (width - widths + 1))
    inside = rectangles((height, width), top, left, heights, widths) & chosen[:, None, None]
    colors = torch.from_numpy((draws[:, 4:] * 255).astype(np.float32)).to(images.device)
    return torch.where(torch.from_numpy(inside[:, None]).to(images.device), colors[:, :, None, None], images)


def rectangles(size: tuple[int, int], top: Array, left: Array, heights: Array, widths: Array) -> npt.NDArray[np.bool_]:
    """One rectangle an image as bool [N, *size], clipped to it; places and sides [N] in whole pixels."""
    rows, columns = np.arange(size[0]), np.arange(size[1])
    within_rows = (rows >= top[:, None]) & (rows < (top + heights)[:, None])
    within_columns = (columns >= left[:, None]) & (columns < (left + widths)[:, None])
    return within_rows[:, :, None] & within_columns[:, None, :]
