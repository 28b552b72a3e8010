"""One point of how striate grows: a folder listed, split, looked at and read from, or a training step, each timed by itself."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch

from benchmarks.peers import job as asked
from striate.data.audit import audit
from striate.data.augment import Augment
from striate.data.augmenter import Augmenter
from striate.data.batches import Batches
from striate.data.formats import open_source
from striate.data.preprocess import Preprocess
from striate.data.source import FileSource
from striate.data.split import make_split
from striate.machine import resident_memory, tune
from striate.recipe import Optimizer, Recipe, resolve_plainly
from striate.tasks.classify import Classify
from striate.turns import make_sides, set_training, take_turn
from striate.zoo import build

Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    begun = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begun


def index(job: dict[str, Any]) -> None:
    """Listing, split, fingerprint, first batch, and the audit where it is asked for."""
    torch.set_num_threads(tune(allocator=False).threads)
    before = resident_memory()
    source, listed = timed(lambda: open_source(job["folder"]))
    assert isinstance(source, FileSource)
    grown = resident_memory() - before
    parts, split = timed(lambda: make_split(source))
    _, fingerprint = timed(source.fingerprint)
    _, first = timed(lambda: first_batch(source, parts.train, job))
    figures: dict[str, Any] = {
        "num": len(source),
        "index_seconds": listed,
        "split_seconds": split,
        "fingerprint_seconds": fingerprint,
        "first_batch_seconds": first,
        "held_bytes": held_bytes(source) / len(source),
        "grown_bytes": grown / len(source),
    }
    if job["audit"]:
        _, figures["audit_seconds"] = timed(lambda: audit(source))
    asked.answer(**figures, threads=torch.get_num_threads())


def held_bytes(source: FileSource) -> int:
    """What the index holds: keys, their ends, targets and splits; that the heap grew by more is what listing took meanwhile."""
    return len(source._block) + source._ends.nbytes + source.targets.nbytes + source.given.nbytes


def first_batch(source: FileSource, train: np.ndarray[Any, np.dtype[np.int64]], job: dict[str, Any]) -> torch.Tensor:
    """As training reads it, decoded, cropped and normalised."""
    side = job["size"]
    preprocess = Preprocess(
        (side, side), resize=None, interpolation="bilinear", channels=3, mean=asked.IMAGENET_MEAN, std=asked.IMAGENET_STD
    )
    batches = Batches(source, train, train[:0], preprocess, batch=job["batch"], seed=0, augmented=True)
    augmenter = Augmenter(Augment(crop_scale=tuple(job["scale"]), flip_horizontal=0.5), preprocess.size, 0, 0)
    steps = batches.train(0)
    batch = next(iter(steps))
    steps.close()  # type: ignore[attr-defined]
    image: torch.Tensor = preprocess.normalize(augmenter(batch, 0)["image"])
    return image


def step(job: dict[str, Any]) -> None:
    """A training step of 32 images: the median of five after a first one."""
    tune()
    side, classes = job["size"], job["classes"]
    model = build(job["model"], num_classes=classes, in_channels=3, input_size=(side, side))
    recipe = Recipe(batch=32, optimizer=Optimizer("sgd", lr=0.01))
    task = Classify(tuple(map(str, range(classes))))
    (player,) = make_sides(task, model, recipe)
    resolved = resolve_plainly(recipe)
    batch = {"image": torch.randn(32, 3, side, side), "index": torch.arange(32), "label": torch.arange(32) % classes}
    set_training(model)
    off = torch.autocast("cpu", torch.bfloat16, enabled=False)

    def take() -> object:
        return take_turn(player, task, model, batch, micro_batch=resolved.micro_batch, clip=None, autocast=off)

    take()
    seconds = [timed(take)[1] for _ in range(5)]
    asked.answer(step_seconds=statistics.median(seconds), threads=torch.get_num_threads())


def main() -> None:
    job = asked.read_job()
    {"index": index, "step": step}[job["task"]](job)


if __name__ == "__main__":
    main()
