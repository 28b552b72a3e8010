"""Losses of classification and regression: logits in, one scalar out, the mean over the samples of a batch.

Each is a plain mean over samples, class weights included (they are not renormalised within a batch): two half batches
averaged give the loss and gradient of the whole, so a micro-batch changes nothing. All compute in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, target: Tensor, label_smoothing: float = 0.0, class_weights: Tensor | None = None) -> Tensor:
    """-sum over classes of w·t·log softmax(logits), where t is the smoothed target.

    Args:
        logits: [N, K].
        target: [N] int64, or [N, K] float that sums to 1 a sample (mixup, soft labels).
        label_smoothing: share e of the target spread evenly: t = (1 - e)·target + e/K. (Szegedy et al., arXiv 1512.00567.)
        class_weights: [K], of the classes' terms.
    """
    return F.cross_entropy(logits.float(), target, class_weights, reduction="none", label_smoothing=label_smoothing).mean()


def squared_error(logits: Tensor, target: Tensor, label_smoothing: float = 0.0, class_weights: Tensor | None = None) -> Tensor:
    """sum over classes of ½ (t - o)², with o = softmax(logits), the output probabilities.

    Step 3 of the lecture on training: "Total Error = sum ½ (target probability - output probability)²". Arguments as
    in :func:`cross_entropy`; here the weight of a sample is that of its target's classes.
    """
    hard = _one_hot(target, logits.shape[1])
    errors = 0.5 * (_smooth(hard, label_smoothing) - logits.float().softmax(dim=1)).square().sum(dim=1)
    return (errors if class_weights is None else errors * (hard @ class_weights)).mean()


def binary_cross_entropy(
    logits: Tensor, target: Tensor, label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """-(w·t·log o + (1 - t)·log(1 - o)) with o = sigmoid(logits), averaged over classes too.

    Args:
        logits: [N, K].
        target: [N, K] float 0..1, each class by itself.
        label_smoothing: share e of the target moved to undecided: t = (1 - e)·target + e/2.
        class_weights: [K], of the positive terms.
    """
    smoothed = target.float() * (1 - label_smoothing) + label_smoothing / 2
    return F.binary_cross_entropy_with_logits(logits.float(), smoothed, pos_weight=class_weights)


def binary_squared_error(
    logits: Tensor, target: Tensor, label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """sum over classes of ½ (t - o)² with o = sigmoid(logits), each class by itself.

    Arguments as in :func:`binary_cross_entropy`.
    """
    target = target.float()
    smoothed = target * (1 - label_smoothing) + label_smoothing / 2
    errors = 0.5 * (smoothed - logits.float().sigmoid()).square()
    if class_weights is not None:
        errors = errors * (1 + target * (class_weights - 1))
    return errors.sum(dim=1).mean()


def standardised_squared_error(output: Tensor, target: Tensor, mean: float, std: float) -> Tensor:
    """((t - mean) / std - o)²: 1 is no better than always answering the mean.

    Args:
        output: [N, 1] or [N], standardised.
        target: [N] in its own units.
        mean, std: of the training targets.
    """
    return F.mse_loss(output.float().reshape(target.shape), (target.float() - mean) / std)


def balanced_weights(counts: Sequence[int], num_samples: int | None = None) -> tuple[float, ...]:
    """Class weights under which every class weighs the same in a loss.

    Args:
        counts: training samples of each class.
        num_samples: of the training split, for classes that do not exclude each other; None: each sample has one class.

    Returns:
        One label: num_samples / (classes present · count), whose mean over the samples is 1. Several: negatives / positives,
        the weight of a positive. A class never present gets 0 (one label) or 1 (several), one always present 1.
    """
    if num_samples is not None:
        return tuple((num_samples - n) / n if 0 < n < num_samples else 1.0 for n in counts)
    total, present = sum(counts), sum(n > 0 for n in counts)
    return tuple(total / (present * n) if n else 0.0 for n in counts)


def _one_hot(target: Tensor, num_classes: int) -> Tensor:
    return target.float() if target.ndim == 2 else F.one_hot(target, num_classes).to(torch.float32)


def _smooth(target: Tensor, share: float) -> Tensor:
    return target * (1 - share) + share / target.shape[1]
