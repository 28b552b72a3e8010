"""Losses against the lecture, against their formulas written out, and split into micro-batches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from striate import losses

Loss = Callable[..., Tensor]
SINGLE: list[Loss] = [losses.cross_entropy, losses.squared_error]
SEVERAL: list[Loss] = [losses.binary_cross_entropy, losses.binary_squared_error]
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 0.25])


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0)) * 3


HARD = torch.tensor([0, 3, 2, 2, 1, 0])
MANY = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]])


@pytest.mark.parametrize("target", [torch.tensor([2]), torch.tensor([[0.0, 0.0, 1.0, 0.0]])])
@pytest.mark.parametrize(("output", "error"), [([0.2, 0.4, 0.1, 0.3], 0.55), ([0.1, 0.1, 0.7, 0.1], 0.06)])
def test_squared_error_is_the_lectures_step_3(output: list[float], error: float, target: Tensor) -> None:
    """Golden items s4.train.err0 and err1: sum ½ (t - o)² of output probabilities; their logarithms are logits of them."""
    assert losses.squared_error(torch.tensor([output]).log(), target).item() == pytest.approx(error, abs=1e-6)


def test_cross_entropy_written_out(logits: Tensor) -> None:
    smoothed = F.one_hot(HARD, 4) * 0.9 + 0.1 / 4
    expected = -(WEIGHTS * smoothed * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(losses.cross_entropy(logits, HARD, 0.1, WEIGHTS), expected)


def test_squared_error_written_out(logits: Tensor) -> None:
    smoothed = F.one_hot(HARD, 4) * 0.9 + 0.1 / 4
    expected = (WEIGHTS[HARD] * 0.5 * (smoothed - logits.softmax(1)).square().sum(1)).mean()
    torch.testing.assert_close(losses.squared_error(logits, HARD, 0.1, WEIGHTS), expected)


def test_binary_losses_written_out(logits: Tensor) -> None:
    target, o = MANY * 0.9 + 0.05, logits.sigmoid()
    entropy = -(WEIGHTS * target * o.log() + (1 - target) * (1 - o).log()).mean()
    torch.testing.assert_close(losses.binary_cross_entropy(logits, MANY, 0.1, WEIGHTS), entropy)
    weights = torch.where(MANY == 1, WEIGHTS, torch.ones(()))
    squares = (weights * 0.5 * (target - o).square()).sum(1).mean()
    torch.testing.assert_close(losses.binary_squared_error(logits, MANY, 0.1, WEIGHTS), squares)


@pytest.mark.parametrize("loss", SINGLE)
def test_a_hard_label_is_a_soft_one_of_all_or_nothing(loss: Loss, logits: Tensor) -> None:
    soft = F.one_hot(HARD, 4).float()
    torch.testing.assert_close(loss(logits, HARD, 0.1, WEIGHTS), loss(logits, soft, 0.1, WEIGHTS))


@pytest.mark.parametrize("loss", SINGLE)
def test_a_mixed_label_pulls_towards_both(loss: Loss) -> None:
    """The gradient of evenly mixed labels treats the two classes alike and lowers the others' logits."""
    logits = torch.zeros(1, 4, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(logits, torch.tensor([[0.5, 0.5, 0.0, 0.0]])), logits)
    assert slope[0, 0] == slope[0, 1] < 0 < slope[0, 2] == slope[0, 3]


@pytest.mark.parametrize(("loss", "target"), [(loss, HARD) for loss in SINGLE] + [(loss, MANY) for loss in SEVERAL])
def test_micro_batches_add_up_to_the_batch(loss: Loss, target: Tensor, logits: Tensor) -> None:
    """Also with class weights, and uneven parts: a mean over samples, never over their weights."""
    parts = [loss(logits[i], target[i], 0.1, WEIGHTS) * len(logits[i]) / 6 for i in (slice(0, 4), slice(4, 6))]
    torch.testing.assert_close(loss(logits, target, 0.1, WEIGHTS), sum(parts))


@pytest.mark.parametrize(("loss", "target"), [(loss, HARD) for loss in SINGLE] + [(loss, MANY) for loss in SEVERAL])
def test_losses_are_computed_in_float32(loss: Loss, target: Tensor, logits: Tensor) -> None:
    """bf16 logits are read as they are and never rounded again; wild ones give no NaN."""
    rounded = logits.bfloat16()
    assert loss(rounded, target).dtype == torch.float32
    torch.testing.assert_close(loss(rounded, target), loss(rounded.float(), target), rtol=0, atol=0)
    wild = torch.full((6, 4), 1e4).copysign(logits).requires_grad_()
    value = loss(wild, target)
    (slope,) = torch.autograd.grad(value, wild)
    assert value.isfinite()
    assert slope.isfinite().all()


def test_standardised_squared_error() -> None:
    """Answering the mean costs 1, whatever the units; answering one deviation off where it is right costs 1 too."""
    target = torch.tensor([10.0, 30.0])
    for output in (torch.zeros(2, 1), torch.zeros(2)):
        assert losses.standardised_squared_error(output, target, 20.0, 10.0).item() == 1.0
    assert losses.standardised_squared_error(torch.tensor([[-1.0], [1.0]]), target, 20.0, 10.0).item() == 0.0


def test_balanced_weights_of_one_label() -> None:
    """Every class has the same weight in sum, the mean over samples is 1, and a class without samples has none."""
    counts = (10, 30, 0, 60)
    weights = losses.balanced_weights(counts)
    assert weights == pytest.approx((100 / 30, 100 / 90, 0, 100 / 180))
    assert sum(n * w for n, w in zip(counts, weights, strict=True)) == pytest.approx(sum(counts))


def test_balanced_weights_of_several_labels() -> None:
    """The positives of a class weigh as much as its negatives, where it has both."""
    assert losses.balanced_weights((10, 50, 0, 100), num_samples=100) == pytest.approx((9, 1, 1, 1))
