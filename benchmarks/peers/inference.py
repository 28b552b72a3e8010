"""What all sides of ``benchmarks.infer`` share: images, clocks, the folder's files and the table that is written of it."""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import job as asked

CENTRE, SHORTER = 224, 256
"""Side of what the network reads, and what the shorter side is scaled to before it is cut out."""


def noise(batch: int) -> asked.Array:
    """uint8 [batch, 3, 224, 224]."""
    return np.random.default_rng(0).integers(0, 256, (batch, 3, CENTRE, CENTRE), dtype=np.uint8)


def speeds(run: Callable[[int], Callable[[], object]], job: dict[str, Any]) -> dict[str, float]:
    """Images a second one at a time and in batches: medians of calls, after three that do not count.

    Args:
        run: a batch size -> what runs one batch of it.
    """
    found = {}
    for name, batch in (("single", 1), ("batched", job["batch"])):
        call = run(batch)
        for _ in range(3):
            call()
        times: list[float] = []
        while len(times) < 5 or sum(times) < job["measure_seconds"]:
            begun = time.perf_counter()
            call()
            times.append(time.perf_counter() - begun)
        found[name] = batch / statistics.median(times)
    return found


def jpegs(folder: str) -> list[str]:
    """Files of a folder, in depth, sorted."""
    return sorted(map(str, Path(folder).rglob("*.jpg")))


def write_table(path: str, names: Iterable[str], rows: Iterable[asked.Array]) -> None:
    """A line a picture: its name, its class and the probability of that, from logits [N, K] in batches."""
    named = iter(names)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "class", "probability"))
        for logits in rows:
            powers = np.exp(logits - logits.max(1, keepdims=True))
            probabilities = powers / powers.sum(1, keepdims=True)
            for row, label in zip(probabilities, probabilities.argmax(1).tolist(), strict=True):
                writer.writerow((next(named), label, f"{row[label]:.4f}"))


def say(logits: asked.Array) -> None:
    """The class of the first picture, as soon as it is known: what a first prediction is timed to."""
    print(int(logits[0].argmax()), flush=True)
