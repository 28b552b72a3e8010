"""``fit()``: the only training loop. Tasks say what is learnt, batches what is seen, the recipe how."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from striate.checkpoint import newest_checkpoint
from striate.data.augmenter import Augmenter
from striate.errors import Failed, Interrupted, Refused
from striate.fine_tuning import FineTuning
from striate.layers import overwriting
from striate.optimization import Plateau, WeightAverage, rate_factor, set_rate
from striate.progress import Progress, Silent
from striate.recipe import Recipe, Resolved, resolve_plainly
from striate.runstate import Best, EpochClock, RunState, restore_state, save_state
from striate.seeding import own_randomness, seed_for
from striate.signals import StopRequest
from striate.tasks.base import Batch, BatchSource, Task
from striate.turns import Side, Turn, batch_size, diverged, make_sides, set_training, take_turn
from striate.validation import to_device, validate


@dataclass
class Fitted:
    """What ``fit`` returns.

    Attributes:
        model: the network with the weights that were best on validation (the average's, where one was kept), in eval mode.
        history: one row an epoch, as in ``metrics.jsonl``.
        best: the epoch and figure that chose the weights; None without validation: the last ones.
    """

    model: nn.Module
    history: list[dict[str, Any]]
    best: Best | None


def fit(
    task: Task,
    model: nn.Module,
    batches: BatchSource,
    recipe: Recipe,
    *,
    run: Path | None = None,
    resolved: Resolved | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> Fitted:
    """Trains ``model`` on ``task``.

    Args:
        task: what is learnt.
        model: any module that the task can call; trained in place and moved to the device.
        batches: the training and validation batches.
        recipe: how it is learnt.
        run: folder for ``metrics.jsonl`` and ``checkpoints/``; None: nothing is written.
        resolved: what was measured or chosen beforehand; None: fp32, contiguous, on the CPU.
        resume: go on from the newest checkpoint of ``run``, bit for bit on a CPU.
        progress: told of steps and epochs.
        stop: a request to save and stop; None: SIGINT and SIGTERM are taken as one meanwhile.

    Raises:
        Interrupted: after a signal, once the state was saved.
        Failed: when losses or gradients stay non-finite.
        Refused: on settings that would change the result unseen, or on nothing to resume from.
    """
    with own_randomness(), nullcontext(stop) if stop is not None else StopRequest() as request:
        fitting = _Fit(task, model, batches, recipe, resolved or resolve_plainly(recipe), run, progress or Silent(), request)
        with overwriting(model):
            return fitting.run(resume)


EPOCH_SECONDS = 1.0
"""Epochs shorter than this do not each write a checkpoint: syncing it to the disk would take longer than the training."""


class _Fit:
    def __init__(
        self,
        task: Task,
        model: nn.Module,
        batches: BatchSource,
        recipe: Recipe,
        resolved: Resolved,
        run: Path | None,
        progress: Progress,
        stop: StopRequest,
    ) -> None:
        self.task, self.batches, self.recipe, self.resolved = task, batches, recipe, resolved
        self.folder, self.progress, self.stop = run, progress, stop
        if task.pairs and resolved.micro_batch < recipe.batch:
            raise Refused(
                f"A micro-batch of {resolved.micro_batch} would change this loss",
                why="it compares the samples of a batch with one another, so only a whole batch gives its value",
                fix=f"lower the batch itself: --batch {resolved.micro_batch}",
            )
        self.device = torch.device(resolved.device)
        self.memory_format = torch.channels_last if resolved.memory_format == "channels_last" else torch.contiguous_format
        self.model = model.to(self.device)
        if resolved.memory_format == "channels_last":
            self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=resolved.precision == "bf16")
        self.fine_tuning = FineTuning(self.model, recipe.fine_tune)
        if not recipe.fine_tune.unfreeze_every:  # else the optimizers must know what will learn later
            self.fine_tuning.begin_epoch(0)
        self.sides: list[Side] = make_sides(task, self.model, recipe, self.fine_tuning.rates)
        self.average = WeightAverage(self.model, recipe.ema) if recipe.ema is not None else None
        self.plateau = Plateau(recipe.schedule)
        self.augmenter = make_augmenter(task, batches, recipe)
        self.micro_batch = resolved.micro_batch
        self.total_steps = max(1, resolved.epochs * batches.steps)
        self.state = RunState()
        self.saved_at = time.monotonic()

    def run(self, resume: bool) -> Fitted:
        if resume:
            if self.folder is None:
                raise ValueError("fit(resume=True) needs run=, the folder to resume from")
            _, checkpoint = newest_checkpoint(self.folder / "checkpoints")
            self.state = restore_state(self, checkpoint, self.folder)
        while self.state.epoch < self.resolved.epochs:
            self._epoch()
            if self.stop and self.state.epoch < self.resolved.epochs:
                self._interrupt()
        return self._finish()

    def _epoch(self) -> None:
        state, clock = self.state, EpochClock()
        self.fine_tuning.begin_epoch(state.epoch)
        if self.recipe.validate_start and state.global_step == 0:
            self._keep_if_best(self._validate())
            self._save()
        steps = iter(self.batches.train(state.epoch, state.step))
        try:
            for batch in clock.waiting(steps):
                self._step(batch)
                clock.images += batch_size(batch)
                self.progress.step(state, self.batches.steps, self.resolved.epochs, clock.images_per_second)
                if state.step == self.batches.steps:
                    break
                if self.stop:
                    self._interrupt()
                if self.folder and time.monotonic() - self.saved_at > self.recipe.checkpoint_seconds:
                    self._save()
        finally:
            close = getattr(steps, "close", None)
            if close is not None:
                close()
        self._end_epoch(clock)

    def _step(self, batch: Batch) -> None:
        state = self.state
        factor = rate_factor(self.recipe.schedule, state.global_step / self.total_steps, self.plateau.factor)
        batch = self._prepare(batch)
        for side in self.sides:
            set_rate(side.optimizer, side.peak_lr * factor)
            for turn in range(side.player.steps):
                self._account(side, self._take(side, batch, turn), batch_size(batch))
        self.fine_tuning.pull(self.sides[0].peak_lr * factor)
        if self.average is not None:
            self.average.update()
        state.step += 1
        state.global_step += 1
        state.lr = self.sides[0].peak_lr * factor

    def _prepare(self, batch: Batch) -> Batch:
        """Moves a batch to the device, augments it and normalises the image."""
        batch = to_device(batch, self.device)
        if self.augmenter is not None:
            batch = self.augmenter(batch, self.state.epoch)
        return self._normalized(batch)

    def _normalized(self, batch: Batch) -> Batch:
        image = batch["image"]
        image = self.batches.preprocess.normalize(image) if self.batches.preprocess is not None else image.float()
        return {**batch, "image": image.contiguous(memory_format=self.memory_format) if image.ndim == 4 else image}

    def _take(self, side: Side, batch: Batch, turn: int) -> Turn:
        """One turn; on a CUDA device that runs out of memory, again with half the micro-batch."""
        set_training(self.model)
        while True:
            seed_for(self.recipe.seed, self.state.global_step, side.name, turn)
            try:
                return take_turn(
                    side, self.task, self.model, batch,
                    micro_batch=self.micro_batch, clip=self.recipe.clip, autocast=self.autocast,
                )  # fmt: skip
            except torch.cuda.OutOfMemoryError as error:
                size = min(self.micro_batch, batch_size(batch))
                if self.task.pairs or size < 2:
                    raise Failed(
                        "The device ran out of memory",
                        where=f"micro-batch {size}",
                        fix="lower --size or --batch, or take a smaller network",
                    ) from error
                torch.cuda.empty_cache()
                self.micro_batch = -(-size // 2)
                self.progress.message(
                    f"out of memory: micro-batch {self.micro_batch} from here on, accumulated to the same batch"
                )

    def _account(self, side: Side, turn: Turn, size: int) -> None:
        state = self.state
        if turn.applied:
            state.nonfinite[side.name] = 0
            state.add_losses(turn.losses, size, side.name if len(self.sides) > 1 else None)
            return
        state.nonfinite[side.name] = state.nonfinite.get(side.name, 0) + 1
        state.skipped += 1
        self.progress.message(
            f"step {state.global_step + 1}: non-finite loss or gradient of {side.name!r}; skipped, weights unchanged"
        )
        if state.nonfinite[side.name] >= self.recipe.nonfinite_limit:
            raise diverged(side, turn, state.nonfinite[side.name], f"epoch {state.epoch + 1}, step {state.global_step + 1}")

    def _end_epoch(self, clock: EpochClock) -> None:
        state, recipe = self.state, self.recipe
        last = state.epoch + 1 == self.resolved.epochs
        seconds, images_per_second = clock.seconds, clock.images_per_second
        figures: dict[str, float] = {}
        if last or (state.epoch + 1) % recipe.validate_every == 0:
            figures = self._validate()
        improved = bool(figures) and self._keep_if_best(figures)
        if figures:
            self.plateau.update(improved)
        row = {
            "epoch": state.epoch + 1,
            "step": state.global_step,
            "seconds": round(clock.seconds, 3),
            "training_seconds": round(seconds, 3),
            "images_per_second": round(images_per_second, 1),
            "input_seconds": round(clock.waited, 3),
            "lr": state.lr,
            "train": state.mean_losses(),
            "validation": {name: value if math.isfinite(value) else None for name, value in figures.items()},
            "monitor": self.task.monitor,
            "best": improved,
            "skipped": state.skipped,
        }
        state.finish_epoch(row)
        if last or time.monotonic() - self.saved_at > min(EPOCH_SECONDS, self.recipe.checkpoint_seconds):
            self._save()
        self.progress.epoch(row)
        if last and (said := self.task.concern(figures)):
            self.progress.message(said)

    def _validate(self) -> dict[str, float]:
        seed_for(self.recipe.seed, self.state.global_step, "validation", 0)
        with self.autocast if self.resolved.precision == "bf16" else nullcontext():
            return validate(
                self.task, self._candidate(), (self._normalized(to_device(b, self.device)) for b in self.batches.validation())
            )

    def _candidate(self) -> nn.Module:
        return self.average.module if self.average is not None else self.model

    def _keep_if_best(self, figures: dict[str, float]) -> bool:
        monitor = self.task.monitor
        if monitor not in figures:
            raise ValueError(f"{type(self.task).__name__}.monitor is {monitor!r}, but validation gave {sorted(figures)}")
        best = Best(self.state.epoch + (self.state.step > 0), monitor, figures[monitor])
        if not best.better_than(self.state.best, self.task.monitor_mode):
            return False
        self.state.best = best
        self.state.best_weights = {name: tensor.detach().clone() for name, tensor in self._candidate().state_dict().items()}
        return True

    def _save(self) -> None:
        if self.folder is not None:
            save_state(self, self.folder)
        self.saved_at = time.monotonic()

    def _interrupt(self) -> None:
        what, fix = f"Stopped in epoch {self.state.epoch + 1} after step {self.state.step}", None
        if self.folder is not None:
            self._save()
            what, fix = f"{what}; everything is saved", f"striate resume {self.folder}"
        raise Interrupted(what, self.stop.signal_number, where=self.folder, fix=fix)

    def _finish(self) -> Fitted:
        self.model.load_state_dict(self.state.best_weights or dict(self._candidate().state_dict()))
        return Fitted(self.model.eval(), self.state.history, self.state.best)


def make_augmenter(task: Task, batches: BatchSource, recipe: Recipe) -> Augmenter | None:
    """What varies the training images; None where the recipe varies nothing, or the batches are not images of ours."""
    if not recipe.augment.any or batches.preprocess is None:
        return None
    return Augmenter(
        recipe.augment, batches.preprocess.size, recipe.seed, len(getattr(task, "classes", ())), batches.preprocess.resize
    )
