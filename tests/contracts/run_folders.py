"""Run folders as training leaves them, from predictions drawn by chance: what the report's tests read."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.data.formats import open_source
from striate.data.source import SPLITS, Source
from striate.recipe import Optimizer, Recipe, resolve_plainly
from striate.recipe_fields import to_fields
from striate.reproduction import command_line, python_code
from striate.scoring import Evaluation
from striate.tasks.classify import Classify
from striate.tasks.decoding import Kind

Array = NDArray[Any]


def make_run(folder: Path, source: Source, rows: list[dict[str, Any]], *, skill: float = 4.5) -> Path:
    """A finished classification run that was scored on a source's ``test`` images."""
    held_out = np.flatnonzero(source.given == SPLITS.index("test"))
    target = source.targets[held_out]
    keys = [source.key(i) for i in held_out.tolist()]
    probabilities = guesses(target, len(source.classes), skill)
    return write_run(folder, probabilities, target, source.classes, rows, keys=keys, index=held_out, source=source)


def guesses(target: Array, num_classes: int, skill: float = 4.5, seed: int = 0) -> Array:
    """Probabilities [N, K] of a network that mixes each class up with one other most, as if some labels were wrong.

    Args:
        skill: how far the true class's logit stands above the others; 4.5 gives some 90 % with ten classes.
    """
    draw = np.random.default_rng(seed)
    rows, near = np.arange(len(target)), (target + 1 + 5 * (target % 2)) % num_classes
    logits = draw.normal(size=(len(target), num_classes))
    logits[rows, target] += skill
    logits[rows, near] += draw.normal(skill - 2.4, 1.2, len(target))
    odd = draw.random(len(target)) < 0.01
    logits[odd, near[odd]] += 6
    powers = np.exp(2 * logits - 2 * logits.max(axis=1, keepdims=True))
    shares: Array = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def epoch_rows(epochs: int, *, overfits: bool = False, validation: bool = True, metric: str = "accuracy") -> list[dict[str, Any]]:
    """Lines of ``metrics.jsonl``: training loss falls; validation loss levels off, or turns upwards at 40 %."""
    draw, rows, best = np.random.default_rng(1), [], -1.0
    for epoch in range(1, epochs + 1):
        t = epoch / epochs
        rise = 0.35 * max(0.0, t - 0.4) ** 1.5 if overfits else 0.0
        loss = float(0.26 + 0.9 * np.exp(-9 * t) + 0.004 * draw.random() + rise)
        figure = float(0.925 - 0.35 * np.exp(-5 * t) + 0.006 * draw.random())
        row = {
            "epoch": epoch,
            "step": 27 * epoch,
            "seconds": 2.0,
            "images_per_second": 1400.0,
            "input_seconds": 0.25,
            "lr": 3e-3 * min(4 * t, 1.001 - t**2),
            "train": {"cross_entropy": float((0.05 if overfits else 0.2) + 1.1 * np.exp(-6 * t))},
            "validation": {"loss": loss, metric: figure} if validation else {},
            "best": validation and figure > best,
            "skipped": 0,
        }
        rows.append(row)
        best = max(best, figure)
    return rows


def write_run(
    folder: Path,
    probabilities: Array,
    target: Array,
    classes: Sequence[str],
    rows: list[dict[str, Any]],
    *,
    kind: Kind = "label",
    keys: list[str] | None = None,
    index: Array | None = None,
    source: Source | None = None,
) -> Path:
    """The files of a run; without a source its images are nowhere."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(name="fashion_cnn", epochs=len(rows), optimizer=Optimizer(lr=3e-3), label_smoothing=0.1, ema=0.99)
    scored = Evaluation.from_probabilities(probabilities, target, classes, kind, keys, index, split="test")
    location, name, fingerprint = (
        (source.location, source.name, source.fingerprint()) if source else ("gone/photos", "photos", "0f" * 32)
    )
    about = {"location": location, "name": name, "fingerprint": fingerprint, "held_out_name": "test"}
    sizes = {"num_train": 2700, "num_validation": 300, "num_held_out": len(target)}
    record = {
        "command": command_line(location, "fashion_cnn", recipe),
        "python": python_code(location, "fashion_cnn", recipe),
        "created": "2026-03-14T15:09:26+00:00",
        "recipe": to_fields(recipe),
        "resolved": to_fields(resolve_plainly(recipe)),
        "model": {"name": "fashion_cnn", "input_size": [28, 28], "in_zoo": True, "source_file": None, "parameters": 225034},
        "task": Classify(tuple(classes), kind).to_json(),
        "classes": list(classes),
        "data": about | sizes | {"how": "test/ is held out; 10 % of train/ validates."},
        "environment": {"python": "3.11.9", "torch": "2.13.0", "cpu": "a processor", "cores": 2, "threads": 2, "cuda": None},
    }
    (folder / "recipe.json").write_text(json.dumps(record))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "evaluation.json").write_text(json.dumps(scored.to_json()))
    with open(folder / "predictions.npz", "wb") as file:
        np.savez(file, allow_pickle=False, **scored.arrays())
    return folder


if __name__ == "__main__":
    make_run(Path(sys.argv[1]), open_source(sys.argv[2]), epoch_rows(30, overfits=True))
