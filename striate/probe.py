"""Short timed steps before a run: they choose precision, memory format, threads, allocator and micro-batch, once."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from striate import machine
from striate.errors import Failed
from striate.files import write_json
from striate.fine_tuning import FineTuning
from striate.layers import overwriting
from striate.recipe import Recipe, Resolved, resolve_plainly
from striate.tasks.base import Batch, Task
from striate.turns import make_sides, set_training, split_batch, take_turn
from striate.validation import to_device

MARGIN = 1.08
"""How much faster another choice must be than the usual one: below it timings are noise."""
BEHIND = 1.25
"""From here on a choice is not timed any further: 5 steps, the fastest of which is so much slower than the best choice's."""
MEMORY_SHARE = 0.8
"""Share of the available memory that a step may use."""


_OF_THE_MOMENT = ("epochs", "micro_batch")
"""What an answer of another day does not say: it follows from the recipe and from the memory that is free now."""


def resolve(
    task: Task,
    model: nn.Module,
    batch: Batch,
    recipe: Recipe,
    device: str,
    *,
    cache: Path | None = None,
    tuning: machine.Tuning | None = None,
    check: Callable[[], None] = lambda: None,
) -> Resolved:
    """Chooses what the recipe leaves open, by timing steps on copies of ``model``.

    Args:
        task, model: as for ``fit``; the model is left as it is.
        batch: one batch of the recipe's size, images already normalised.
        recipe: its fields that are not ``auto`` are taken as they are; ``probe=False`` measures nothing.
        device: ``cpu`` or ``cuda``.
        cache: file that keeps answers by machine, network and batch; None: measured anew.
        tuning: settings that the process may change, as :func:`striate.machine.tune` gave them; None: none.
        check: called before each timing; raises where the run is to stop.

    Raises:
        Failed: when not even one image fits in memory.
    """
    plain = dataclasses.replace(
        resolve_plainly(recipe, device), threads=torch.get_num_threads(), tuned_allocator=tuning is not None and tuning.allocator
    )
    if not recipe.probe:
        return plain
    check()
    plain = _fitted(task, model, batch, recipe, plain)
    key = _key(model, batch, recipe, plain, tuning is not None)
    if machine.is_busy():
        cache = None  # what pays beside other work does not pay on a quiet machine, nor the other way round
    answers = _read(cache)
    if key in answers:
        chosen = dataclasses.replace(plain, **{**answers[key], "notes": (*plain.notes, *answers[key]["notes"])})
        if tuning is not None:
            machine.tune(chosen.threads, chosen.tuned_allocator)
        return chosen
    chosen = _measure(task, model, batch, recipe, plain, tuning, check)
    if cache is not None:
        found = dataclasses.asdict(chosen)
        answer = {name: found[name] for name in found if name not in _OF_THE_MOMENT}
        answer["notes"] = chosen.notes[len(plain.notes) :]
        with contextlib.suppress(Failed):  # a cache that cannot be written costs time, nothing else
            cache.parent.mkdir(parents=True, exist_ok=True)
            write_json(cache, {**answers, key: answer})
    return chosen


def _key(model: nn.Module, batch: Batch, recipe: Recipe, plain: Resolved, tuned: bool) -> str:
    shapes = [(name, tuple(p.shape)) for name, p in model.named_parameters()]
    asked = (
        recipe.precision,
        recipe.memory_format,
        recipe.batch,
        recipe.accumulate,
        recipe.optimizer.name,
        recipe.fine_tune.freeze,
        tuple(batch["image"].shape[1:]),
    )
    where = (machine.cpu_name(), torch.__version__, plain.threads, plain.device, plain.tuned_allocator, tuned)
    return sha256(repr((type(model).__name__, shapes, asked, where)).encode()).hexdigest()[:32]


def _read(cache: Path | None) -> dict[str, Any]:
    if cache is None or not cache.exists():
        return {}
    try:
        answers = json.loads(cache.read_text())
    except (OSError, ValueError):
        return {}
    return answers if isinstance(answers, dict) else {}


def _measure(
    task: Task, model: nn.Module, batch: Batch, recipe: Recipe, plain: Resolved, tuning: machine.Tuning | None,
    check: Callable[[], None],
) -> Resolved:  # fmt: skip
    notes = list(plain.notes)
    seconds: dict[Resolved, float] = {}
    for choice in reversed(_choices(recipe, plain)):  # what is likely to be fastest first: the others are timed for less long
        check()
        seconds[choice] = _seconds(task, model, batch, recipe, choice, min(seconds.values(), default=math.inf))
    # Of two that take as long: full precision, and the layout in which oneDNN's convolutions need no copies.
    usual = next((choice for choice in seconds if (choice.precision, choice.memory_format) == ("fp32", "channels_last")), plain)
    best = min(seconds, key=lambda choice: seconds[choice] * (1.0 if choice == usual else MARGIN))
    if len(seconds) > 1:
        timed = ", ".join(f"{c.precision} {c.memory_format} {1000 * s:.3g} ms" for c, s in seconds.items())
        how = "fastest of" if seconds[best] == min(seconds.values()) else "within noise the fastest of"
        notes.append(f"{best.precision} and {best.memory_format}: {how} {timed} a step")
    if tuning is not None and plain.device == "cpu":
        best = _choose_threads(task, model, batch, recipe, best, seconds, notes)
        best = _choose_allocator(task, model, batch, recipe, best, seconds, notes) if tuning.allocator else best
    return dataclasses.replace(best, step_seconds=seconds.get(best), notes=tuple(notes))


def _choices(recipe: Recipe, plain: Resolved) -> list[Resolved]:
    """bf16 goes with channels_last: each alone is slower than neither on every CPU it was measured on."""
    choices = [plain]
    if recipe.memory_format == "auto":
        choices.append(dataclasses.replace(plain, memory_format="channels_last"))
    if recipe.precision == "auto" and (plain.device == "cuda" or machine.has_bf16()):
        memory_format = "channels_last" if recipe.memory_format == "auto" else plain.memory_format
        choices.append(dataclasses.replace(plain, precision="bf16", memory_format=memory_format))
    return choices


def _choose_threads(
    task: Task, model: nn.Module, batch: Batch, recipe: Recipe, chosen: Resolved, seconds: dict[Resolved, float], notes: list[str]
) -> Resolved:
    """Threads wait for one another after every operation: with a busy neighbour, or a small network, one is faster."""
    if chosen.threads < 2:
        return chosen
    alone = dataclasses.replace(chosen, threads=1)
    torch.set_num_threads(1)
    seconds[alone] = _seconds(task, model, batch, recipe, alone, seconds[chosen])
    if seconds[alone] * MARGIN < seconds[chosen]:
        notes.append(f"1 thread: {seconds[chosen] / seconds[alone]:.1f}x faster here than {chosen.threads}")
        return alone
    torch.set_num_threads(chosen.threads)
    return chosen


def _choose_allocator(
    task: Task, model: nn.Module, batch: Batch, recipe: Recipe, chosen: Resolved, seconds: dict[Resolved, float], notes: list[str]
) -> Resolved:
    """Keeping freed memory costs some small bf16 networks a few per cent, so it is timed as well."""
    machine.keep_freed_memory(False)
    without = dataclasses.replace(chosen, tuned_allocator=False)
    seconds[without] = _seconds(task, model, batch, recipe, without, seconds[chosen])
    if seconds[without] * MARGIN < seconds[chosen]:
        notes.append(
            f"the system's allocator as it is: {seconds[chosen] / seconds[without]:.2f}x faster here than keeping freed memory"
        )
        return without
    machine.keep_freed_memory(True)
    return chosen


@contextlib.contextmanager
def _trial(task: Task, model: nn.Module, batch: Batch, recipe: Recipe, choice: Resolved) -> Iterator[Any]:
    """Yields a function that takes one training step of ``choice`` on a copy of the model."""
    device = torch.device(choice.device)
    memory_format = torch.channels_last if choice.memory_format == "channels_last" else torch.contiguous_format
    trial = copy.deepcopy(model).to(device)
    if choice.memory_format == "channels_last":
        trial = trial.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch = to_device(batch, device)
    if batch["image"].ndim == 4:
        batch = {**batch, "image": batch["image"].contiguous(memory_format=memory_format)}
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=choice.precision == "bf16")
    FineTuning(trial, recipe.fine_tune).begin_epoch(0)
    set_training(trial)
    sides = make_sides(task, trial, recipe)
    state = torch.get_rng_state()

    def step() -> None:
        for side in sides:
            for group in side.optimizer.param_groups:
                group["lr"] = 0.0
            take_turn(side, task, trial, batch, micro_batch=choice.micro_batch, clip=recipe.clip, autocast=autocast)
        if device.type == "cuda":
            torch.cuda.synchronize()

    try:
        with overwriting(trial):
            yield step
    finally:
        torch.set_rng_state(state)


def _seconds(
    task: Task, model: nn.Module, batch: Batch, recipe: Recipe, choice: Resolved, best: float = math.inf, limit: float = 1.5
) -> float:
    """Fastest step after a first one that does not count, of as many as ``limit`` seconds hold, and at least one.

    Of a choice that is clearly behind ``best``, five are enough. Where the first alone took long, and half as long again as
    ``best``, it is all that is tried: what it takes to warm up is little of a long step.
    """
    with _trial(task, model, batch, recipe, choice) as step:
        times = [_timed(step)]
        if times[0] > max(limit / 2, 1.5 * best):
            return times[0]
        while len(times) < 2 or (sum(times[1:]) < limit and len(times) < (6 if min(times[1:]) > BEHIND * best else 21)):
            times.append(_timed(step))
    return min(times[1:])


def _timed(step: Callable[[], None]) -> float:
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def _fitted(task: Task, model: nn.Module, batch: Batch, recipe: Recipe, plain: Resolved) -> Resolved:
    """``plain`` with the largest micro-batch whose step, extrapolated from two small ones, stays within the free memory.

    On a CPU the system kills without an exception, so the whole batch is never tried first.
    """
    available = machine.available_memory()
    largest = min(plain.micro_batch, len(batch["image"]))
    small, double = max(2, largest // 16), max(4, largest // 8)
    if plain.device != "cpu" or available is None or task.pairs or double >= largest:
        return plain
    # The first step pays for what the libraries set up; what it leaves resident is the ground that both are measured from.
    _peak(task, model, batch, recipe, dataclasses.replace(plain, micro_batch=small))
    machine.release_freed_memory()
    ground = machine.resident_memory()
    low, high = (
        _peak(task, model, batch, recipe, dataclasses.replace(plain, micro_batch=size)) - ground for size in (small, double)
    )
    per_image = (high - low) / (double - small)
    if per_image <= 0:
        return plain
    fixed = max(0.0, low - per_image * small)
    allowed = MEMORY_SHARE * available
    if fixed + per_image * largest <= allowed:
        return plain
    fits = int((allowed - fixed) / per_image)
    if fits < 2:
        raise Failed(
            "One training step does not fit in memory",
            where=f"{available / 2**30:.1f} GiB available",
            fix="lower --size, or take a smaller network",
        )
    micro = 1 << (fits.bit_length() - 1)
    note = (
        f"micro-batch {micro}: a whole batch of {largest} would need {(fixed + per_image * largest) / 2**30:.1f} GiB of "
        f"{available / 2**30:.1f} available; gradients accumulate to the same batch, batch norm sees {micro} images"
    )
    return dataclasses.replace(plain, micro_batch=micro, notes=(*plain.notes, note))


def _peak(task: Task, model: nn.Module, batch: Batch, recipe: Recipe, choice: Resolved) -> int:
    """Most bytes the process held during one step with only ``choice.micro_batch`` images."""
    part = next(split_batch(batch, choice.micro_batch))
    machine.release_freed_memory()
    machine.reset_peak_memory()
    with _trial(task, model, part, recipe, choice) as step:
        step()
    return machine.peak_memory()
