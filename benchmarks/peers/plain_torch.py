"""Plain PyTorch: the loop that a user writes. A Dataset, a DataLoader, eager fp32, Adam or SGD as it comes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers import job as asked
from benchmarks.peers.torch_networks import large_network, num_parameters, small_network, versions

Sample = tuple[Tensor, int]


class Pictures(Dataset[Sample]):
    """Pictures uint8 [N, H, W, C] in memory; each becomes a normalised float32 [C, H, W] when it is asked for."""

    def __init__(self, images: asked.Array, labels: asked.Array, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.images, self.labels = images, labels
        self.mean, self.std = torch.tensor(mean).view(-1, 1, 1), torch.tensor(std).view(-1, 1, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> Sample:
        image = torch.from_numpy(self.images[i]).permute(2, 0, 1).float() / 255
        return (image - self.mean) / self.std, int(self.labels[i])


class Photos(Dataset[Sample]):
    """JPEG files, decoded by Pillow; a random part of the area is cut out, scaled to ``size`` and mirrored at random.

    Args:
        draft: decode at 1/2, 1/4 or 1/8 where that leaves twice the size that is needed, and leave the pixels uint8.
    """

    def __init__(self, folder: str, size: int, scale: tuple[float, float], draft: bool = False) -> None:
        self.files, self.labels = asked.list_photos(folder)
        self.size, self.scale, self.draft = size, scale, draft
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in (asked.IMAGENET_MEAN, asked.IMAGENET_STD))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Sample:
        with Image.open(self.files[i]) as file:
            if self.draft:
                file.draft("RGB", (2 * self.size, 2 * self.size))
            picture = file.convert("RGB")
        picture = picture.resize((self.size, self.size), Image.Resampling.BILINEAR, box=crop_box(picture.size, self.scale))
        if random.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        return (pixels if self.draft else (pixels.float() / 255 - self.mean) / self.std), self.labels[i]


def crop_box(size: tuple[int, int], scale: tuple[float, float]) -> tuple[float, float, float, float]:
    """A random window of that share of the area, width to height from 3/4 to 4/3; the whole picture where none is found."""
    width, height = size
    for _ in range(10):
        area = width * height * random.uniform(*scale)
        ratio = float(np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3))))
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if w <= width and h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            return left, top, left + w, top + h
    return 0, 0, width, height


def train_epoch(model: nn.Module, loader: DataLoader[Sample], optimizer: torch.optim.Optimizer) -> None:
    model.train()
    for images, labels in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader[Sample]) -> float:
    model.eval()
    hits = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in loader)
    return hits / len(loader.dataset)  # type: ignore[arg-type]


def small(job: dict[str, Any]) -> None:
    data = asked.read_small(job)
    _, mean, std = asked.PIXELS[job["model"]]
    train = Pictures(data.images[..., None], data.labels, (mean,), (std,))
    scored = Pictures(data.scored_images[..., None], data.scored_labels, (mean,), (std,))
    loader = DataLoader(train, job["batch"], shuffle=True)
    scoring = DataLoader(scored, 1000)
    model = small_network(job["model"])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    watch, accuracies = asked.Stopwatch(), []
    for epoch in range(job["epochs"]):
        with watch.epoch(len(train)):
            train_epoch(model, loader, optimizer)
        if job["score"] == "validation" or epoch + 1 == job["epochs"]:
            accuracies.append(accuracy(model, scoring))
    _answer(model, watch, accuracy=accuracies[-1], accuracies=accuracies)


def large(job: dict[str, Any]) -> None:
    images, labels = asked.read_made(job)
    _train_large(job, Pictures(images, labels, asked.IMAGENET_MEAN, asked.IMAGENET_STD), 0)


def photos(job: dict[str, Any]) -> None:
    _train_large(job, Photos(job["folder"], job["size"], tuple(job["scale"])), job["workers"])


def _train_large(job: dict[str, Any], data: Pictures | Photos, workers: int) -> None:
    loader = DataLoader(data, job["batch"], shuffle=True, drop_last=True, num_workers=workers)
    model = large_network(job["model"], job["num_classes"])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    watch = asked.Stopwatch()
    for _ in range(job["epochs"]):
        with watch.epoch(len(loader) * job["batch"]):
            train_epoch(model, loader, optimizer)
    _answer(model, watch)


def feed(job: dict[str, Any]) -> None:
    """The input pipeline alone: ready batches, nothing trained."""
    data = Photos(job["folder"], job["size"], tuple(job["scale"]))
    time_batches(DataLoader(data, job["batch"], shuffle=True, num_workers=job["workers"]), job)


def time_batches(loader: DataLoader[Sample], job: dict[str, Any]) -> None:
    """Whole epochs of a loader whose images are ready for the network."""
    watch = asked.Stopwatch()
    for _ in range(job["epochs"]):
        with watch.epoch(len(loader.dataset)):  # type: ignore[arg-type]
            for images, _labels in loader:
                assert images.shape[1:] == (3, job["size"], job["size"])
                assert images.dtype == torch.float32
    asked.answer(**watch.figures(), versions=versions(), threads=torch.get_num_threads())


def _answer(model: nn.Module, watch: asked.Stopwatch, **more: Any) -> None:
    asked.answer(
        **watch.figures(), **more, parameters=num_parameters(model), versions=versions(), threads=torch.get_num_threads()
    )


def main() -> None:
    job = asked.read_job()
    torch.manual_seed(job["seed"])
    random.seed(job["seed"])
    {"small": small, "large": large, "photos": photos, "input": feed}[job["task"]](job)


if __name__ == "__main__":
    main()
