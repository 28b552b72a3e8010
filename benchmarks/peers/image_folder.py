"""torchvision's ImageFolder and transforms with a DataLoader: the input pipeline of most tutorials."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.peers import job as asked
from benchmarks.peers.plain_torch import time_batches
from benchmarks.peers.torch_networks import OPERATORS, versions

assert OPERATORS  # declared before torchvision is imported

from torchvision import __version__, datasets, transforms  # type: ignore[import-not-found] # noqa: E402, TID251


def make_data(job: dict[str, Any]) -> Any:
    """The data set, each image a random resized crop, mirrored at random and normalised."""
    steps = [
        transforms.RandomResizedCrop(job["size"], scale=tuple(job["scale"])),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(asked.IMAGENET_MEAN, asked.IMAGENET_STD),
    ]
    return datasets.ImageFolder(job["folder"], transforms.Compose(steps))


def index(job: dict[str, Any]) -> None:
    """Seconds to list the folder, and from there to the first batch."""
    begun = time.perf_counter()
    data = make_data(job)
    listed = time.perf_counter()
    next(iter(DataLoader(data, job["batch"], shuffle=True)))
    asked.answer(
        num=len(data), index_seconds=listed - begun, first_batch_seconds=time.perf_counter() - listed,
        versions=versions() | {"torchvision": __version__},
    )  # fmt: skip


def main() -> None:
    job = asked.read_job()
    torch.manual_seed(job["seed"])
    if job["task"] == "index":
        index(job)
    else:
        time_batches(DataLoader(make_data(job), job["batch"], shuffle=True, num_workers=job["workers"]), job)


if __name__ == "__main__":
    main()
