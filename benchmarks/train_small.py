"""How fast does a small network train, and how soon does it reach a stated accuracy, from the start of the process?

    python -m benchmarks.train_small fashion:FOLDER --calibrate-epochs      once: the epochs each side needs, on validation
    python -m benchmarks.train_small fashion:FOLDER                         the comparison, 5 rounds
    python -m benchmarks.train_small mnist:FOLDER --model lenet5 ...

All sides train the same network on the same 54,000 images (``make_split``, seed 0) in batches of 128, as many epochs as each
needs to reach the accuracy on the 6,000 images of validation (mean of ``--seeds``), and score the 10,000 test images once. The
seconds are of whole processes: interpreter, reading the data, compilation, striate's look at the data, its probe, its report.
Striate runs as ``striate train`` with its defaults and nothing in its caches. Images a second are of training epochs alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.comparison import Figure, ceiling_lines
from benchmarks.operations import training_operations
from benchmarks.side_by_side import ALLOCATOR, Options, Side, add_options, compare, describe_machine, options_of, run_side
from striate.data.formats import open_source
from striate.data.split import make_split, write_split
from striate.files import make_folder, write_json
from striate.machine import has_bf16
from striate.recipes import recipe_for

TARGETS = {"fashion_cnn": 0.91, "lenet5": 0.99}
MOST_EPOCHS = 20
TRIES = (10, MOST_EPOCHS)
"""Epochs of the runs at a constant rate, whose every epoch is scored: the longer ones only where the shorter do not get there."""
FIRST_TRY = 3
"""Epochs that are tried first of a side whose rate follows a schedule; from there on one more, or one fewer."""
FIGURES = (
    Figure("images_per_second", "images/s"),
    Figure("seconds", "seconds to the result", less_is_better=True),
    Figure("accuracy", "test accuracy", lambda value: f"{100 * value:.2f} %", less_is_better=None),
    Figure("peak_memory", "peak memory", lambda value: f"{value / 2**20:,.0f} MiB", less_is_better=True),
)


def make_sides(model: str) -> list[Side]:
    """Striate, and everyone it is compared with."""
    bf16 = None if has_bf16() else "this processor has no bf16 instructions"
    tuned = {"rate": recipe_for(model, FIRST_TRY).optimizer.lr}  # the peak rate of striate's recipe
    return [
        Side("striate", "striate_train"),
        Side("plain PyTorch", "plain_torch", "torch", peer=True),
        Side("plain PyTorch, freed memory kept", "plain_torch", "torch", environ=ALLOCATOR),
        Side("PyTorch tuned by hand", "tuned_torch", "torch", tuned),
        Side("PyTorch tuned by hand, contiguous", "tuned_torch", "torch", {**tuned, "memory_format": "contiguous"}),
        Side("Keras on TensorFlow", "keras_tensorflow", "tensorflow", peer=True),
        Side("Keras on TensorFlow, freed memory kept", "keras_tensorflow", "tensorflow", environ=ALLOCATOR),
        Side(
            "Keras on TensorFlow, bf16", "keras_tensorflow", "tensorflow", {"precision": "mixed_bfloat16"}, peer=True, absent=bf16
        ),
        Side("Keras on JAX", "keras_jax", "jax", peer=True),
    ]


def make_job(data: str, model: str, out: Path) -> dict[str, Any]:
    """What every side is asked, with the split written for striate by key and for the others by position."""
    source = open_source(data)
    parts = make_split(source, validation=0.1, seed=0)
    folder = make_folder(out.absolute())
    split = write_split(folder / f"{source.name}-split.json", parts, source)
    numbers: dict[str, Any] = {
        name: np.array([int(source.key(i).rpartition("/")[2]) for i in getattr(parts, name).tolist()])
        for name in ("train", "validation")
    }
    np.savez(folder / f"{source.name}-parts.npz", **numbers)
    return {
        "task": "small",
        "model": model,
        "data": source.location,
        "folder": source.location.partition(":")[2],
        "split": str(split),
        "parts": str(folder / f"{source.name}-parts.npz"),
        "batch": 128,
        "score": "test",
    }


def calibrate(sides: list[Side], job: dict[str, Any], target: float, seeds: int, options: Options, path: Path) -> dict[str, int]:
    """The fewest epochs whose mean validation accuracy over the seeds reaches ``target``, for each side that can run.

    A side at a constant rate is run once a seed and scored after each epoch; one whose rate follows a schedule is run anew for
    each number of epochs. Where memory lies changes no number: sides that differ in that alone share their epochs.
    """
    record = json.loads(path.read_text()) if path.exists() else {}
    found: dict[str, Any] = record.get("sides", {}) if (record.get("target"), record.get("seeds")) == (target, seeds) else {}
    wanted = [side for side in sides if options.sides is None or side.name in ("striate", *options.sides)]
    for side in wanted:
        if side.absent is not None or side.environ or "memory_format" in side.job or side.name in found:
            continue
        curve = _Curve(side, job, seeds, options)
        epochs = curve.fewest(target)
        found[side.name] = {"epochs": epochs, "validation": curve.means}
        print(f"{side.name}: {epochs} epochs reach {100 * target:g} % of validation", flush=True)
        write_json(path, {"target": target, "seeds": seeds, "machine": describe_machine(), "sides": found})
    return {name: entry["epochs"] for name, entry in found.items()}


class _Curve:
    """Validation accuracy of a side by its number of epochs: ``means``, over the seeds, of those that were tried."""

    def __init__(self, side: Side, job: dict[str, Any], seeds: int, options: Options) -> None:
        self._side, self._job, self._seeds, self._options = side, job, seeds, options
        self.means: dict[int, float] = {}

    def fewest(self, target: float) -> int:
        """The fewest epochs that reach ``target``."""
        scheduled = self._side.module in ("striate_train", "tuned_torch")
        found = self._one_by_one(target) if scheduled else self._all_at_once(target)
        if found is None:
            best = 100 * max(self.means.values())
            raise SystemExit(f"{self._side.name} does not reach {100 * target:g} % in {MOST_EPOCHS} epochs; best {best:.2f}")
        return found

    def _all_at_once(self, target: float) -> int | None:
        for epochs in TRIES:
            runs = self._run(epochs)
            self.means = {n + 1: statistics.fmean(run["accuracies"][n] for run in runs) for n in range(epochs)}
            if reached := next((n for n in self.means if self.means[n] >= target), None):
                return reached
        return None

    def _one_by_one(self, target: float) -> int | None:
        if self._scheduled(FIRST_TRY) < target:
            return next((n for n in range(FIRST_TRY + 1, MOST_EPOCHS + 1) if self._scheduled(n) >= target), None)
        short = next((n for n in range(FIRST_TRY - 1, 0, -1) if self._scheduled(n) < target), 0)
        return short + 1

    def _scheduled(self, epochs: int) -> float:
        runs = self._run(epochs)
        self.means[epochs] = statistics.fmean(run.get("validation_accuracy", run["accuracy"]) for run in runs)
        return self.means[epochs]

    def _run(self, epochs: int) -> list[dict[str, Any]]:
        asked = {**self._job, "score": "validation", "epochs": epochs}
        runs = [run_side(self._side, {**asked, "seed": seed}, self._options) for seed in range(self._seeds)]
        if failed := next((run["error"] for run in runs if "error" in run), None):
            raise SystemExit(f"{self._side.name}: {failed}")
        return runs


def main() -> None:
    """Calibrates, or compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="mnist:FOLDER or fashion:FOLDER")
    parser.add_argument("--model", choices=list(TARGETS), default="fashion_cnn")
    parser.add_argument("--calibrate-epochs", action="store_true", help="find the epochs on validation, and stop")
    parser.add_argument("--seeds", type=int, default=3, help="of each number of epochs that is tried")
    parser.add_argument("--margin", type=float, default=0.002, help="how far above the target validation must be")
    parser.add_argument("--epochs", type=int, help="the same for all sides, instead of what calibration found")
    add_options(parser)
    given = parser.parse_args()
    options, target = options_of(given), TARGETS[given.model]
    job, sides = make_job(given.data, given.model, given.out), make_sides(given.model)
    found = options.out / f"epochs-{given.model}.json"
    if given.calibrate_epochs:
        calibrate(sides, job, target + given.margin, given.seeds, options, found)
        return
    if given.epochs is None:
        if not found.exists():
            parser.error(f"no {found}: run with --calibrate-epochs first, or give --epochs")
        needed = {name: entry["epochs"] for name, entry in json.loads(found.read_text())["sides"].items()}
    else:
        needed = {side.name: given.epochs for side in sides}
    sides = [_with_epochs(side, needed) for side in sides]
    record = compare(f"train_small-{given.model}", sides, job, FIGURES, options, ceilings=True)
    print("\n".join(["", *ceiling_lines(record, training_operations(given.model))]))
    for line in reached(record, target):
        print(line)


def _with_epochs(side: Side, needed: dict[str, int]) -> Side:
    """The side with its epochs; one that was not calibrated has those of the side it is a variant of."""
    name = side.name if side.name in needed else side.name.rpartition(",")[0]
    if name not in needed and side.absent is None:
        return dataclasses.replace(side, absent="its epochs are not calibrated")
    return dataclasses.replace(side, job={**side.job, "epochs": needed.get(name)})


def reached(record: dict[str, Any], target: float) -> list[str]:
    """How many of each side's runs reached the target on the test set, and after how many epochs."""
    lines = []
    for name, side in record["asked"]["sides"].items():
        scores = [round_[name]["accuracy"] for round_ in record["rounds"] if "accuracy" in round_.get(name, {})]
        if scores:
            hits = sum(score >= target for score in scores)
            lines.append(
                f"{name}: {side['job']['epochs']} epochs; {hits} of {len(scores)} runs reached {100 * target:g} % of the test set"
            )
    return lines


if __name__ == "__main__":
    main()
