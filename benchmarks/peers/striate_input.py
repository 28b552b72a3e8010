"""Striate's input pipeline as ``fit`` reads it: decoded by threads, cached or not, augmented and normalised a batch at a time."""

from __future__ import annotations

import time

import numpy as np
import torch

from benchmarks.peers import job as asked
from striate.data.augment import Augment
from striate.data.augmenter import Augmenter
from striate.data.batches import Batches
from striate.data.formats import open_source
from striate.data.preprocess import Preprocess
from striate.environment import describe_environment
from striate.machine import cache_folder, tune


def main() -> None:
    job = asked.read_job()
    tuning = tune()
    side = job["size"]
    preprocess = Preprocess(
        (side, side), resize=None, interpolation="bilinear", channels=3, mean=asked.IMAGENET_MEAN, std=asked.IMAGENET_STD
    )
    augment = Augment(crop_scale=tuple(job["scale"]), flip_horizontal=0.5)
    augmenter = Augmenter(augment, preprocess.size, job["seed"], 0)
    source = open_source(job["folder"])
    begun = time.perf_counter()
    batches = Batches(
        source, np.arange(len(source)), np.arange(0), preprocess, batch=job["batch"], seed=job["seed"], augmented=True,
        workers=job["workers"], cache=cache_folder() / "pixels" if job["cache"] else None,
    )  # fmt: skip
    if job["cache"]:  # what `striate train` does before the first epoch: it fills the cache, and finds what cannot be read
        batches.scan()
    scanned = time.perf_counter() - begun
    watch = asked.Stopwatch()
    # The last, partial batch is dropped where two full ones or more exist.
    images = min(batches.steps * job["batch"], len(source))
    for epoch in range(job["epochs"]):
        with watch.epoch(images):
            for batch in batches.train(epoch):
                image = preprocess.normalize(augmenter(batch, epoch)["image"])
                assert image.dtype == torch.float32
    first = images / (scanned + images / watch.speeds[0])
    environment = describe_environment()
    versions = {"striate": environment["striate"], "torch": environment["torch"]}
    asked.answer(**watch.figures() | {"first_epoch": first}, versions=versions, threads=tuning.threads)


if __name__ == "__main__":
    main()
