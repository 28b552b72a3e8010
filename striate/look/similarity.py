"""How alike two pictures of numbers are: by the order of their pixels, and by their structure."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's: the correlation of the ranks, equal values sharing their mean rank. -1..1; 0 where one of them is level."""
    a, b = (_ranks(each.detach().double().cpu().numpy().ravel()) for each in (first, second))
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm else 0.0


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last: Floats = np.cumsum(counts).astype(np.float64)
    return (last - (counts - 1) / 2)[place]


WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03


def ssim(first: Tensor, second: Tensor) -> float:
    """Structural similarity of two pictures [H, W], each stretched to 0..1 first: 1 where they are equal.

    Source: Z. Wang, A. Bovik, H. Sheikh, E. Simoncelli, IEEE TIP 2004, eq. 13, with its Gaussian window of 11 x 11; a smaller
    one where the picture is smaller. Only windows that lie within the picture count.
    """
    a, b = (_stretched(each)[None, None] for each in (first, second))
    side = min(WINDOW, *a.shape[2:])
    offsets = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    bell = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    bell = bell / bell.sum()
    window = (bell[:, None] * bell)[None, None]

    def mean(values: Tensor) -> Tensor:
        return F.conv2d(values, window)

    mean_a, mean_b = mean(a), mean(b)
    variance_a, variance_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    c1, c2 = K1**2, K2**2
    index = (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))
    return float(index.mean())


def _stretched(values: Tensor) -> Tensor:
    values = values.detach().double().cpu()
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else torch.zeros_like(values)
