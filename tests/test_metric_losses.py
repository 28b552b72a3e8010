"""The losses of metric learning: against loops over anchors, against values worked by hand, and at their edges."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from striate import losses

Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: list[Loss] = [
    losses.supervised_contrastive,
    losses.batch_hard_triplet,
    partial(losses.batch_hard_triplet, margin=None),
]
LABELS = torch.tensor([0, 1, 2, 1, 0, 0, 3, 1])
"""Class 2 and class 3 have one sample each: no positive."""


@pytest.fixture
def embeddings() -> Tensor:
    return torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3


def units(embeddings: Tensor) -> list[list[float]]:
    rows: list[list[float]] = (embeddings / embeddings.norm(dim=1, keepdim=True)).tolist()
    return rows


def contrastive_by_loops(embeddings: Tensor, labels: list[int], temperature: float) -> float:
    rows, anchors = units(embeddings), []
    for i, row in enumerate(rows):
        exps = {a: math.exp(float(np.dot(row, rows[a])) / temperature) for a in range(len(rows)) if a != i}
        positives = [p for p in exps if labels[p] == labels[i]]
        if positives:
            anchors.append(-sum(math.log(exps[p] / sum(exps.values())) for p in positives) / len(positives))
    return sum(anchors) / len(anchors)


def triplet_by_loops(embeddings: Tensor, labels: list[int], margin: float | None) -> float:
    rows, anchors = units(embeddings), []
    for i, row in enumerate(rows):
        distance = {a: math.dist(row, rows[a]) for a in range(len(rows)) if a != i}
        own = [d for a, d in distance.items() if labels[a] == labels[i]]
        others = [d for a, d in distance.items() if labels[a] != labels[i]]
        if own and others:
            gap = max(own) - min(others)
            anchors.append(math.log1p(math.exp(gap)) if margin is None else max(0.0, margin + gap))
    return sum(anchors) / len(anchors)


@pytest.mark.parametrize("temperature", [0.07, 0.1, 1.0])
def test_contrastive_is_the_papers_sum(embeddings: Tensor, temperature: float) -> None:
    expected = contrastive_by_loops(embeddings, LABELS.tolist(), temperature)
    assert losses.supervised_contrastive(embeddings, LABELS, temperature).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("margin", [0.05, 0.2, 2.5, None])
def test_triplet_is_the_papers_sum(embeddings: Tensor, margin: float | None) -> None:
    expected = triplet_by_loops(embeddings, LABELS.tolist(), margin)
    assert losses.batch_hard_triplet(embeddings, LABELS, margin).item() == pytest.approx(expected, rel=1e-5)


def test_two_opposite_classes_by_hand() -> None:
    """Two samples each at (1, 0) and (-1, 0), T = 1: each anchor sees e once among e + 2/e; the distances are 0 and 2."""
    pairs = torch.tensor([[1.0, 0], [5, 0], [-1, 0], [-2, 0]])
    labels = torch.tensor([0, 0, 1, 1])
    assert losses.supervised_contrastive(pairs, labels, 1.0).item() == pytest.approx(math.log(1 + 2 * math.exp(-2)), rel=1e-5)
    assert losses.batch_hard_triplet(pairs, labels, 0.2).item() == 0
    assert losses.batch_hard_triplet(pairs, labels, 2.5).item() == pytest.approx(0.5)
    assert losses.batch_hard_triplet(pairs, labels, None).item() == pytest.approx(math.log1p(math.exp(-2)), rel=1e-5)
    crossed = torch.tensor([0, 1, 0, 1])
    assert losses.batch_hard_triplet(pairs, crossed, 0.2).item() == pytest.approx(2.2)


def test_all_embeddings_at_one_point() -> None:
    """Nothing is told apart: log(N - 1), and the margin; and no slope is NaN where every distance is 0."""
    one = torch.ones(6, 3, requires_grad=True)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    assert losses.supervised_contrastive(one, labels).item() == pytest.approx(math.log(5), rel=1e-5)
    assert losses.batch_hard_triplet(one, labels, 0.3).item() == pytest.approx(0.3)
    for loss in LOSSES:
        (slope,) = torch.autograd.grad(loss(one, labels), one)
        assert slope.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_against_finite_differences(loss: Loss) -> None:
    """In float32, as the losses compute: a step of 1e-2 along the slope changes the loss by what the slope says."""
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(1), requires_grad=True)
    (slope,) = torch.autograd.grad(loss(x, LABELS), x)
    step = 5e-3 * slope / slope.norm()
    with torch.no_grad():
        change = (loss(x + step, LABELS) - loss(x - step, LABELS)).item()
    assert change == pytest.approx(2 * (step * slope).sum().item(), rel=0.02)
    assert slope[LABELS == 2].any(), "a sample without positives is still a negative of the others"


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0], [2, 2]])
def test_batches_without_a_comparison_have_a_finite_loss_and_slope(loss: Loss, labels: list[int]) -> None:
    x = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(2), requires_grad=True)
    value = loss(x, torch.tensor(labels))
    (slope,) = torch.autograd.grad(value, x)
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert slope.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_neither_length_nor_order_nor_the_names_of_classes_count(loss: Loss, embeddings: Tensor) -> None:
    lengths = torch.linspace(0.1, 30, 8, dtype=torch.float64)[:, None]
    order = torch.tensor([3, 1, 7, 0, 2, 6, 4, 5])
    expected = loss(embeddings, LABELS)
    torch.testing.assert_close(loss(embeddings * lengths, LABELS), expected)
    torch.testing.assert_close(loss(embeddings[order], LABELS[order]), expected)
    torch.testing.assert_close(loss(embeddings, 7 - LABELS), expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_computed_in_float32_also_where_products_are_not(loss: Loss, embeddings: Tensor) -> None:
    rounded = embeddings.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(rounded, LABELS)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, loss(rounded.float(), LABELS), rtol=0, atol=0)
