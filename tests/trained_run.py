"""A run's folder made by hand, in a second: a small network that knows three kinds of pictures, and the pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from small_models import FRUIT, card
from torch import Tensor, nn

from striate.bundle import write_bundle
from striate.data.formats import open_source
from striate.data.preprocess import Preprocess
from striate.data.split import Split, write_split
from striate.prediction import Model, load
from striate.tasks.classify import Classify

ARCH = f"{__file__}:TinyNet"
PREPROCESS = Preprocess((24, 24), resize=28, mean=(0.45, 0.4, 0.5), std=(0.2, 0.25, 0.3))


class TinyNet(nn.Module):
    """Two convolutions with batch norm, a pooling whose rounding matters (24 to 23 to 12 or 11), a skip and a dense layer."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 2, bias=False), nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(2)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.act1, self.act2 = nn.ReLU(inplace=True), nn.ReLU()
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, 24, 24] -> [N, num_classes]"""
        x = self.pool(self.act1(self.bn1(self.conv1(x))))
        x = x + self.act2(self.bn2(self.conv2(x)))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def photo(rng: np.random.Generator, kind: int) -> NDArray[np.uint8]:
    """A noisy picture of any size: stripes across, stripes down, or blobs, in any two colours."""
    height, width = rng.integers(26, 90, 2)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(40 * y), np.sin(40 * x), np.sin(18 * y) * np.sin(18 * x)][kind]
    low, high = rng.uniform(0, 255, (2, 3))
    picture = low + (waves[..., None] > 0) * (high - low) + rng.normal(0, 12, (height, width, 3))
    return picture.clip(0, 255).astype(np.uint8)


def write_photos(folder: Path, each: int = 60, seed: int = 0) -> Path:
    """``folder/CLASS/n.jpg``."""
    rng = np.random.default_rng(seed)
    for kind, name in enumerate(FRUIT):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            Image.fromarray(photo(rng, kind)).save(folder / name / f"{number}.jpg", quality=92)
    return folder


def fit_tiny(data: Path, steps: int = 150) -> TinyNet:
    """The network after a few epochs on all pictures; every sixth is left out."""
    source = open_source(data)
    shown = [i for i in range(len(source)) if i % 6]
    tensors = np.stack([PREPROCESS(source.read(i)) for i in shown]).transpose(0, 3, 1, 2)
    images, labels = PREPROCESS.normalize(torch.from_numpy(tensors.copy())), torch.from_numpy(source.targets[shown])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = TinyNet()
        optimizer = torch.optim.Adam(network.parameters(), 0.02)
        for _ in range(steps):
            batch = torch.randint(0, len(images), (64,))
            loss = F.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


def write_run(folder: Path, data: Path, network: nn.Module) -> Path:
    """What the export reads of a run: the model, the split, and where the data are."""
    folder.mkdir(parents=True)
    source = open_source(data)
    every = np.arange(len(source))
    split = Split(every[every % 6 != 0], every[every % 6 == 0], every[:0], "by hand")
    write_split(folder / "split.json", split, source)
    recorded = {"location": source.location, "name": source.name, "fingerprint": source.fingerprint()}
    record = {"created": "2026-01-01T00:00:00+00:00", "recipe": {}, "resolved": {}, "model": {}, "data": recorded}
    (folder / "recipe.json").write_text(json.dumps(record))
    info = card(Classify(FRUIT), PREPROCESS, "TinyNet", in_zoo=False, data={"fingerprint": source.fingerprint()})
    write_bundle(folder / "model.safetensors", network.state_dict(), info)
    return folder


def open_run(folder: Path) -> Model:
    return load(folder, module=TinyNet())
