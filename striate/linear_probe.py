"""A linear head on fixed features, solved to its optimum: logistic or ridge regression with cross-validated decay.

Where a network's features are kept as they are, its head is a convex problem: no rate, no epochs and no luck are in the
answer, and it takes seconds. It is the measure of how far published weights already know a task (S. Kornblith, J. Shlens,
Q. Le 2019, arXiv:1805.08974).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from striate.data.randomness import permutation

DECAYS = tuple(10.0 ** (exponent / 2) for exponent in range(2, -9, -1))
"""Tried in this order, each started from the one before: 10 to 0.0001, times half the squared weights of standardised
features, beside the mean loss of an image."""
FOLDS = 5
_MOST_CHOOSING = 20_000
"""Images that choose the decay; all of them then learn with it."""
_PATIENCE = 2
"""Weaker decays tried after the best one."""

Array = NDArray[np.float64]
Kind = Literal["label", "labels", "value"]
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Probe:
    """A solved head.

    Attributes:
        weight: float64 [K, D], for features as they come (the standardisation is folded in).
        bias: float64 [K].
        decay: the chosen of ``DECAYS``.
        losses: mean held-out loss of each decay that was tried.
        scores: out-of-fold logits [N, K] of the chosen decay, each image scored by a head that never saw it; of the images
            that chose the decay.
        accuracy: of these scores, 0..1; None but for ``label``.
    """

    weight: Array
    bias: Array
    decay: float
    losses: dict[float, float]
    scores: Array
    accuracy: float | None

    def __call__(self, features: NDArray[np.floating]) -> Array:
        """[N, D] -> logits [N, K]."""
        logits: Array = features.astype(np.float64) @ self.weight.T + self.bias
        return logits


def fit_probe(
    features: NDArray[np.floating],
    targets: NDArray[np.generic],
    num_outputs: int,
    kind: Kind = "label",
    *,
    class_weights: Sequence[float] | None = None,
    folds: int = FOLDS,
    seed: int = 0,
    groups: NDArray[np.int64] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Probe:
    """Solves a linear head for every decay of ``DECAYS`` and takes the one with the least held-out loss.

    Args:
        features: [V, N, D], V fixed views of each image (V is 1 without such), which share its target; held out together.
        targets: int64 [N], float [N, K] multi-hot, or float [N].
        num_outputs: K.
        kind: ``label`` (softmax), ``labels`` (independent sigmoids) or ``value`` (squared error).
        class_weights: [K], of the classes' terms (of ``labels``: of the positive ones); None: all alike.
        folds: of the cross-validation, stratified for ``label``.
        seed: of the folds.
        groups: int64 [N]; images of one group are held out together (duplicates); None: each its own.
        check: called between solutions; raises where the work is to stop.
    """
    views = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float64))
    goal = torch.from_numpy(np.asarray(targets, dtype=np.int64 if kind == "label" else np.float64))
    num = views.shape[1]
    chosen = np.sort(permutation(seed, 0, num)[:_MOST_CHOOSING])
    own_groups = None if groups is None else groups[chosen]
    fold_of = assign_folds(np.asarray(targets)[chosen], kind, min(folds, len(chosen)), seed, own_groups)
    positions = torch.from_numpy(chosen)
    loss = _loss_of(kind, class_weights)
    parts = [
        (_Head(views[:, positions[fold_of != fold]], goal[positions[fold_of != fold]], num_outputs, loss), fold_of == fold)
        for fold in range(int(fold_of.max()) + 1)
    ]
    losses: dict[float, float] = {}
    best = np.empty((len(chosen), num_outputs))
    for decay in DECAYS:
        scores = np.empty_like(best)
        for head, held_out in parts:
            check()
            weight, bias = head.solve(decay)
            scores[held_out] = (views[0, positions[held_out]] @ weight.T + bias).numpy()
        losses[decay] = float(loss(torch.from_numpy(scores), goal[positions]))
        if losses[decay] == min(losses.values()):
            best = scores
        elif len(losses) - list(losses).index(min(losses, key=losses.__getitem__)) > _PATIENCE:
            break
    decay = min(losses, key=losses.__getitem__)
    weight, bias = _Head(views, goal, num_outputs, loss).solve(decay)
    accuracy = float((best.argmax(1) == np.asarray(targets)[chosen]).mean()) if kind == "label" else None
    return Probe(weight.numpy(), bias.numpy(), decay, losses, best, accuracy)


def assign_folds(
    targets: NDArray[np.generic], kind: Kind, folds: int, seed: int, groups: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """The fold of each image, int64 [N]: groups stay together, and for ``label`` each fold has its share of every class."""
    num = len(targets)
    groups = np.arange(num) if groups is None else groups
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    order = permutation(seed, 1, len(first))
    if kind == "label":
        order = order[np.argsort(targets[first][order], kind="stable")]
    fold = np.empty(len(first), dtype=np.int64)
    fold[order] = np.arange(len(first)) % folds
    return fold[member]


class _Head:
    """One problem, solved for one decay after another, each from where the last one ended."""

    def __init__(self, views: Tensor, goal: Tensor, num_outputs: int, loss: Loss) -> None:
        rows = views.flatten(0, 1)
        self._goals, self._loss = goal.repeat(len(views), *(1,) * (goal.ndim - 1)), loss
        self._mean, spread = rows.mean(0), rows.std(0, correction=0)
        # What is constant says nothing, and gets no weight.
        self._spread = torch.where(spread > 1e-6 * spread.max(), spread, torch.inf)
        rows = (rows - self._mean) / self._spread
        # The optimum lies in the span of the rows: with fewer rows than features it is found there, at their number's cost.
        self._basis = torch.linalg.qr(rows.T)[0] if rows.shape[0] < rows.shape[1] else None
        self._rows = rows if self._basis is None else rows @ self._basis
        self._weight = torch.zeros(num_outputs, self._rows.shape[1], dtype=rows.dtype, requires_grad=True)
        self._bias = torch.zeros(num_outputs, dtype=rows.dtype, requires_grad=True)

    def solve(self, decay: float) -> tuple[Tensor, Tensor]:
        """(weight, bias) for features as they come."""
        solver = torch.optim.LBFGS(
            [self._weight, self._bias],
            max_iter=100, tolerance_grad=1e-6, tolerance_change=1e-10, history_size=20, line_search_fn="strong_wolfe",
        )  # fmt: skip

        def closure() -> Tensor:
            solver.zero_grad()
            fit = self._loss(self._rows @ self._weight.T + self._bias, self._goals)
            objective = fit + decay / 2 * self._weight.square().sum()
            objective.backward()  # type: ignore[no-untyped-call]
            return objective

        solver.step(closure)  # type: ignore[no-untyped-call]
        weight = self._weight.detach() if self._basis is None else self._weight.detach() @ self._basis.T
        raw = weight / self._spread
        return raw, self._bias.detach() - raw @ self._mean


def _loss_of(kind: Kind, class_weights: Sequence[float] | None) -> Loss:
    weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float64)
    if kind == "label":
        return partial(F.cross_entropy, weight=weights)
    if kind == "labels":
        return partial(F.binary_cross_entropy_with_logits, pos_weight=weights)
    return lambda logits, goals: F.mse_loss(logits[:, 0], goals)
