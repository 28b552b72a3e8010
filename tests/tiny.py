"""One batch, seen again and again: what the tests of ``fit`` train on."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from striate.recipe import Optimizer, Recipe
from striate.tasks.base import Batch, Task
from striate.training import Fitted, fit
from striate.validation import validate

PLAIN = Recipe(name="tiny", epochs=1, optimizer=Optimizer(lr=1e-2, weight_decay=0.0))


class TinyBatches:
    """``steps`` times the same batch an epoch; it is the validation split as well."""

    preprocess = None

    def __init__(self, batch: Batch, steps: int) -> None:
        self.batch, self.steps = batch, steps

    def train(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        for _ in range(start_step, self.steps):
            yield self.batch

    def validation(self) -> Iterator[Batch]:
        yield self.batch

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@dataclass
class Memorised:
    """Validation figures of the untrained and of the trained model, and what ``fit`` returned."""

    before: dict[str, float]
    after: dict[str, float]
    fitted: Fitted


def memorise(task: Task, model: nn.Module, batch: Batch, steps: int, lr: float = 1e-2, recipe: Recipe = PLAIN) -> Memorised:
    """Fits the batch. That the untrained model fails the same measure proves that passing it means something."""
    before = validate(task, copy.deepcopy(model), [batch])
    recipe = replace(recipe, batch=len(batch["image"]), optimizer=replace(recipe.optimizer, lr=lr))
    fitted = fit(task, model, TinyBatches(batch, steps), recipe)
    return Memorised(before, fitted.history[-1]["validation"], fitted)
