"""One player's turn within a training step: micro-batches, gradients, the guard against non-finite numbers, the update."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from striate.errors import Failed, Refused
from striate.optimization import make_optimizer, player_settings
from striate.recipe import Recipe
from striate.tasks.base import Batch, Player, Task


@dataclass
class Turn:
    """What came of one turn.

    Attributes:
        losses: each named loss, averaged over the batch.
        gradient_norm: before clipping.
        applied: False when a loss or gradient was not finite and the weights were left as they were.
    """

    losses: dict[str, float]
    gradient_norm: float
    applied: bool


@dataclass
class Side:
    """A player with its optimizer and what must stand still in its turn."""

    name: str
    player: Player
    optimizer: torch.optim.Optimizer
    peak_lr: float
    own_buffers: list[Tensor] = field(default_factory=list)
    foreign_buffers: list[Tensor] = field(default_factory=list)
    foreign_parameters: list[nn.Parameter] = field(default_factory=list)


def make_sides(task: Task, model: nn.Module, recipe: Recipe, rates: Mapping[int, float] | None = None) -> list[Side]:
    """One side a player of the task, in its order; ``rates`` as for ``make_optimizer``.

    Raises:
        Refused: when a player has nothing to train.
    """
    return [_make_side(name, player, model, recipe, rates) for name, player in task.players(model).items()]


def _make_side(name: str, player: Player, model: nn.Module, recipe: Recipe, rates: Mapping[int, float] | None) -> Side:
    if not player.parameters:
        raise Refused(
            f"Player {name!r} has no parameters to train",
            where=type(model).__name__,
            fix="unfreeze a layer, or give the player its parameters",
        )
    settings = player_settings(recipe.optimizer, player.optimizer)
    own = {id(p) for p in player.parameters}
    mine, foreign = _split_buffers(model, own)
    frozen = [p for p in model.parameters() if id(p) not in own and p.requires_grad]
    return Side(name, player, make_optimizer(player.parameters, settings, rates), settings.lr, mine, foreign, frozen)


def _split_buffers(model: nn.Module, own: set[int]) -> tuple[list[Tensor], list[Tensor]]:
    """A module's buffers are a player's when any parameter at or under its nearest ancestor with parameters is."""
    mine: list[Tensor] = []
    foreign: list[Tensor] = []

    def walk(module: nn.Module, owned: bool) -> None:
        parameters = list(module.parameters())
        if parameters:
            owned = any(id(p) in own for p in (list(module.parameters(recurse=False)) or parameters))
        (mine if owned else foreign).extend(module.buffers(recurse=False))
        for child in module.children():
            walk(child, owned)

    walk(model, True)
    return mine, foreign


def take_turn(
    side: Side, task: Task, model: nn.Module, batch: Batch, *, micro_batch: int, clip: float | None, autocast: torch.autocast
) -> Turn:
    """Trains one side on one batch; a non-finite loss or gradient reaches neither weights nor buffers."""
    kept = [(b, b.clone()) for b in side.foreign_buffers]
    backup = [(b, b.clone()) for b in side.own_buffers]
    for parameter in side.foreign_parameters:
        parameter.requires_grad_(False)
    try:
        side.optimizer.zero_grad(set_to_none=True)
        losses = _accumulate(side, task, model, batch, micro_batch, autocast)
    except BaseException as error:
        _restore(backup)
        if isinstance(error, ValueError) and "more than 1 value per channel" in str(error):
            raise _lone_value(batch) from error
        raise
    finally:
        for parameter in side.foreign_parameters:
            parameter.requires_grad_(True)
        _restore(kept)
    norm = _gradient_norm(side.player.parameters, clip)
    applied = math.isfinite(norm) and all(math.isfinite(value) for value in losses.values())
    if applied:
        side.optimizer.step()
    else:
        side.optimizer.zero_grad(set_to_none=True)
        _restore(backup)
    return Turn(losses, norm, applied)


@torch.no_grad()
def _restore(saved: list[tuple[Tensor, Tensor]]) -> None:
    for buffer, value in saved:
        buffer.copy_(value)


def _accumulate(
    side: Side, task: Task, model: nn.Module, batch: Batch, micro_batch: int, autocast: torch.autocast
) -> dict[str, float]:
    totals: dict[str, Tensor] = {}
    size = batch_size(batch)
    for part in split_batch(batch, micro_batch):
        share = batch_size(part) / size
        with autocast:
            losses = task.losses(model, part, side.name)
        loss = torch.stack([value.float() for value in losses.values()]).sum() * share
        loss.backward()  # type: ignore[no-untyped-call]
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + value.detach().float() * share
    return {name: float(value) for name, value in totals.items()}


def _gradient_norm(parameters: tuple[nn.Parameter, ...], clip: float | None) -> float:
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return 0.0
    norm = nn.utils.get_total_norm(gradients)
    if clip is not None:
        nn.utils.clip_grads_with_norm_(parameters, clip, norm)
    return float(norm)


def set_training(model: nn.Module) -> None:
    """Train mode, but for batch norms whose own parameters are all frozen: they normalise by what they once learnt."""
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False)) if isinstance(module, _BatchNorm) else []
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()


def batch_size(batch: Batch) -> int:
    """Number of samples: the length of ``index`` where there is one, else of ``image``."""
    return len(batch["index"] if "index" in batch else batch["image"])


def split_batch(batch: Batch, size: int) -> Iterator[Batch]:
    """The batch in even parts of at most ``size`` samples; entries without one item a sample go to every part.

    Of ``size`` 2 or more no part is a single sample, which batch norm could not train on: one may be larger by one instead.
    """
    total = batch_size(batch)
    if size >= total:
        yield batch
        return
    num_parts = -(-total // size) if size < 2 else min(-(-total // size), total // 2)
    for part in range(num_parts):
        start, stop = part * total // num_parts, (part + 1) * total // num_parts
        yield {key: _part(value, start, stop, total) for key, value in batch.items()}


def _part(value: Any, start: int, stop: int, total: int) -> Any:
    per_sample = (
        isinstance(value, Tensor | list | tuple) and not (isinstance(value, Tensor) and value.ndim == 0) and len(value) == total
    )
    return value[start:stop] if per_sample else value


def _lone_value(batch: Batch) -> Failed:
    return Failed(
        "Batch norm cannot learn from one number a channel",
        where=f"a batch of {batch_size(batch)} images of {tuple(batch['image'].shape[2:])} pixels",
        why="its variance would be 0",
        fix="train with --batch 2 or more, or on larger images (--size)",
    )


def diverged(side: Side, turn: Turn, in_a_row: int, where: str) -> Failed:
    """The error that ends a run whose losses or gradients stay non-finite, with a diagnosis."""
    losses = ", ".join(f"{name} = {value}" for name, value in turn.losses.items())
    rate = side.optimizer.param_groups[0]["lr"]
    return Failed(
        f"Training diverged: {in_a_row} turns in a row had a non-finite loss or gradient",
        where=f"{where}, player {side.name!r}: {losses}, gradient norm {turn.gradient_norm}",
        why=f"most often the learning rate is too high (now {rate:.3g}), or a layer without normalisation overflows",
        fix=f"try --optimizer.lr {side.peak_lr / 10:.3g}, or --clip 1.0; the newest checkpoint holds the last good weights",
    )
