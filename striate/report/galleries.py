"""Which images the report shows, and what stands under each."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.report.class_maps import ClassMaps
from striate.report.run_folder import RunFolder
from striate.report.scores import Pair, Suspects, cell_members, surest_mistakes
from striate.report.thumbnails import Thumbnail
from striate.report.words import number, percent

Positions = list[int]
Confusion = npt.NDArray[np.int64]
Lines = list[tuple[str, str, str]]
"""Under a picture, a line each: style, words, and a note beside them."""

SHOWN = 16
"""Images of each gallery."""
A_CELL = 12
"""Images of a cell of the confusion matrix."""
PAIRS = 40
"""Pairs whose images come before any second image of another pair."""
WHOLE = 30
"""Up to this many classes the whole matrix is drawn, beyond it a part of ``PART`` classes."""
PART = 20
MOST_CELLS = 20_000
MOST_IMAGES = 1500
LISTED = 1000
"""Suspects in the CSV."""


@dataclass(frozen=True)
class Gallery:
    """Positions to show: suspected labels, surest mistakes, and a few for each cell of the matrix."""

    suspects: Positions = field(default_factory=list)
    surest: Positions = field(default_factory=list)
    cells: dict[tuple[int, int], Positions] = field(default_factory=dict)

    @property
    def wanted(self) -> Positions:
        """Everything, what is wanted most first, each once."""
        ordered = self.suspects + self.surest
        right = [cell for cell in self.cells if cell[0] == cell[1]]
        wrong = [cell for cell in self.cells if cell[0] != cell[1]]
        for cells, most in ((wrong[:PAIRS], A_CELL), (wrong, 2), (right, 4), (wrong, A_CELL), (right, A_CELL)):
            ordered += [position for lap in range(most) for cell in cells for position in self.cells[cell][lap : lap + 1]]
        return list(dict.fromkeys(ordered))[:MOST_IMAGES]


def plan(run: RunFolder, confusion: Confusion | None, pairs: Sequence[Pair], suspects: Suspects | None) -> Gallery:
    """Chooses the images of a report."""
    predictions = run.predictions
    if predictions is None:
        return Gallery(cells={} if confusion is None else {cell: [] for cell in _cells(confusion, pairs)})
    if run.kind == "value":
        error = np.abs(predictions.probabilities - predictions.target)
        return Gallery(surest=np.argsort(-error, kind="stable")[:SHOWN].tolist())
    if run.kind == "labels":
        wrong = np.abs(predictions.probabilities - predictions.target).max(axis=1)
        mistaken = ((predictions.probabilities >= run.threshold) != (predictions.target > 0.5)).any(axis=1)
        return Gallery(surest=[int(i) for i in np.argsort(-wrong, kind="stable")[:SHOWN] if mistaken[i]])
    if confusion is None:
        return Gallery()
    doubtful = [] if suspects is None else suspects.position[:SHOWN].tolist()
    surest = [i for i in surest_mistakes(predictions)[: 2 * SHOWN].tolist() if i not in doubtful]
    members = cell_members(predictions)
    cells = {cell: members[cell][:A_CELL].tolist() for cell in _cells(confusion, pairs)}
    return Gallery(doubtful, surest[:SHOWN], cells)


def _cells(confusion: Confusion, pairs: Sequence[Pair]) -> list[tuple[int, int]]:
    """The cells that are not empty: mistakes by frequency, then what is right."""
    return [(pair.true, pair.predicted) for pair in pairs] + [(k, k) for k in range(len(confusion)) if confusion[k, k]]


def confusion(
    run: RunFolder,
    counts: Confusion | None,
    pairs: Sequence[Pair],
    gallery: Gallery,
    thumbnails: Mapping[int, Thumbnail],
    absent: str,
) -> dict[str, Any] | None:
    """What the matrix is drawn from: names, the cells that are not empty, and their images."""
    if counts is None:
        return None
    limited = len(run.classes) > WHOLE
    first = _most_confused(pairs, len(run.classes)) if limited else list(range(len(run.classes)))
    cells: list[tuple[int, int, int, Positions]] = []
    used: set[int] = set()
    for (true, said), members in list(gallery.cells.items())[:MOST_CELLS]:
        shown = [i for i in members if i in thumbnails]
        if not thumbnails and len(used) < MOST_IMAGES:  # the names alone still lead to the files
            shown = members
        used.update(shown)
        cells.append((true, said, int(counts[true, said]), shown))
    in_galleries = {i for i in gallery.suspects + gallery.surest if i in thumbnails}
    start = (pairs[0].true, pairs[0].predicted) if pairs else next(iter(gallery.cells), None)
    data = {
        "classes": run.classes,
        "support": counts.sum(axis=1).tolist(),
        "cells": cells,
        "first": first,
        "start": start,
        "reachable": not absent,
        "pictures": {i: _stored(run, i, thumbnails.get(i), i in in_galleries) for i in sorted(used)},
    }
    return {"data": data, "first": first, "limited": limited, "pairs": pairs[: 18 if limited else 6]}


def _stored(run: RunFolder, position: int, thumbnail: Thumbnail | None, elsewhere: bool) -> dict[str, Any]:
    """An image of a cell; one that a gallery of the page holds already is taken from there."""
    predictions = run.predictions
    assert predictions is not None
    sure = round(float(predictions.confidence[position]), 3)
    entry: dict[str, Any] = {"name": str(predictions.keys[position]), "sure": sure}
    if thumbnail is not None:
        entry["pixelated"] = thumbnail.pixelated
        if not elsewhere:
            entry["src"] = thumbnail.uri
    return entry


def _most_confused(pairs: Sequence[Pair], num_classes: int) -> list[int]:
    """The classes of the most frequent pairs, in that order; filled up with others where there are few."""
    found = dict.fromkeys(k for pair in pairs for k in (pair.true, pair.predicted))
    return list(dict.fromkeys([*found, *range(num_classes)]))[:PART]


def mistakes(
    run: RunFolder, gallery: Gallery, suspects: Suspects | None, thumbnails: Mapping[int, Thumbnail], class_maps: ClassMaps
) -> dict[str, Any] | None:
    """The galleries of suspected labels and worst mistakes."""
    predictions = run.predictions
    if predictions is None or not (gallery.suspects or gallery.surest):
        return None
    heading, words, lines = _MISTAKES.get(run.kind, _MISTAKES["label"])
    if gallery.suspects:
        words += " Those above are not repeated."
    found: dict[str, Any] = {
        "title": heading if run.kind == "value" else "Mistakes",
        "heading": heading,
        "words": words,
        "maps": class_maps,
        "surest": [_picture(run, i, thumbnails, lines(run, i), class_maps) for i in gallery.surest],
        "suspects": [_picture(run, i, thumbnails, _label_lines(run, i), class_maps) for i in gallery.suspects],
    }
    if suspects is not None and gallery.suspects:
        count = len(suspects.position)
        listed = f"all {count:,}" if count <= LISTED else f"the first {LISTED:,}"
        found |= {"num_suspects": count, "n": len(predictions), "csv": _csv(run, suspects), "listed": listed}
    return found


def _picture(
    run: RunFolder, position: int, thumbnails: Mapping[int, Thumbnail], lines: Lines, class_maps: ClassMaps
) -> dict[str, Any]:
    assert run.predictions is not None
    shown, explained = thumbnails.get(position), class_maps.maps.get(position)
    return {
        "position": position,
        "src": shown.uri if shown else None,
        "pixelated": bool(shown and shown.pixelated),
        "map": explained,
        "name": str(run.predictions.keys[position]),
        "lines": lines,
    }


def _label_lines(run: RunFolder, i: int) -> Lines:
    assert run.predictions is not None
    said, true = run.classes[run.predictions.predicted[i]], run.classes[int(run.predictions.target[i])]
    return [("wrong-word", said, percent(float(run.predictions.confidence[i]))), ("muted", f"labelled {true}", "")]


def _labels_lines(run: RunFolder, i: int) -> Lines:
    """The label that was missed by most."""
    assert run.predictions is not None
    said, true = run.predictions.probabilities[i], run.predictions.target[i]
    k = int(np.abs(said - true).argmax())
    labelled = "labelled so" if true[k] > 0.5 else "not labelled so"
    return [("wrong-word", run.classes[k], percent(float(said[k]))), ("muted", labelled, "")]


def _value_lines(run: RunFolder, i: int) -> Lines:
    assert run.predictions is not None
    said, true = float(run.predictions.probabilities[i]), float(run.predictions.target[i])
    return [("wrong-word", number(said), "predicted"), ("right-word", number(true), "true")]


_MISTAKES = {
    "label": ("Worst mistakes", "Wrong answers that the network was surest of.", _label_lines),
    "labels": ("Worst mistakes", "Images with a label that was missed, or given in vain, by the widest margin.", _labels_lines),
    "value": ("Largest errors", "Images whose number was missed by most.", _value_lines),
}


def _csv(run: RunFolder, suspects: Suspects) -> str:
    assert run.predictions is not None
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("image", "label", "suggested", "margin"))
    for position, suggested, margin in list(zip(suspects.position, suspects.suggested, suspects.margin, strict=True))[:LISTED]:
        label = run.classes[int(run.predictions.target[position])]
        writer.writerow((run.predictions.keys[position], label, run.classes[int(suggested)], f"{margin:.4f}"))
    return file.getvalue()
