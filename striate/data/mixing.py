"""Blending images of a batch and their labels: mixup and CutMix."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from striate.data.color import rectangles
from striate.errors import UsageError

Array = npt.NDArray[Any]


def partners(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Each image's partner, int64 [N]: the next one on a round trip through the batch in the order of their random ``words``.

    So the pairs depend on who is in the batch but not on where, and nobody is his own partner in a batch of two or more.
    """
    tour = np.argsort(words, kind="stable")
    partner = np.empty(len(words), dtype=np.int64)
    partner[tour] = np.roll(tour, -1)
    return partner


def soft_labels(label: Tensor, num_classes: int) -> Tensor:
    """Labels as shares of classes, float32 [N, num_classes], from int64 [N] or from shares already."""
    if label.ndim == 2:
        return label.float()
    if label.is_floating_point():
        raise UsageError(
            "mixup and CutMix blend classes, but the labels are numbers (regression)",
            where=f"label: {label.dtype} {list(label.shape)}",
            fix="Set augment.mixup and augment.cutmix to 0.",
        )
    return F.one_hot(label, num_classes).float()


def mixup(images: Tensor, labels: Tensor, partner: Array, share: Array) -> tuple[Tensor, Tensor]:
    """``share`` [N] of each image and its soft label, the rest its partner's (Zhang et al. 2017, arXiv 1710.09412)."""
    others = torch.from_numpy(partner).to(images.device)
    own = torch.from_numpy(share.astype(np.float32)).to(images.device)
    return torch.lerp(images[others], images, own.view(-1, 1, 1, 1)), torch.lerp(labels[others], labels, own[:, None])


def cutmix(images: Tensor, labels: Tensor, partner: Array, share: Array, place: Array) -> tuple[Tensor, Tensor]:
    """Pastes a rectangle of the partner over 1 - ``share`` [N] of each image (Yun et al. 2019, arXiv 1905.04899).

    It has the image's proportions, its centre falls anywhere in the image (``place`` [N, 2], down and right, 0..1) and
    what sticks out is cut off: labels are blended by the pixels that were really pasted.
    """
    height, width = images.shape[2:]
    heights, widths = np.rint(np.sqrt(1 - share) * height), np.rint(np.sqrt(1 - share) * width)
    top, left = np.floor(place[:, 0] * height - heights / 2), np.floor(place[:, 1] * width - widths / 2)
    pasted = rectangles((height, width), top, left, heights, widths)
    own = torch.from_numpy((1 - pasted.mean((1, 2))).astype(np.float32)).to(images.device)
    others = torch.from_numpy(partner).to(images.device)
    blended = torch.where(torch.from_numpy(pasted[:, None]).to(images.device), images[others], images)
    return blended, torch.lerp(labels[others], labels, own[:, None])
