"""PyTorch tuned by hand: the strongest plain loop. What an expert writes without a framework.

Tensors sliced from memory (files: decoded by draft, by workers that give way), pixels uint8 until they are a batch, the memory
format asked for, bf16 autocast where the processor has it, a fused optimizer, a one-cycle rate, ReLU after max-pooling, freed
memory kept with the process by mallopt.
"""

from __future__ import annotations

import ctypes
import os
import platform
import random
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.peers import job as asked
from benchmarks.peers.plain_torch import Photos
from benchmarks.peers.torch_networks import large_network, num_parameters, small_network, versions

Batches = Iterator[tuple[Tensor, Tensor]]


def keep_freed_memory() -> None:
    """M_MMAP_MAX 0, M_TRIM_THRESHOLD 1 GiB, M_TOP_PAD 256 MiB (malloc.h)."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for parameter, value in ((-4, 0), (-1, 1 << 30), (-2, 256 << 20)):
            libc.mallopt(parameter, value)


class Loop:
    """One training loop for all networks: format, precision and the normalisation of uint8 pixels [N, C, H, W]."""

    def __init__(self, model: nn.Module, job: dict[str, Any], mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        channels_last = job["memory_format"] == "channels_last"
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(memory_format=self.format)  # type: ignore[call-overload]
        self.bf16 = asked.has_bf16()
        self.scale = (1 / (255 * torch.tensor(std))).view(-1, 1, 1)
        self.shift = (-torch.tensor(mean) / torch.tensor(std)).view(-1, 1, 1)

    def prepare(self, images: Tensor) -> Tensor:
        return images.float().mul_(self.scale).add_(self.shift).contiguous(memory_format=self.format)

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            output: Tensor = self.model(self.prepare(images))
        return output.float()

    def train(self, batches: Batches, optimizer: torch.optim.Optimizer, rate: torch.optim.lr_scheduler.OneCycleLR | None) -> None:
        self.model.train()
        for images, labels in batches:
            loss = F.cross_entropy(self.forward(images), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if rate is not None:
                rate.step()

    @torch.no_grad()
    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        self.model.eval()
        hits = sum(
            int((self.forward(images[i : i + 1000]).argmax(1) == labels[i : i + 1000]).sum()) for i in range(0, len(images), 1000)
        )
        return hits / len(images)

    def answer(self, watch: asked.Stopwatch, **more: Any) -> None:
        precision = "bf16" if self.bf16 else "fp32"
        asked.answer(
            **watch.figures(), **more, parameters=num_parameters(self.model), precision=precision,
            versions=versions(), threads=torch.get_num_threads(),
        )  # fmt: skip


def slices(images: Tensor, labels: Tensor, batch: int) -> Batches:
    """Shuffled batches of tensors in memory; the last, partial one is dropped."""
    order = torch.randperm(len(images))
    for start in range(0, len(images) - batch + 1, batch):
        chosen = order[start : start + batch]
        yield images[chosen], labels[chosen]


def small(job: dict[str, Any]) -> None:
    data = asked.read_small(job)
    images, labels, scored, scored_labels = map(
        torch.from_numpy, (data.images[:, None], data.labels, data.scored_images[:, None], data.scored_labels)
    )
    _, mean, std = asked.PIXELS[job["model"]]
    loop = Loop(small_network(job["model"], relu_after_pooling=True), job, (mean,), (std,))
    optimizer = torch.optim.AdamW(loop.model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    steps = job["epochs"] * (len(images) // job["batch"])
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=job["rate"], total_steps=steps)
    watch = asked.Stopwatch()
    for _ in range(job["epochs"]):
        with watch.epoch(len(images) // job["batch"] * job["batch"]):
            loop.train(slices(images, labels, job["batch"]), optimizer, rate)
    loop.answer(watch, accuracy=loop.accuracy(scored, scored_labels))


def large(job: dict[str, Any]) -> None:
    images, labels = map(torch.from_numpy, asked.read_made(job))
    images = images.permute(0, 3, 1, 2)
    _train_large(job, len(images), lambda: slices(images, labels, job["batch"]))


def photos(job: dict[str, Any]) -> None:
    loader = _loader(job)
    _train_large(job, len(loader) * job["batch"], lambda: iter(loader))


def _train_large(job: dict[str, Any], num_images: int, batches: Any) -> None:
    loop = Loop(large_network(job["model"], job["num_classes"]), job, asked.IMAGENET_MEAN, asked.IMAGENET_STD)
    optimizer = torch.optim.SGD(loop.model.parameters(), lr=0.01, momentum=0.9, fused=True)
    watch = asked.Stopwatch()
    for _ in range(job["epochs"]):
        with watch.epoch(num_images // job["batch"] * job["batch"]):
            loop.train(batches(), optimizer, None)
    loop.answer(watch)


def feed(job: dict[str, Any]) -> None:
    """The input pipeline alone, normalised a batch at a time."""
    loader = _loader(job, drop_last=False)
    loop = Loop(nn.Identity(), job, asked.IMAGENET_MEAN, asked.IMAGENET_STD)
    watch = asked.Stopwatch()
    for _ in range(job["epochs"]):
        with watch.epoch(len(loader.dataset)):  # type: ignore[arg-type]
            for images, _labels in loader:
                assert loop.prepare(images).dtype == torch.float32
    asked.answer(**watch.figures(), versions=versions(), threads=torch.get_num_threads())


def _loader(job: dict[str, Any], drop_last: bool = True) -> DataLoader[tuple[Tensor, int]]:
    data = Photos(job["folder"], job["size"], tuple(job["scale"]), draft=True)
    workers = job["workers"]
    return DataLoader(
        data, job["batch"], shuffle=True, drop_last=drop_last, num_workers=workers, persistent_workers=workers > 0,
        worker_init_fn=give_way,
    )  # fmt: skip


def give_way(worker: int) -> None:
    """Decoding at the lowest priority: OpenMP's threads lose most of their speed to a busy neighbour."""
    os.nice(19)
    torch.set_num_threads(1)


def main() -> None:
    job = {"memory_format": "channels_last", **asked.read_job()}
    keep_freed_memory()
    torch.manual_seed(job["seed"])
    random.seed(job["seed"])
    {"small": small, "large": large, "photos": photos, "input": feed}[job["task"]](job)


if __name__ == "__main__":
    main()
