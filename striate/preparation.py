"""From data and network to what ``fit`` reads: batches, task, balance, and the choices measured before a run."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from striate import machine
from striate.data.audit import Audit
from striate.data.batches import Batches
from striate.data.class_batches import ClassBatches
from striate.data.findings import TINY, counted
from striate.data.preprocess import Preprocess
from striate.data.source import Source
from striate.data.split import Split
from striate.errors import Refused, UsageError
from striate.features import replace_head
from striate.losses import balanced_weights
from striate.machine import Tuning
from striate.probe import resolve
from striate.progress import Progress
from striate.recipe import Recipe, Resolved
from striate.subject import Subject
from striate.tasks.base import Batch, Task
from striate.tasks.classify import Classify
from striate.tasks.embed import LOSSES, Embed
from striate.training import make_augmenter

NAMED = 5
"""Unreadable files that the plan names; the audit lists all."""
UNEVEN = 3.0
"""From this ratio of the largest to the smallest class on, ``balance="auto"`` weighs the loss."""


@dataclass(frozen=True)
class Prepared:
    """All that ``fit`` needs, and what the run's files say of it.

    Attributes:
        task: what the finished model answers.
        learns: what ``fit`` trains: the task itself, or distances, from which the task's head is solved afterwards.
    """

    source: Source
    split: Split
    subject: Subject
    preprocess: Preprocess
    task: Classify
    learns: Task
    batches: Batches
    recipe: Recipe


def prepare(
    source: Source, split: Split, subject: Subject, preprocess: Preprocess, recipe: Recipe,
    *, workers: int | None, cache: str, progress: Progress, balance: str | None = None, check: Callable[[], None] = lambda: None,
) -> Prepared:  # fmt: skip
    """Builds task and batches; the held-out samples stay out of both.

    Args:
        check: called often while files are decoded; raises where the run is to stop.
        balance: as resolved before, on resume; None: by the recipe and the classes.

    Raises:
        UsageError: fewer than no workers, or balancing that does not fit the targets.
    """
    if workers is not None and workers < 0:
        raise UsageError(f"workers is {workers}", why="it is the number of decoding threads", fix="give a number from 0 on")
    balance = balance if balance is not None else choose_balance(recipe, source, split)
    weights = class_weights(source, split) if balance != "none" else None
    drawn = np.asarray(weights)[source.targets[split.train]] if balance == "sampler" else None
    distances = make_distance_task(recipe)
    make_batches = (
        partial(Batches, sample_weights=drawn)
        if distances is None
        else partial(ClassBatches, images_per_class=recipe.embedding.images_per_class)
    )
    batches = make_batches(
        source, split.train, split.validation, preprocess,
        batch=recipe.batch, seed=recipe.seed, workers=workers, cache=cache_path(cache),
        augmented=recipe.augment.resamples,
    )  # fmt: skip

    def told(done: int, total: int) -> None:
        check()
        progress.stage("decoding", done, total)

    batches.scan(told)
    for note in batches.notes:
        progress.message(note)
    task = make_task(source, split, recipe, weights if balance == "loss" else None)
    if distances is not None:
        replace_head(subject.module, subject.image, distances.dimension, recipe.seed)
    return Prepared(source, split, subject, preprocess, task, distances or task, batches, recipe)


def prepare_again(
    ready: Prepared, recipe: Recipe, workers: int | None, cache: str, progress: Progress, check: Callable[[], None]
) -> Prepared:
    """The same data and network for another recipe, whose augmentation may need other pictures."""
    ready.batches.close()
    return prepare(
        ready.source, ready.split, ready.subject, ready.preprocess, recipe,
        workers=workers, cache=cache, progress=progress, check=check,
    )  # fmt: skip


def make_distance_task(recipe: Recipe) -> Embed | None:
    """What ``fit`` trains in metric learning; None where the recipe's loss compares no images with one another."""
    if recipe.loss == "supervised_contrastive" or recipe.loss == "triplet":
        return Embed(recipe.embedding.dimension, recipe.loss, recipe.embedding.temperature, recipe.embedding.margin)
    return None


def make_task(source: Source, split: Split, recipe: Recipe, weights: tuple[float, ...] | None) -> Classify:
    """The task that the targets of ``source`` ask for; for numbers, label smoothing has no meaning and is left out.

    Raises:
        Refused: numbers that are all the same.
    """
    if recipe.loss == "supervised_contrastive" or recipe.loss == "triplet":
        return Classify(source.classes, source.kind)
    if source.kind != "value":
        return Classify(source.classes, source.kind, recipe.loss, recipe.label_smoothing, weights)
    values = source.targets[split.train]
    if values.min() == values.max():
        what = f"Every training image has the same number, {values[0]:g}"
        raise Refused(what, where=source.location, why="there is nothing to learn", fix="train on images of different numbers")
    return Classify((), "value", recipe.loss, target_mean=float(values.mean()), target_std=float(values.std()))


def class_counts(source: Source, split: Split) -> NDArray[np.int64]:
    """Training samples of each class, int64 [K]; a sample of several classes counts in each."""
    own = source.targets[split.train]
    return np.bincount(own, minlength=len(source.classes)) if source.kind == "label" else own.sum(axis=0).astype(np.int64)


def class_weights(source: Source, split: Split) -> tuple[float, ...]:
    """Weights that make the classes of the training split count alike."""
    num_samples = len(split.train) if source.kind == "labels" else None
    return tuple(balanced_weights(class_counts(source, split).tolist(), num_samples))


def choose_balance(recipe: Recipe, source: Source, split: Split) -> str:
    """``loss``, ``sampler`` or ``none``; ``auto`` weighs the loss where one label each is spread unevenly.

    Raises:
        UsageError: balancing asked for where there are no classes, or drawing by class where samples have several.
    """
    if recipe.balance == "none" or (recipe.balance == "auto" and (source.kind != "label" or recipe.loss in LOSSES)):
        return "none"
    if recipe.loss in LOSSES:
        why = "every batch has as many images of each of its classes"
        raise UsageError(f"--balance {recipe.balance} does not fit --loss {recipe.loss}", why=why, fix="--balance none")
    if source.kind == "value" or (source.kind == "labels" and recipe.balance == "sampler"):
        why = "numbers have no classes" if source.kind == "value" else "a sample of several classes cannot be drawn for one"
        what = f"--balance {recipe.balance} does not fit these targets"
        raise UsageError(what, where=source.location, why=why, fix="--balance none")
    if recipe.balance != "auto":
        return recipe.balance
    counts = class_counts(source, split)
    return "loss" if counts.min() > 0 and counts.max() > UNEVEN * counts.min() else "none"


def cache_path(cache: str) -> Path | None:
    """Folder of the pixel cache: ``auto`` is the user's cache folder, ``off`` none."""
    if cache == "off":
        return None
    return machine.cache_folder() / "pixels" if cache == "auto" else Path(cache)


def choose_device(device: str) -> str:
    """``cuda`` where asked for or found, else ``cpu``.

    Raises:
        UsageError: an unknown device, or one that is not here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return machine.usable_device(device)


def resolve_run(
    ready: Prepared, device: str, seconds: float | None, tuning: Tuning | None, check: Callable[[], None] = lambda: None
) -> tuple[Resolved, float | None]:
    """Measures what the recipe leaves open, and fits the epochs to a time budget; returns also the estimated seconds.

    ``check`` is called between the measurements, and raises where the run is to stop.
    """
    batch, prepare_seconds = _first_batch(ready)
    answers = machine.cache_folder() / "probe.json"
    resolved = resolve(ready.learns, ready.subject.module, batch, ready.recipe, device, cache=answers, tuning=tuning, check=check)
    resolved = dataclasses.replace(resolved, balance=choose_balance(ready.recipe, ready.source, ready.split))
    if resolved.step_seconds is None:
        if seconds is not None:
            raise UsageError("--budget needs the timed steps of the probe", fix="leave --no-probe away, or give --epochs")
        return resolved, None
    epoch = _epoch_seconds(ready, resolved.step_seconds, prepare_seconds)
    if seconds is not None:
        epochs = max(1, int(seconds / epoch))
        fitting = f"budget: {counted(epochs, 'epoch')} of about {epoch:.2g} s fit into {seconds:.0f} s"
        notes = (*resolved.notes, fitting)
        resolved = dataclasses.replace(resolved, epochs=epochs, notes=notes)
    return resolved, epoch * resolved.epochs


def _first_batch(ready: Prepared) -> tuple[Batch, float]:
    """The first training batch as the network will see it, and the seconds that augmenting and normalising it take."""
    batches = iter(ready.batches.train(0))
    raw = next(batches)
    getattr(batches, "close", lambda: None)()
    augmenter = make_augmenter(ready.learns, ready.batches, ready.recipe)
    seconds = math.inf
    for _ in range(3):
        begun = time.perf_counter()
        batch = augmenter(raw, 0) if augmenter is not None else raw
        batch = {**batch, "image": ready.preprocess.normalize(batch["image"])}
        seconds = min(seconds, time.perf_counter() - begun)
    return batch, seconds


def _epoch_seconds(ready: Prepared, step_seconds: float, prepare_seconds: float) -> float:
    """Estimate: training steps, validation at a third of a training step an image, and 5 % and 10 ms for all the rest."""
    recipe = ready.recipe
    validation = step_seconds * ready.batches.num_validation / recipe.batch / 3 / recipe.validate_every
    return 1.05 * (ready.batches.steps * (step_seconds + prepare_seconds) + validation) + 0.01


def refuse_bad_files(source: Source, found: Audit, recipe: Recipe) -> None:
    """Raises ``Refused`` where more than ``recipe.bad_files`` of any class cannot be read."""
    counts, bad = (found.counts(), found.bad_counts) if source.classes else (np.array([len(source)]), np.array([found.num_bad]))
    shares = bad / np.maximum(1, counts)
    worst = int(shares.argmax())
    if shares[worst] > recipe.bad_files:
        first, reason = found.bad[0].key, found.bad[0].reason
        where = f" in class {source.classes[worst]!r}" if source.classes else ""
        raise Refused(
            f"{bad[worst]} of {counts[worst]} files{where} cannot be read ({100 * shares[worst]:.1f} %)",
            where=source.location,
            why=f"over {100 * recipe.bad_files:g} % of a class would be missing unseen; first: {first} ({reason})",
            fix="repair or remove them (`striate check` lists all), or allow more with --bad-files SHARE",
        )


def data_notes(source: Source, found: Audit, resolved: Resolved, subject: Subject) -> tuple[str, ...]:
    """Sentences on what the audit saw that a user should know before training."""
    notes = [f"{finding.text} {finding.fix}".strip() for finding in found.findings if finding.level != "note"]
    notes += [f"left out: {bad.key} ({bad.reason})" for bad in found.bad[:NAMED]]
    if resolved.balance != "none":
        ratio = f", the largest has {found.imbalance:.1f} times the images of the smallest" if found.imbalance else ""
        means = "the loss weighs them" if resolved.balance == "loss" else "images are drawn"
        notes.append(f"uneven classes{ratio}: {means} so that all count alike (--balance none: not)")
    height, width = found.size_range(0)[1], found.size_range(1)[1]
    if 0 < min(height, width) < TINY:
        notes.append(f"the pictures are tiny ({height} x {width} pixels at the median): is this the right folder?")
    elif min(height, width) * 4 < min(subject.input_size):
        enlarged = (
            f"the pictures ({height} x {width} at the median) are enlarged to {subject.input_size[0]} x {subject.input_size[1]}"
        )
        notes.append(f"{enlarged}: --size {max(32, min(height, width))} would be faster")
    return tuple(notes)
