"""What a side is asked and how it answers. NumPy and the standard library alone: every environment reads this file."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIXELS = {"lenet5": (32, 0.1001, 0.2752), "fashion_cnn": (28, 0.2860, 0.3530)}
"""Of the small networks: side of the image, mean and standard deviation of its pixels on 0..1."""


def read_job() -> dict[str, Any]:
    """The job, from the command line."""
    job: dict[str, Any] = json.loads(sys.argv[1])
    return job


def answer(**figures: Any) -> None:
    """Prints what was measured, as the last line."""
    print(json.dumps(figures), flush=True)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bf16() -> bool:
    """Whether the processor multiplies bf16 in hardware."""
    with contextlib.suppress(OSError):
        return any(flag in Path("/proc/cpuinfo").read_text() for flag in (" avx512_bf16", " amx_bf16"))
    return False


class Stopwatch:
    """Images a second of whole epochs: from asking for the first batch until the last step is done."""

    def __init__(self) -> None:
        self.speeds: list[float] = []

    @contextlib.contextmanager
    def epoch(self, images: int) -> Iterator[None]:
        """Times what is done inside, for so many images."""
        begun = time.perf_counter()
        yield
        self.speeds.append(images / (time.perf_counter() - begun))

    def figures(self) -> dict[str, float]:
        """The median of all epochs but the first, which also warms up, allocates or compiles."""
        return {"images_per_second": statistics.median(self.speeds[1:] or self.speeds), "first_epoch": self.speeds[0]}


@dataclass(frozen=True)
class SmallData:
    """Pictures uint8 [N, side, side] and labels int64 [N]; ``scored`` is the test set, or validation while epochs are chosen."""

    images: Array
    labels: Array
    scored_images: Array
    scored_labels: Array


def read_small(job: dict[str, Any]) -> SmallData:
    """The images that all sides train on (``parts``, positions in the training file), padded to the network's side."""
    folder, side = Path(job["folder"]), PIXELS[job["model"]][0]
    with np.load(job["parts"]) as parts:
        train, validation = parts["train"], parts["validation"]
    images, labels = _read_idx(folder, "train")
    if job["score"] == "test":
        scored, scored_labels = _read_idx(folder, "t10k")
    else:
        scored, scored_labels = images[validation], labels[validation]
    border = (side - images.shape[1]) // 2
    padding = ((0, 0), (border, border), (border, border))
    return SmallData(np.pad(images[train], padding), labels[train], np.pad(scored, padding), scored_labels)


def _read_idx(folder: Path, part: str) -> tuple[Array, Array]:
    """Images uint8 [N, H, W] and labels int64 [N] of the four gz files that MNIST and its likes are published as."""
    blocks = []
    for kind in ("images-idx3", "labels-idx1"):
        with gzip.open(folder / f"{part}-{kind}-ubyte.gz") as file:
            data = np.frombuffer(file.read(), dtype=np.uint8)
        dimensions = int(data[3])
        shape = data[4 : 4 + 4 * dimensions].view(">u4").tolist()
        blocks.append(data[4 + 4 * dimensions :].reshape(shape))
    return blocks[0], blocks[1].astype(np.int64)


def read_made(job: dict[str, Any]) -> tuple[Array, Array]:
    """Made images uint8 [N, H, W, 3] and labels int64 [N]."""
    with np.load(job["images"]) as file:
        return file["train_images"], file["train_labels"].astype(np.int64)


def list_photos(folder: str) -> tuple[list[str], list[int]]:
    """Files of a folder with a folder a class, and their class numbers."""
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    files = [(entry.path, label) for label, name in enumerate(classes) for entry in os.scandir(Path(folder) / name)]
    return [path for path, _ in sorted(files)], [label for _, label in sorted(files)]
