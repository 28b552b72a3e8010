"""A model scored on images that it was not trained on: which images those are, and how their classes are matched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from striate.data.decode import ImageError
from striate.data.formats import open_source
from striate.data.source import SPLITS, Source
from striate.data.split import Split, read_split
from striate.errors import Refused, UsageError, nearest
from striate.prediction import BATCH, Model, load
from striate.progress import Progress, Silent
from striate.scoring import Evaluation

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Evaluation", "evaluate"]

Ints = NDArray[np.int64]

_PARTS = {"train": "train", "val": "validation", "test": "held_out"}


def evaluate(
    model: Model | str | Path,
    data: str | Path | Source,
    *,
    split: str | None = None,
    split_file: str | Path | None = None,
    indices: Ints | None = None,
    batch: int = BATCH,
    workers: int | None = None,
    arch: str | Callable[..., nn.Module] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Scores a model on labelled data, every image read exactly as ``predict`` reads it.

    Args:
        model: a loaded one, a run folder or a model file.
        data: as for training. Its classes are matched to the model's by name, in any order; some may be absent.
        split: ``train``, ``val``, ``test`` or ``all``. None: the images that were held out in training where ``data`` is the
            training data and the run's ``split.json`` is beside the model; otherwise ``test``, else ``val``, else all.
        split_file: the split to take the parts from, as `striate check` or a run wrote it.
        indices: positions in the source; ``split`` is then only what they are called.
        batch: images that the network takes at once.
        workers: decoding threads; None: one a core.
        arch: builds the network of a model file that striate does not know, see :func:`striate.load`.
        progress: told how many images are done.

    Raises:
        UsageError: no such model, data or split.
        Refused: classes that the model does not know, another kind of target, or not one readable image.
    """
    model = model if isinstance(model, Model) else load(model, arch=arch)
    source = open_source(data, to_learn=False)
    columns = _match(model, source)
    if indices is not None:
        chosen, name, how = np.asarray(indices, np.int64), split or "chosen images", ""
    else:
        chosen, name, how = _choose(source, split, _recorded_split(model, source, split_file))
    targets = _targets(model, source, columns, chosen)
    return _score(model, source, chosen, targets, name, how, batch, workers, progress or Silent())


def _score(
    model: Model,
    source: Source,
    chosen: Ints,
    targets: NDArray[Any],
    split: str,
    how: str,
    batch: int,
    workers: int | None,
    progress: Progress,
) -> Evaluation:
    rows, kept, bad = [], [], []

    def read(i: int) -> NDArray[np.uint8]:
        return model.preprocess(source.read(i), source.key(i))

    for done, (i, outcome) in enumerate(model.scores(chosen.tolist(), read, batch, workers)):
        if isinstance(outcome, ImageError):
            bad.append((source.key(i), outcome.what))
        else:
            rows.append(outcome)
            kept.append(done)
        if (done + 1) % batch == 0 or done + 1 == len(chosen):
            progress.stage("scoring", done + 1, len(chosen))
    if not rows:
        why = f"{len(bad):,} files could not be read, the first: {bad[0][0]} ({bad[0][1]})" if bad else f"no image is in {split}"
        raise Refused("Nothing to score", where=source.location, why=why, fix="`striate check` lists what is wrong with the data")
    index = chosen[kept]
    keys = [source.key(i) for i in index.tolist()]
    return Evaluation.from_probabilities(
        np.stack(rows), targets[kept], model.classes, model.kind, keys, index,
        split=split, how=how, bad=bad, threshold=model.threshold,
    )  # fmt: skip


def _match(model: Model, source: Source) -> Ints:
    """The model's column for each class of the data, -1 where it has none."""
    if source.kind != model.kind:
        words = {"label": "one class an image", "labels": "any number of classes an image", "value": "a number an image"}
        why = f"the model predicts {words[model.kind]}, the data gives {words[source.kind]}"
        raise Refused("The data is of another kind than the model", where=source.location, why=why)
    column = {name: k for k, name in enumerate(model.classes)}
    return np.array([column.get(name, -1) for name in source.classes], np.int64)


def _targets(model: Model, source: Source, columns: Ints, chosen: Ints) -> NDArray[Any]:
    """Targets of the chosen samples in the model's classes.

    Raises:
        Refused: one of them has a class that the model does not know.
    """
    own = source.targets[chosen]
    if model.kind == "value":
        return own
    occurring = own.any(axis=0) if own.ndim == 2 else np.bincount(own, minlength=len(columns)) > 0
    unknown = [source.classes[k] for k in np.flatnonzero(occurring & (columns < 0))]
    if unknown:
        named = ", ".join(repr(name) for name in unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise Refused(
            f"The model does not know {len(unknown)} of the data's {len(source.classes)} classes: {named}",
            where=source.location,
            why=f"it knows {', '.join(model.classes[:10])}{', ...' if len(model.classes) > 10 else ''}. "
            + nearest(unknown[0], model.classes),
            fix="name the classes as they were named in training, or leave those images out",
        )
    if model.kind == "label":
        classes: Ints = columns[own]
        return classes
    targets = np.zeros((len(own), len(model.classes)), own.dtype)
    known = columns >= 0
    targets[:, columns[known]] = own[:, known]
    return targets


def _recorded_split(model: Model, source: Source, split_file: str | Path | None) -> Split | None:
    """The split given, or that of the run the model lies in where the data is what it was trained on."""
    if split_file is not None:
        return read_split(split_file, source)
    beside = model.path.parent / "split.json" if model.path is not None else None
    trained_on = (model.info.get("data") or {}).get("fingerprint")
    if beside is None or not beside.exists() or trained_on != source.fingerprint():
        return None
    return read_split(beside, source)


def _choose(source: Source, split: str | None, recorded: Split | None) -> tuple[Ints, str, str]:
    """Positions to score, the split's name, and a sentence on which images those are."""
    given = {SPLITS[code]: np.flatnonzero(source.given == code) for code in np.unique(source.given).tolist()}
    if split is None and recorded is not None:
        return recorded.held_out, recorded.held_out_name or "held out", recorded.how
    if split is None:
        split = "test" if "test" in given else "val" if "val" in given else "all"
    if split == "all":
        how = "Every image of the data; where the model was trained on some of them, this flatters it."
        return np.arange(len(source)), "all", how
    if split not in _PARTS:
        raise UsageError(f"Unknown split {split!r}", where="split", fix=nearest(split, [*_PARTS, "all"]))
    if recorded is not None:  # before the data's own: what was cut from train/ to validate is not what was trained on
        return getattr(recorded, _PARTS[split]), split, recorded.how
    if split in given:
        return given[split], split, f"{split}/ as the data gives it."
    has = ", ".join(name for name in given if name) or "none"
    fix = "score all of it (--split all), or give the split file of the run"
    raise UsageError(f"The data has no split {split!r}", where=source.location, why=f"its splits: {has}", fix=fix)
