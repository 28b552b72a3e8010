"""Optimizers with the usual parameter groups, learning-rate schedules as pure functions, and the average of weights."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from striate.errors import UsageError
from striate.recipe import Optimizer, Schedule

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)

_DECORATED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def make_optimizer(
    parameters: Iterable[nn.Parameter], settings: Optimizer, rates: Mapping[int, float] | None = None
) -> torch.optim.Optimizer:
    """Builds the optimizer; norms' and biases' parameters (fewer than two dimensions) are not decayed unless asked.

    Args:
        rates: multiple of the learning rate by parameter (its ``id``), kept as ``rate`` of its group; None: 1 for all.

    Raises:
        UsageError: on settings that contradict each other.
    """
    groups = [part for group in _decay_groups(list(parameters), settings) for part in _by_rate(group, rates or {})]
    if settings.name == "adamw":
        return _light(torch.optim.AdamW)(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True)
    if settings.name == "rmsprop":
        if not 0 <= settings.smoothing < 1:
            raise UsageError(
                f"smoothing is {settings.smoothing}", where="optimizer.smoothing", fix="use a share from 0 to below 1"
            )
        return _light(torch.optim.RMSprop)(groups, settings.lr, settings.smoothing, settings.eps, momentum=settings.momentum)
    if settings.nesterov and settings.momentum <= 0:
        raise UsageError("Nesterov momentum needs a momentum above 0", where="optimizer", fix="--optimizer.nesterov False")
    return _light(torch.optim.SGD)(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov, fused=True)


def _light(kind: type[Kind]) -> type[Kind]:
    """The optimizer without the decorators that load PyTorch's compiler, two seconds of a processor, to tell it to stay out."""
    plain: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in _DECORATED}
    light: type[Kind] = type(
        kind.__name__, (kind,), {**plain, "step": torch.no_grad()(inspect.unwrap(kind.step)), "__doc__": kind.__doc__}
    )
    return light


def _decay_groups(parameters: list[nn.Parameter], settings: Optimizer) -> list[dict[str, Any]]:
    if settings.decay_norms_and_biases:
        return [{"params": parameters, "weight_decay": settings.weight_decay}]
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    groups = [(matrices, settings.weight_decay), (vectors, 0.0)]
    return [{"params": group, "weight_decay": decay} for group, decay in groups if group]


def _by_rate(group: dict[str, Any], rates: Mapping[int, float]) -> list[dict[str, Any]]:
    parts: dict[float, list[nn.Parameter]] = {}
    for parameter in group["params"]:
        parts.setdefault(rates.get(id(parameter), 1.0), []).append(parameter)
    return [{**group, "params": parameters, "rate": rate} for rate, parameters in parts.items()]


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The learning rate of the next step, times each group's own multiple."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["rate"]


def player_settings(base: Optimizer, changes: Mapping[str, Any] | None) -> Optimizer:
    """The recipe's optimizer with a player's own fields put in."""
    return dataclasses.replace(base, **changes) if changes else base


def rate_factor(schedule: Schedule, progress: float, plateau: float = 1.0) -> float:
    """Multiple of the peak learning rate at ``progress`` (0..1 of the run's steps).

    ``plateau`` is the factor that a :class:`Plateau` has come to; other schedules ignore it.
    """
    if schedule.name == "one_cycle":
        return _one_cycle(schedule, progress)
    rise = min(1.0, (progress + 1e-3) / schedule.warmup) if schedule.warmup > 0 else 1.0
    if schedule.name == "step":
        return rise * schedule.gamma ** sum(progress >= milestone for milestone in schedule.milestones)
    rest = max(0.0, progress - schedule.warmup) / max(1e-9, 1 - schedule.warmup)
    if schedule.name == "linear":
        return rise * (1 + (schedule.final - 1) * min(1.0, rest))
    if schedule.name == "cosine":
        return rise * _cosine(1.0, schedule.final, rest)
    if schedule.name == "plateau":
        return rise * plateau
    return rise


def _one_cycle(schedule: Schedule, progress: float) -> float:
    """Smith & Topin 2018 (arXiv 1708.07120), cosine up from 1/25 and cosine down, as PyTorch's OneCycleLR."""
    if progress < schedule.warmup:
        return _cosine(0.04, 1.0, progress / schedule.warmup)
    return _cosine(1.0, schedule.final, (progress - schedule.warmup) / max(1e-9, 1 - schedule.warmup))


def _cosine(start: float, end: float, t: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, t))) / 2


class Plateau:
    """Multiplies the rate by ``gamma`` when the watched figure has not improved for ``patience`` epochs."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.factor, self.waited = 1.0, 0

    def update(self, improved: bool) -> None:
        """Tells of one validated epoch."""
        self.waited = 0 if improved else self.waited + 1
        if self._schedule.name == "plateau" and self.waited > self._schedule.patience:
            self.factor, self.waited = max(self._schedule.final, self.factor * self._schedule.gamma), 0

    def state_dict(self) -> dict[str, float]:
        """The factor and the epochs waited."""
        return {"factor": self.factor, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Puts back what :meth:`state_dict` gave."""
        self.factor, self.waited = float(state["factor"]), int(state["waited"])


class WeightAverage:
    """Exponential moving average of weights and floating buffers, bias-corrected so that short runs are not held back.

    After step t the average is sum(d^(t-i) w_i) / sum(d^(t-i)): the initial weights never enter it (the correction of
    Adam, arXiv 1412.6980, section 3, applied to weights).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise UsageError(
                f"ema is {decay}; a decay lies between 0 and 1", where="recipe.ema", fix="use 0.999, or None for no average"
            )
        self.decay, self.num_updates = decay, 0
        self.module = copy.deepcopy(model).requires_grad_(False).eval()
        live = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        mine = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        floating = [name for name, tensor in live.items() if tensor.is_floating_point()]
        self._averaged = [mine[name] for name in floating]
        self._sources = [live[name] for name in floating]
        self._copied = [(mine[name], live[name]) for name in live if name not in set(floating)]

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights as they are now."""
        self.num_updates += 1
        weight = (1 - self.decay) / (1 - self.decay**self.num_updates)
        torch._foreach_lerp_(self._averaged, self._sources, weight)
        for mine, live in self._copied:
            mine.copy_(live)

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors of the averaged module."""
        return dict(self.module.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor], num_updates: int) -> None:
        """Puts back what :meth:`state_dict` gave, after ``num_updates`` updates."""
        self.module.load_state_dict(state)
        self.num_updates = num_updates
