"""One pass over the validation batches: the figures that choose the weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from striate.tasks.base import Batch, Task
from striate.turns import batch_size


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors, and lists of tensors, on ``device``."""
    return {key: _move(value, device) for key, value in batch.items()}


def _move(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, list) and value and isinstance(value[0], Tensor):
        return [item.to(device, non_blocking=True) for item in value]
    return value


@torch.no_grad()
def validate(task: Task, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
    """Figures of the task's meter and its losses over normalised batches, in eval mode; empty where there are none."""
    was_training = model.training
    model.eval()
    meter, seen = task.meter(), 0
    totals: dict[str, float] = {}
    try:
        for batch in batches:
            raw = task.forward(model, batch)
            size = batch_size(batch)
            seen += size
            for name, value in task.validation_losses(model, batch, raw).items():
                totals[name] = totals.get(name, 0.0) + float(value) * size
            meter.update(task.decode(to_numpy(raw)), to_numpy(batch))
    finally:
        model.train(was_training)
    if not seen:
        return {}
    losses = {name: value / seen for name, value in totals.items()}
    figures = {"loss": sum(losses.values()), **meter.compute()}
    return figures if len(losses) < 2 else {**figures, **{f"loss.{name}": value for name, value in losses.items()}}


def to_numpy(value: Any) -> Any:
    """Tensors, and lists, tuples and dicts of them, as NumPy arrays (bf16 as float32)."""
    if isinstance(value, Tensor):
        value = value.detach()
        return (value.float() if value.dtype == torch.bfloat16 else value).cpu().numpy()
    if isinstance(value, dict):
        return {key: to_numpy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_numpy(item) for item in value]
    return value
