"""Batches of so many classes and so many images of each: what a loss that compares images with one another learns from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.batches import Batch, Batches, Positions
from striate.data.preprocess import Preprocess
from striate.data.randomness import occurrences, permutation, uniform
from striate.data.source import Source
from striate.errors import Refused, UsageError

Floats = npt.NDArray[np.float64]


class ClassBatches(Batches):
    """Batches for metric learning: P classes with K images each (A. Hermans et al. 2017, arXiv:1703.07737, section 2).

    An epoch has as many batches as of :class:`Batches`, and order and content depend on the data, ``seed`` and epoch alone, as
    there. Validation images come mixed, in one order for good, so that a batch of them has several classes too.

    Args:
        source: of pictures with one class each.
        batch: images a step at most: P is as many classes as fit, or all there are.
        images_per_class: K, at least 2. Where all classes fit into a batch, K grows until the batch is full, as far as no image
            need be repeated.
        others: as of :class:`Batches`.

    Attributes:
        batch: images a step: P times K.
        classes_per_batch, images_per_class: P and K.

    Raises:
        UsageError: the images have not one class each, or a batch has no room for two classes.
        Refused: the training images are of one class.
    """

    def __init__(
        self,
        source: Source,
        train_indices: Positions,
        validation_indices: Positions,
        preprocess: Preprocess,
        *,
        batch: int,
        seed: int,
        augmented: bool,
        images_per_class: int = 8,
        workers: int | None = None,
        cache: Path | None = None,
        cache_limit: int | None = None,
    ) -> None:
        if source.kind != "label":
            what = "Metric learning compares images of one class each"
            raise UsageError(what, where=source.location, why=f"these targets are of kind {source.kind!r}")
        if images_per_class < 2 or batch < 2 * images_per_class:
            raise UsageError(
                f"A batch of {batch} has no two classes of {images_per_class} images each",
                why="the loss compares two or more images of a class with those of another",
                fix=f"--batch {max(4, 2 * images_per_class)} or more, with 2 or more images a class",
            )
        mixed = np.asarray(validation_indices)[permutation(0, 0, len(validation_indices))]
        super().__init__(
            source, train_indices, mixed, preprocess,
            batch=batch, seed=seed, augmented=augmented, workers=workers, cache=cache, cache_limit=cache_limit,
        )  # fmt: skip
        self._most, self._least_images = batch, images_per_class
        self._arrange()

    def _arrange(self) -> None:
        counts = np.bincount(self.source.targets[self._train])
        counts = counts[counts > 0]
        if len(counts) < 2:
            raise Refused(
                "The training images are of one class", where=self.source.location, why="there is nothing to tell it from"
            )
        self.classes_per_batch = min(self._most // self._least_images, len(counts))
        room = self._most // self.classes_per_batch
        self.images_per_class = max(self._least_images, min(room, int(counts.min())))
        self.batch = self.classes_per_batch * self.images_per_class

    def train(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from ``start_step`` on, each with ``occurrence``: see :func:`class_order`."""
        labels = self.source.targets[self._train]
        drawn = class_order(labels, self.classes_per_batch, self.images_per_class, self.steps, self.seed, epoch)
        starts = range(start_step * self.batch, self.steps * self.batch, self.batch)
        yield from self._load(self._train_store, self._train[drawn], starts, occurrences(drawn))

    def scan(self, progress: Callable[[int, int], None] | None = None) -> Positions:
        """As of :class:`Batches`; P and K follow from the images that can be read."""
        failed = super().scan(progress)
        self._arrange()
        return failed

    def state_dict(self) -> dict[str, str]:
        """As of :class:`Batches`, with K."""
        return {**super().state_dict(), "images_per_class": str(self.images_per_class)}


def class_order(
    labels: npt.NDArray[Any], classes_per_batch: int, images_per_class: int, steps: int, seed: int, epoch: int
) -> Positions:
    """The images of an epoch: a function of its arguments alone.

    Each batch has ``classes_per_batch`` different classes. How many batches a class is in follows its number of images, so
    that every image is drawn equally often on average; but a class is in a batch once, so one that has more than its share of
    all images is in every batch, and its images are drawn less often. In an epoch, the images of a class are drawn equally
    often but for one time; within a batch none is repeated, unless the class has fewer than ``images_per_class``.

    Args:
        labels: int64 [N], of ``classes_per_batch`` or more classes.
        steps: batches.

    Returns:
        Positions in ``labels``, int64 [steps * classes_per_batch * images_per_class], batch by batch, class by class.
    """
    counts = np.bincount(labels)
    present = np.flatnonzero(counts)
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts[present])[:-1])
    turns = _turns(_shares(counts[present], classes_per_batch) * steps, seed, epoch)
    chosen = _classes_of_batches(turns, classes_per_batch, steps, seed, epoch)
    hands = [_draws(own, int(num), images_per_class, seed, epoch) for own, num in zip(members, turns, strict=True)]
    order = np.empty((steps * classes_per_batch, images_per_class), np.int64)
    order[np.argsort(chosen.reshape(-1), kind="stable")] = np.concatenate(hands)
    return order.reshape(-1)


def _shares(counts: npt.NDArray[np.int64], classes_per_batch: int) -> Floats:
    """Share of the batches that each class is in: in proportion to its images, at most 1, ``classes_per_batch`` in sum."""
    shares = np.zeros(len(counts))
    full = np.zeros(len(counts), np.bool_)
    while True:
        shares[~full] = (classes_per_batch - full.sum()) * counts[~full] / max(1, counts[~full].sum())
        over = ~full & (shares >= 1)
        if not over.any():
            return shares
        shares[over], full = 1.0, full | over


def _turns(expected: Floats, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Whole numbers, each the expected one rounded up or down by chance, so that it holds on average; their sum is kept.

    Systematic sampling (W. G. Madow 1949): the classes in random order, their fractions laid end to end, and a class rounded
    up where a cut falls into its own; the cuts are 1 apart.
    """
    order = np.argsort(uniform(seed, epoch, np.arange(len(expected)), "class turns")[:, 0], kind="stable")
    whole = np.floor(expected)
    ends = np.cumsum((expected - whole)[order])
    ends = np.minimum(ends, np.rint(ends[-1]))
    cut = uniform(seed, epoch, np.zeros(1, np.int64), "class cut")[0, 0]
    ends[-1] = np.rint(ends[-1])
    turns = whole.astype(np.int64)
    turns[order] += np.diff(np.floor(ends + cut), prepend=0).astype(np.int64)
    return turns


def _classes_of_batches(
    turns: npt.NDArray[np.int64], classes_per_batch: int, steps: int, seed: int, epoch: int
) -> npt.NDArray[np.int64]:
    """[steps, classes_per_batch]: different classes in each batch, each class in as many batches as it has turns.

    A class with as many turns left as there are batches must come; the others come by chance, in proportion to their turns
    left (the largest of log(turns) + Gumbel noise: Efraimidis & Spirakis 2006). So the sum never runs out of classes.
    """
    left, chosen = turns.copy(), np.empty((steps, classes_per_batch), np.int64)
    ids = np.arange(len(turns))
    for step in range(steps):
        # -log(u) / turns: the smaller the sooner; u is above 0.
        noise = -np.log1p(-uniform(seed, epoch, ids + step * len(turns), "classes")[:, 0])
        wait = np.where(left > 0, noise / np.maximum(left, 1), np.inf)
        wait[left == steps - step] = -1.0
        chosen[step] = np.argsort(wait, kind="stable")[:classes_per_batch]
        left[chosen[step]] -= 1
    return chosen


def _draws(own: Positions, turns: int, images: int, seed: int, epoch: int) -> Positions:
    """[turns, images] of one class's images: they are all dealt before the first is dealt again."""
    hands = np.empty(turns * images, np.int64)
    dealt = lap = 0
    while dealt < len(hands):
        deck = own[np.argsort(uniform(seed, epoch, own, f"images {lap}")[:, 0], kind="stable")]
        begun = hands[dealt - dealt % images : dealt]  # what the hand being dealt already holds goes to the bottom
        deck = deck[np.argsort(np.isin(deck, begun), kind="stable")][: len(hands) - dealt]
        hands[dealt : dealt + len(deck)] = deck
        dealt, lap = dealt + len(deck), lap + 1
    return hands.reshape(turns, images)
