"""Losses of classification, regression and metric learning: one scalar out, the mean over the samples of a batch.

Those of classification and regression are plain means over samples, class weights included (they are not renormalised within
a batch): two half batches averaged give the loss and gradient of the whole, so a micro-batch changes nothing. Those of metric
learning compare the samples of a batch with one another: there only the whole batch counts. All compute in float32.
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


def supervised_contrastive(embeddings: Tensor, target: Tensor, temperature: float = 0.1) -> Tensor:
    """-mean over positives p of log(exp(z·z_p / T) / sum over all others a of exp(z·z_a / T)), averaged over the anchors z.

    P. Khosla et al. 2020, arXiv:2004.11362, equation 2 (the mean outside the logarithm, their better form). An anchor's
    positives are the other samples of its class; one that has none is left out, and where all are, the loss is 0.

    Args:
        embeddings: [N, D], of any length: they are brought to length 1 here.
        target: [N] int64, the classes.
        temperature: T above 0; the paper's is 0.1.
    """
    scaled = _cosines(embeddings) / temperature
    itself = torch.eye(len(target), dtype=torch.bool, device=target.device)
    positive = (target[:, None] == target) & ~itself
    log_shares = scaled - scaled.masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)
    num_positives = positive.sum(dim=1)
    # Where there is no other sample at all, the share is +infinity, times no positive: masked, not multiplied.
    anchors = -log_shares.masked_fill(~positive, 0.0).sum(dim=1) / num_positives.clamp(min=1)
    return _mean_where(anchors, num_positives > 0)


def batch_hard_triplet(embeddings: Tensor, target: Tensor, margin: float | None = None) -> Tensor:
    """max(0, m + furthest positive - nearest negative) of each anchor, averaged over the anchors.

    A. Hermans, L. Beyer, B. Leibe 2017, arXiv:1703.07737, equation 5: Euclidean distances, not squared; but here of
    embeddings of length 1, so that a distance is 0 to 2 and cannot shrink or grow as a whole. An anchor without a positive or
    a negative in the batch is left out, and where all are, the loss is 0.

    Args:
        embeddings: [N, D], of any length: they are brought to length 1 here.
        target: [N] int64, the classes.
        margin: m above 0; None: the paper's soft margin log(1 + exp(furthest - nearest)).
    """
    distances = _root(2 - 2 * _cosines(embeddings))
    same = target[:, None] == target
    positive = same & ~torch.eye(len(target), dtype=torch.bool, device=target.device)
    furthest = distances.masked_fill(~positive, -1.0).amax(dim=1)
    nearest = distances.masked_fill(same, 3.0).amin(dim=1)
    gap = furthest - nearest
    anchors = F.softplus(gap) if margin is None else F.relu(margin + gap)
    return _mean_where(anchors, positive.any(dim=1) & ~same.all(dim=1))


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


def _cosines(embeddings: Tensor) -> Tensor:
    """[N, D] -> cosine of every pair [N, N], in float32 whatever autocast would have a product in."""
    with torch.autocast(embeddings.device.type, enabled=False):
        units = F.normalize(embeddings.float(), dim=1)
        return units @ units.T


def _root(squares: Tensor) -> Tensor:
    """Square root with slope 0, not infinity, at 0: two equal embeddings pull neither way."""
    positive = squares > 1e-12
    return squares.where(positive, 1.0).sqrt().where(positive, 0.0)


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the chosen values; 0, with a gradient of 0, where none is."""
    return values.where(chosen, 0.0).sum() / chosen.sum().clamp(min=1)
