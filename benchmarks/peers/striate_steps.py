"""Striate on the very job of the peers: the same images, optimizer and augmentation, through ``striate.train``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import striate
from benchmarks.peers import job as asked
from benchmarks.peers.striate_train import answer_run
from striate.data.augment import Augment
from striate.machine import tune
from striate.recipe import Optimizer, Recipe, Schedule


def make_recipe(job: dict[str, Any]) -> Recipe:
    """SGD with momentum at a constant rate; random resized crops and flips where the images are photos."""
    augment = Augment(crop_scale=tuple(job["scale"]), flip_horizontal=0.5) if "scale" in job else Augment()
    return Recipe(
        name="benchmark",
        epochs=job["epochs"],
        batch=job["batch"],
        seed=job["seed"],
        size=job["size"],
        optimizer=Optimizer("sgd", lr=0.01, momentum=0.9, nesterov=False, weight_decay=0.0),
        schedule=Schedule("constant", warmup=0.0),
        augment=augment,
        validate_every=job["epochs"],
    )


def main() -> None:
    job = asked.read_job()
    data = job["folder"] if job["task"] == "photos" else f"npz:{job['images']}"
    tuning = tune()  # as `striate train` does
    with tempfile.TemporaryDirectory() as place:
        run = striate.train(
            data, job["model"], make_recipe(job), out=Path(place) / "run", workers=job.get("workers"), tuning=tuning
        )
        answer_run(run)


if __name__ == "__main__":
    main()
