"""How well a model still recognises pictures of which most pixels were thrown away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from striate.columns import align, ruled
from striate.data.decode import ImageError
from striate.data.source import Source
from striate.errors import Refused, UsageError, nearest
from striate.metrics import wilson_interval
from striate.picture_stream import stream_pictures
from striate.prediction import BATCH, Model
from striate.prediction_inputs import read_input

SHARES = (0.0, 0.1, 0.2, 0.5, 0.75)


@dataclass(frozen=True)
class Subsampled:
    """The score of a model on pictures with fewer pixels.

    Attributes:
        share: of the pixels, thrown away: what was asked for.
        kept: (rows, columns) that are left of each picture.
        correct, total: pictures whose class was found, and all.
        unreadable: pictures that were left out.
    """

    share: float
    kept: tuple[int, int]
    correct: int
    total: int
    unreadable: int = 0

    @property
    def accuracy(self) -> float:
        """0..1."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's of 95 %."""
        return wilson_interval(self.correct, self.total)


def subsample(pictures: NDArray[np.uint8], share: float) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Throws away rows and columns, then enlarges what is left to the old size by repeating it.

    Of each side ``sqrt(1 - share)`` is kept, rounded, at even distances: so of the pixels about ``1 - share``. Nothing is drawn
    by lot, and nothing is averaged: a pixel that is kept is the picture's own.

    Args:
        pictures: [N, C, H, W].
        share: of the pixels to throw away, from 0 on and less than 1.

    Returns:
        The pictures, of the same shape, and the (rows, columns) that were kept.
    """
    if not 0 <= share < 1:
        raise UsageError(f"{share} of the pixels thrown away", fix="give a share from 0 on and less than 1")
    height, width = pictures.shape[-2:]
    rows, columns = (max(1, round(side * sqrt(1 - share))) for side in (height, width))
    # The kept lines are the middles of equal parts; a line of the result shows that of the part it lies in.
    down, across = (
        ((np.arange(side) * kept // side) * side + side // 2) // kept for side, kept in ((height, rows), (width, columns))
    )
    return np.ascontiguousarray(pictures[..., down[:, None], across]), (rows, columns)


def subsampling_accuracy(
    model: Model,
    source: Source,
    shares: Sequence[float] = SHARES,
    *,
    indices: NDArray[np.int64] | None = None,
    batch: int = BATCH,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Subsampled]:
    """Accuracy on the same pictures as more and more of their pixels are thrown away, see :func:`subsample`.

    "Subsampling the pixels does not change the object": here is how far that holds for a network.

    Args:
        model: of one class an image.
        source: pictures with a class each; classes are matched to the model's by name.
        shares: of the pixels the network reads, thrown away.
        indices: positions in the source; None: all.
        batch: images that the network takes at once.
        workers: decoding threads; None: one a core.
        progress: told the pictures done, and all.

    Raises:
        Refused: the model or the data have not one class an image, or the model does not know one that occurs.
    """
    chosen = np.arange(len(source)) if indices is None else indices
    if not len(chosen):
        raise Refused("There is no picture to score", where=source.location)
    classes = _in_the_models_order(model, source, chosen)
    correct, total, unreadable = np.zeros(len(shares), np.int64), 0, 0
    kept = [subsample(np.empty((1, 1, *model.preprocess.size), np.uint8), share)[1] for share in shares]

    def read(i: int) -> NDArray[np.uint8]:
        return read_input(source.read(i), model.preprocess, source.key(i))

    for group in stream_pictures(chosen.tolist(), read, batch, workers):
        good = [i for i, outcome in zip(group.items, group.outcomes, strict=True) if not isinstance(outcome, ImageError)]
        unreadable += len(group.items) - len(good)
        total += len(good)
        if group.images is not None:
            targets = classes[source.targets[good]]
            for place, share in enumerate(shares):
                said = model.probabilities(subsample(group.images, share)[0]).argmax(axis=1)
                correct[place] += int((said == targets).sum())
        progress(total + unreadable, len(chosen))
    if not total:
        raise Refused("No picture could be read", where=source.location, fix="run `striate check` on it")
    return [
        Subsampled(share, size, int(count), total, unreadable) for share, size, count in zip(shares, kept, correct, strict=True)
    ]


def _in_the_models_order(model: Model, source: Source, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """The model's class for each of the data's; -1 for one that does not occur."""
    if model.kind != "label" or source.kind != "label":
        raise Refused("Accuracy takes one class an image", where=source.location, why="the model or the data have another kind")
    place = {name: k for k, name in enumerate(model.classes)}
    for k in np.unique(source.targets[chosen]).tolist():
        if source.classes[k] not in place:
            fix = nearest(source.classes[k], model.classes)
            raise Refused(f"The model does not know {source.classes[k]!r}", where=source.location, fix=fix)
    return np.array([place.get(name, -1) for name in source.classes], np.int64)


def subsampling_text(results: Sequence[Subsampled]) -> str:
    """A table, a line a share."""
    rows = [("thrown away", "kept", "accuracy", "95 % interval", "images")]
    for each in results:
        low, high = each.interval
        kept = f"{each.kept[0]} x {each.kept[1]}"
        interval = f"{100 * low:.2f} to {100 * high:.2f} %"
        rows.append((f"{100 * each.share:.0f} %", kept, f"{100 * each.accuracy:.2f} %", interval, f"{each.total:,}"))
    return "\n".join(ruled(align(rows, right=range(5))))
