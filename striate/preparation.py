"""From data and network to what ``fit`` reads: batches, task, balance, and the choices measured before a run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from striate import machine
from striate.data.audit import Audit
from striate.data.augmenter import Augmenter
from striate.data.batches import Batches
from striate.data.preprocess import Preprocess
from striate.data.source import Source
from striate.data.split import Split
from striate.errors import Refused, UsageError
from striate.losses import balanced_weights
from striate.probe import resolve
from striate.progress import Progress
from striate.recipe import Recipe, Resolved
from striate.subject import Subject
from striate.tasks.base import Batch
from striate.tasks.classify import Classify

UNEVEN = 3.0
"""From this ratio of the largest to the smallest class on, ``balance="auto"`` weighs the loss."""


@dataclass(frozen=True)
class Prepared:
    """All that ``fit`` needs, and what the run's files say of it."""

    source: Source
    split: Split
    subject: Subject
    preprocess: Preprocess
    task: Classify
    batches: Batches
    recipe: Recipe


def prepare(
    source: Source, split: Split, subject: Subject, preprocess: Preprocess, recipe: Recipe,
    *, workers: int | None, cache: str, progress: Progress, balance: str | None = None,
) -> Prepared:  # fmt: skip
    """Builds task and batches; the held-out samples stay out of both.

    Args:
        balance: as resolved before, on resume; None: by the recipe and the classes.
    """
    counts = class_counts(source, split)
    balance = balance if balance is not None else choose_balance(recipe, counts)
    weights = balanced_weights(counts) if balance != "none" and counts is not None else None
    batches = Batches(
        source, split.train, split.validation, preprocess,
        batch=recipe.batch, seed=recipe.seed, augmented=recipe.augment.any, workers=workers, cache=cache_path(cache),
        sample_weights=np.asarray(weights)[source.targets[split.train]] if balance == "sampler" and weights is not None else None,
    )  # fmt: skip
    batches.scan(lambda done, total: progress.stage("decoding", done, total))
    task = make_task(source, split, recipe, tuple(weights) if balance == "loss" and weights is not None else None)
    return Prepared(source, split, subject, preprocess, task, batches, recipe)


def make_task(source: Source, split: Split, recipe: Recipe, class_weights: tuple[float, ...] | None) -> Classify:
    """The task that the targets of ``source`` ask for."""
    if source.kind != "value":
        return Classify(source.classes, source.kind, recipe.loss, recipe.label_smoothing, class_weights)
    values = source.targets[split.train]
    return Classify((), "value", "auto", target_mean=float(values.mean()), target_std=float(values.std()))


def class_counts(source: Source, split: Split) -> np.ndarray | None:
    """Training samples of each class; None where a sample has not exactly one."""
    return np.bincount(source.targets[split.train], minlength=len(source.classes)) if source.kind == "label" else None


def choose_balance(recipe: Recipe, counts: np.ndarray | None) -> str:
    """``loss``, ``sampler`` or ``none``."""
    if counts is None or recipe.balance not in ("auto", "loss", "sampler"):
        return "none"
    if recipe.balance != "auto":
        return recipe.balance
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
    if device not in ("cpu", "cuda"):
        raise UsageError(f"Unknown device {device!r}", fix="use auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "No CUDA device here", why=f"torch {torch.__version__} sees none", fix="use --device cpu, or see `striate doctor`"
        )
    return device


def resolve_run(ready: Prepared, device: str, seconds: float | None, tuned: bool) -> tuple[Prepared, Resolved, float | None]:
    """Measures what the recipe leaves open, and fits the epochs to a time budget; returns also the estimated seconds."""
    counts = class_counts(ready.source, ready.split)
    batch = _first_batch(ready)
    resolved = resolve(
        ready.task, ready.subject.module, batch, ready.recipe, device, cache=machine.cache_folder() / "probe.json", tuned=tuned
    )
    resolved = dataclasses.replace(resolved, balance=choose_balance(ready.recipe, counts))
    if resolved.step_seconds is None:
        if seconds is not None:
            raise UsageError("--budget needs the timed steps of the probe", fix="leave --no-probe away, or give --epochs")
        return ready, resolved, None
    epoch = _epoch_seconds(ready, resolved)
    if seconds is not None:
        epochs = max(1, int(seconds / epoch))
        notes = (*resolved.notes, f"budget: {epochs} epochs of about {epoch:.1f} s fit into {seconds:.0f} s")
        resolved = dataclasses.replace(resolved, epochs=epochs, notes=notes)
    return ready, resolved, epoch * resolved.epochs


def _first_batch(ready: Prepared) -> Batch:
    """The first training batch as the network will see it."""
    batches = iter(ready.batches.train(0))
    batch = next(batches)
    getattr(batches, "close", lambda: None)()
    if ready.recipe.augment.any:
        batch = Augmenter(ready.recipe.augment, ready.preprocess.size, ready.recipe.seed, len(ready.source.classes))(batch, 0)
    return {**batch, "image": ready.preprocess.normalize(batch["image"])}


def _epoch_seconds(ready: Prepared, resolved: Resolved) -> float:
    """Training steps, a tenth for input and augmentation, and validation at a third of a training step an image."""
    step = resolved.step_seconds or 0.0
    validation = ready.batches.num_validation / max(1, ready.recipe.batch) / 3 / ready.recipe.validate_every
    return step * (1.1 * ready.batches.steps + validation)


def refuse_bad_files(source: Source, found: Audit, recipe: Recipe) -> None:
    """Raises ``Refused`` where more than ``recipe.bad_files`` of any class cannot be read."""
    worst = found.worst_bad_share()
    if worst is not None and worst[1] > recipe.bad_files:
        name, share, number = worst
        first, reason = found.bad[0]
        raise Refused(
            f"{number} unreadable files in class {name!r} ({100 * share:.1f} %)",
            where=source.location,
            why=f"over {100 * recipe.bad_files:g} % of a class would be missing unseen; first: {first} ({reason})",
            fix="repair or remove them (`striate check` lists all), or allow more with --bad-files SHARE",
        )


def data_notes(source: Source, found: Audit, subject: Subject) -> tuple[str, ...]:
    """Sentences on what the audit saw that a user should know before training."""
    notes = []
    if found.bad:
        notes.append(f"{len(found.bad)} unreadable files are left out (first: {found.bad[0][0]}, {found.bad[0][1]})")
    return (*notes, *found.warnings(subject.input_size))
