"""Transfer learning in three regimes: from weights of another task to a solved head, and on from there where data allow.

The head is always solved first (:mod:`striate.linear_probe`), on features that the network yields as it is. It is the whole
answer for small data; with more, fine-tuning starts from it, and competes with it on validation: a fine-tuning that
collapses leaves the solved head behind, not itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import nn

from striate import machine
from striate.data.augment import Augment
from striate.errors import UsageError
from striate.features import Reading, features_folder, find_head, read_features, replace_head
from striate.linear_probe import FOLDS, Probe, fit_probe
from striate.preparation import Prepared, class_counts, prepare_again
from striate.progress import Progress
from striate.recipe import Recipe
from striate.runstate import Best
from striate.starting_point import StartingPoint
from striate.tasks.base import Batch
from striate.training import Fitted
from striate.validation import validate

Regime = Literal["auto", "small", "mid", "enough", "scratch"]
RECIPE_OF: dict[Regime, str] = {"small": "transfer_small", "mid": "transfer_mid", "enough": "transfer_enough"}

MID, ENOUGH = 200, 1000
"""Training images of a typical class from which ``auto`` lets the later layers learn, and from which all of them."""
KNOWN = 0.99
"""Held-out accuracy of the solved head from which ``auto`` leaves the network as it is."""
_NO_HEAD = "the network's output is not that of one dense layer, so none can be solved by itself"


@dataclass(frozen=True)
class Transferred:
    """A network that begins with what another has learnt.

    Attributes:
        ready: data, task and network for the chosen regime, its head solved on the training images.
        regime: ``small``, ``mid`` or ``enough``.
        fitted: the finished network of ``small``; None: it is to be trained on.
        notes: sentences for the plan and the report.
    """

    ready: Prepared
    regime: Regime
    fitted: Fitted | None
    notes: tuple[str, ...]


def transfer(
    ready: Prepared,
    start: StartingPoint,
    asked: Regime,
    recipe_of: Callable[[Regime], Recipe],
    *,
    seconds: float | None,
    workers: int | None,
    cache: str,
    progress: Progress,
    check: Callable[[], None],
) -> Transferred:
    """Solves the head and settles the regime.

    Args:
        ready: prepared without augmentation, its network begun from ``start``.
        asked: a regime, or ``auto``.
        recipe_of: the recipe of a regime, with the user's own settings put in.
        seconds: budget for training; None: no limit.
        workers, cache: as for :func:`striate.preparation.prepare`.
        check: called often; raises where the run is to stop.

    Raises:
        UsageError: ``small`` for a network whose last layer is not dense.
    """
    head = find_head(ready.subject.module, ready.subject.image)
    if head is None and asked == "small":
        raise UsageError(
            f"the head of {ready.subject.name} cannot be solved by itself",
            why="the network's output is not that of one dense layer with a bias",
            fix="--regime mid",
        )
    notes = [f"begun from {start.source}", *start.notes]
    solution = _Solution(ready, head, progress, check) if head is not None else None
    regime, why = asked, "as asked"
    if asked == "auto":
        regime, why = choose_regime(ready, solution.probe.accuracy, seconds, solution.seconds) if solution else ("mid", _NO_HEAD)
    notes.append(f"regime {regime}: {why}")
    if regime == "small" and solution is not None:
        return Transferred(ready, regime, solution.finish(), (*notes, *solution.notes))
    if solution is not None:
        solution.put_in()
        notes.append("fine-tuning starts from the solved head, and must beat it on validation to replace it")
    return Transferred(prepare_again(ready, recipe_of(regime), workers, cache, progress, check), regime, None, tuple(notes))


def as_it_is(recipe: Recipe) -> Recipe:
    """The recipe for reading features: pictures as prediction sees them; mirrored ones are made from these."""
    balance = "loss" if recipe.balance == "sampler" else recipe.balance  # each image is read once
    return replace(recipe, augment=Augment(flip_horizontal=recipe.augment.flip_horizontal), loss="auto", balance=balance)


_LEARNING = ("epochs", "optimizer", "schedule", "fine_tune", "loss", "label_smoothing", "ema", "clip", "accumulate")


def refuse_ignored(regime: Regime, weights: object, fields: Mapping[str, object]) -> None:
    """Settings that would do nothing are not taken in silence.

    Args:
        fields: of the recipe, as given to ``train``: dotted or nested.

    Raises:
        UsageError: a regime without weights, or settings of training where nothing is trained.
    """
    if weights is None and regime not in ("auto", "scratch"):
        raise UsageError(
            f"the regime {regime} is one of transfer", why="there are no weights to begin with", fix="give --weights"
        )
    if regime != "small":
        return
    dotted = [f"{name}.{inner}" if inner else name for name, value in fields.items() for inner in _inner(value)]
    for name in dotted:
        group, _, rest = name.partition(".")
        if group in _LEARNING or (group == "augment" and rest != "flip_horizontal"):
            raise UsageError(
                f"{name} does nothing in the regime small",
                why="the last layer is solved, on pictures as they are and mirrored",
                fix="leave it out, or take --regime mid or enough",
            )


def _inner(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, Mapping) else [""]


def choose_regime(ready: Prepared, held_out: float | None, seconds: float | None, spent: float) -> tuple[Regime, str]:
    """A regime and the reason in one sentence.

    Args:
        held_out: accuracy of the solved head on images that it was not solved on; None without classes.
        seconds: the budget for training.
        spent: seconds that the features and the head took.
    """
    counts = class_counts(ready.source, ready.split) if ready.source.classes else np.array([len(ready.split.train)])
    images = int(np.median(counts))
    per = "a class" if ready.source.classes else "in all"
    right = f", and the network's own features already tell {100 * held_out:.1f} % apart" if held_out is not None else ""
    if held_out is not None and held_out >= KNOWN:
        return "small", f"{images} images {per}{right}: nothing is left to learn but the head"
    if images < MID:
        return "small", f"{images} images {per} are too few to move a network's weights{right}"
    # A training step costs about three of the passes that read the features.
    if seconds is not None and 3 * spent * 3 > seconds:
        return "small", f"three epochs of fine-tuning would take about {9 * spent:.0f} s, more than the budget{right}"
    if images < ENOUGH:
        return "mid", f"{images} images {per} are enough to adapt the later layers, not the early ones{right}"
    return "enough", f"{images} images {per} are enough to move every layer{right}"


def solve_head(ready: Prepared, *, workers: int | None, cache: str, progress: Progress, check: Callable[[], None]) -> None:
    """Ends metric learning: the projection gives its place to a head for the classes, solved on the training images (stage 2 of
    P. Khosla et al. 2020, arXiv:2004.11362). What the head reads stays as it was learnt.

    Args:
        ready: as it was trained; arguments else as for :func:`transfer`.
    """
    head = replace_head(ready.subject.module, ready.subject.image, ready.task.num_outputs, ready.recipe.seed)
    plain = prepare_again(ready, as_it_is(ready.recipe), workers, cache, progress, check)
    _Solution(plain, head, progress, check).put_in()


class _Solution:
    """Features of the training and then the validation images, and the head solved on the training images."""

    def __init__(self, ready: Prepared, head: nn.Linear, progress: Progress, check: Callable[[], None]) -> None:
        self._ready, self._head, self._check = ready, head, check
        self._num_train, self._targets = ready.batches.num_train, ready.source.targets[ready.batches.positions]
        self._features, reading = self._read(progress)
        begun = time.perf_counter()
        self.probe = self._solve(self._num_train)
        self._figures = validate(ready.task, _as_module(self.probe), self._batches(self._num_train, len(self._targets)))
        self.seconds = reading + time.perf_counter() - begun

    def _read(self, progress: Progress) -> Reading:
        ready, positions = self._ready, self._ready.batches.positions
        mirrored = ready.recipe.augment.flip_horizontal > 0
        module, look = ready.subject.module, ready.preprocess
        what = {
            "data": ready.source.fingerprint(), "images": positions.tolist(), "mirrored": mirrored, "pixels": look.fingerprint(),
            "precision": ready.recipe.precision,
        }  # fmt: skip

        def told(done: int, total: int) -> None:
            progress.stage("reading features", done, total)
            self._check()

        kept = features_folder(machine.cache_folder() / "features", module, what)
        device = next(module.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=ready.recipe.precision == "bf16"):
            return read_features(
                module, self._head, ready.batches.exact(), len(positions), look.normalize,
                mirrored=mirrored, kept=kept, progress=told,
            )  # fmt: skip

    def _solve(self, stop: int) -> Probe:
        """The head for the first ``stop`` images."""
        task, targets = self._ready.task, self._targets[:stop]
        if task.kind == "value":
            targets = (targets - task.target_mean) / task.target_std
        return fit_probe(
            self._features[:, :stop], targets, task.num_outputs, task.kind,
            class_weights=task.class_weights, seed=self._ready.recipe.seed, check=self._check,
        )  # fmt: skip

    def _batches(self, start: int, stop: int, size: int = 1024) -> Iterator[Batch]:
        for low in range(start, stop, size):
            part = slice(low, min(low + size, stop))
            label = torch.from_numpy(self._targets[part])
            yield {"image": torch.from_numpy(self._features[0, part]), "label": label, "index": torch.arange(len(label))}

    def put_in(self) -> None:
        """Makes it the network's head."""
        _set_head(self._head, self.probe)

    def finish(self) -> Fitted:
        """The network with its head solved on the validation images too: nothing of it is chosen by them any more."""
        monitor, total = self._ready.task.monitor, len(self._targets)
        train = validate(self._ready.task, _as_module(self.probe), self._batches(0, self._num_train))
        best = Best(1, monitor, self._figures[monitor]) if self._figures else None
        _set_head(self._head, self._solve(total) if self._figures else self.probe)
        row = {
            "epoch": 1, "step": 1, "seconds": round(self.seconds, 3), "images_per_second": round(total / self.seconds, 1),
            "input_seconds": 0.0, "lr": 0.0, "train": {"loss": train["loss"]}, "validation": self._figures, "monitor": monitor,
            "best": best is not None, "skipped": 0,
        }  # fmt: skip
        return Fitted(self._ready.subject.module.eval(), [row], best)

    @property
    def notes(self) -> tuple[str, ...]:
        views = "each picture and its mirror image" if len(self._features) > 1 else "each picture as it is"
        total = len(self._targets)
        return (
            f"the head alone, solved on fixed features of {views}; no other augmentation",
            f"chosen by {total - self._num_train} validation images and {FOLDS} folds, then solved again on all {total}",
        )


def _set_head(head: nn.Linear, probe: Probe) -> None:
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(probe.weight))
        if head.bias is not None:
            head.bias.copy_(torch.from_numpy(probe.bias))


def _as_module(probe: Probe) -> nn.Module:
    head = nn.Linear(probe.weight.shape[1], probe.weight.shape[0])
    _set_head(head, probe)
    return head
