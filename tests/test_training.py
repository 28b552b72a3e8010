"""``fit`` alone: exact accumulation, the non-finite guard, stopping and resuming bit for bit, the best checkpoint."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TinyBatches
from torch import Tensor, nn

from striate.checkpoint import list_checkpoints
from striate.errors import Failed, Interrupted, Refused
from striate.progress import Position, Silent
from striate.recipe import Optimizer, Recipe, Schedule, resolve_plainly
from striate.signals import StopRequest
from striate.tasks.base import Batch
from striate.tasks.classify import Classify
from striate.training import fit

RECIPE = Recipe(name="test", epochs=4, batch=16, ema=0.9, optimizer=Optimizer(lr=1e-2), checkpoint_seconds=0.0)
TASK = Classify(classes=("a", "b", "c"))


class Blobs:
    """Three classes of noisy 6x6 images, in an order that depends on the epoch."""

    preprocess = None
    steps = 5

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(7)
        self.label = torch.randint(0, 3, (80,), generator=generator)
        self.image = torch.randn(80, 1, 6, 6, generator=generator) + self.label[:, None, None, None]

    def _batch(self, index: Tensor) -> Batch:
        return {"image": self.image[index], "label": self.label[index], "index": index}

    def train(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        order = torch.randperm(80, generator=torch.Generator().manual_seed(epoch))
        for step in range(start_step, self.steps):
            yield self._batch(order[16 * step : 16 * (step + 1)])

    def validation(self) -> Iterator[Batch]:
        yield self._batch(torch.arange(80))

    def state_dict(self) -> dict[str, Any]:
        return {"size": 80}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state == {"size": 80}


def network(norm: bool = True) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4) if norm else nn.Identity(),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


class StopAt(Silent):
    """Asks to stop after a number of steps."""

    def __init__(self, step: int) -> None:
        self.at, self.request = step, StopRequest()

    def step(self, position: Position, steps: int, epochs: int, images_per_second: float) -> None:
        if position.global_step == self.at:
            self.request.stop()


@pytest.mark.parametrize("stop_at", [1, 5, 7, 19])
def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path, stop_at: int) -> None:
    whole = fit(TASK, network(), Blobs(), RECIPE)
    listener = StopAt(stop_at)
    with pytest.raises(Interrupted, match="striate resume"):
        fit(TASK, network(), Blobs(), RECIPE, run=tmp_path, progress=listener, stop=listener.request)
    again = fit(TASK, network(), Blobs(), RECIPE, run=tmp_path, resume=True)
    assert same_weights(whole.model, again.model)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["train"] for row in rows] == [row["train"] for row in whole.history], "sums of a cut epoch go on"


def test_a_torn_newest_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    whole = fit(TASK, network(), Blobs(), RECIPE, run=tmp_path)
    newest = list_checkpoints(tmp_path / "checkpoints")[0]
    newest.write_bytes(newest.read_bytes()[:-100])
    again = fit(TASK, network(), Blobs(), RECIPE, run=tmp_path, resume=True)
    assert same_weights(whole.model, again.model)


def test_nothing_to_resume_from_is_said(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="No checkpoint"):
        fit(TASK, network(), Blobs(), RECIPE, run=tmp_path, resume=True)


def test_accumulated_micro_batches_give_the_whole_batchs_step() -> None:
    """Without batch norm the mean of means, weighted by size, is the mean: only the order of sums differs."""
    recipe = replace(RECIPE, ema=None, epochs=1, optimizer=Optimizer("sgd", lr=0.1, momentum=0.0, nesterov=False))
    task = Classify(classes=("a", "b", "c"))
    models = [network(norm=False).eval() for _ in range(2)]
    for model in models:
        model[3] = nn.Identity()  # type: ignore[index]  # dropout would draw other masks for other shapes
    whole = fit(task, models[0], Blobs(), recipe)
    parts = fit(task, models[1], Blobs(), recipe, resolved=replace(resolve_plainly(recipe), micro_batch=5))
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


class Poisoned(Blobs):
    """Images of the given steps hold a NaN."""

    def __init__(self, steps: set[int]) -> None:
        super().__init__()
        self.poisoned = steps

    def train(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        for step, batch in enumerate(super().train(epoch, start_step)):
            if step + start_step in self.poisoned:
                batch["image"] = batch["image"].clone()
                batch["image"][0, 0, 0, 0] = float("nan")
            yield batch


def test_a_non_finite_batch_reaches_neither_weights_nor_buffers() -> None:
    fitted = fit(TASK, network(), Poisoned({1, 3}), replace(RECIPE, epochs=1))
    assert fitted.history[0]["skipped"] == 2
    assert all(torch.isfinite(tensor).all() for tensor in fitted.model.state_dict().values())
    assert int(fitted.model.state_dict()["1.num_batches_tracked"]) == 3


def test_lasting_divergence_stops_with_a_diagnosis() -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(Failed) as caught:
        fit(TASK, model, Poisoned(set(range(5))), replace(RECIPE, nonfinite_limit=3, ema=None))
    assert all(word in str(caught.value) for word in ("diverged", "--optimizer.lr", "step 3"))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_best_epoch_is_kept_not_the_last() -> None:
    """A rate that explodes late: the last epochs are worse, and the weights returned are the best ones'."""
    recipe = replace(
        RECIPE,
        epochs=8,
        ema=None,
        optimizer=Optimizer("sgd", lr=0.05),
        schedule=Schedule("step", warmup=0.0, milestones=(0.6,), gamma=1e3),
    )
    batches = Blobs()
    fitted = fit(TASK, network(), batches, recipe)
    accuracies = [row["validation"]["accuracy"] for row in fitted.history]
    assert fitted.best is not None
    assert fitted.best.figure == max(accuracies) > accuracies[-1]
    with torch.no_grad():
        scored = (fitted.model(batches.image).argmax(1) == batches.label).float().mean().item()
    assert scored == pytest.approx(fitted.best.figure)


def test_a_device_out_of_memory_halves_the_micro_batch_and_keeps_the_step(tmp_path: Path) -> None:
    """A pretended device holds five images: 16 fail, then 8, then 4 pass; the step and batch norm's count are those of fours."""

    class Cramped(Classify):
        def losses(self, model: nn.Module, batch: Batch, player: str) -> dict[str, Tensor]:
            losses = super().losses(model, batch, player)
            if model.training and len(batch["image"]) > 5:
                raise torch.cuda.OutOfMemoryError("pretended")
            return losses

    heard: list[str] = []

    class Listener(Silent):
        def message(self, text: str) -> None:
            heard.append(text)

    task, recipe = Cramped(classes=("a", "b", "c")), replace(RECIPE, epochs=1)
    cramped = fit(task, network(), Blobs(), recipe, progress=Listener())
    roomy = fit(TASK, network(), Blobs(), recipe, resolved=replace(resolve_plainly(recipe), micro_batch=4))
    assert same_weights(cramped.model, roomy.model)
    assert ["micro-batch 8" in heard[0], "micro-batch 4" in heard[1], len(heard)] == [True, True, 2]

    class Hopeless(Cramped):
        def losses(self, model: nn.Module, batch: Batch, player: str) -> dict[str, Tensor]:
            raise torch.cuda.OutOfMemoryError("pretended")

    with pytest.raises(Failed, match="ran out of memory"):
        fit(Hopeless(classes=("a", "b", "c")), network(), Blobs(), recipe)


def test_losses_over_pairs_refuse_a_micro_batch() -> None:
    class Pairs(Classify):
        pairs = True

    with pytest.raises(Refused, match="compares the samples"):
        fit(Pairs(classes=("a", "b", "c")), network(), Blobs(), RECIPE, resolved=replace(resolve_plainly(RECIPE), micro_batch=4))


def test_the_callers_random_states_are_put_back() -> None:
    before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index, union-attr]
    model = network()
    torch.set_rng_state(before[0])
    fit(TASK, model, TinyBatches(next(Blobs().validation()), 2), replace(RECIPE, epochs=1))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # type: ignore[index, union-attr]
