"""Windows of pictures, scaled to the training size: drawn at random, and cut out of bytes as bytes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

MOST_THREADS = 8
"""Beyond these the interpreter, which each picture needs for a tenth of its time, is what is waited for."""


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

    def cut_each(first: int, step: int) -> None:
        for i in range(first, len(images), step):
            (left, top), (right, bottom) = start[i].tolist(), stop[i].tolist()
            # The resize is several times as fast on pixels whose channels lie together.
            piece = images[i, None, :, top:bottom, left:right].contiguous(memory_format=torch.channels_last)
            scaled = F.interpolate(piece, size=size, mode="bilinear", antialias=True)[0]
            axes = [axis for axis, wanted in ((2, flip_x[i]), (1, flip_y[i])) if wanted]
            result[i].copy_(scaled.flip(axes) if axes else scaled)

    threads = min(torch.get_num_threads(), MOST_THREADS, len(images))
    if threads < 2:
        cut_each(0, 1)
    else:
        list(_pool(threads).map(cut_each, range(threads), [threads] * threads))
    return result


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads in which PyTorch computes alone: else each would have a team of its own, and they would fight for the cores."""
    begun = threading.Barrier(threads + 1)

    def begin() -> None:
        torch.get_num_threads()  # a thread that never asked takes the number of all at its first operation
        torch.set_num_threads(1)  # of this thread, but also of all that begin later
        begun.wait()

    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="striate-cut", initializer=begin)
    for _ in range(threads):
        pool.submit(int)
    begun.wait()
    torch.set_num_threads(before)
    return pool
