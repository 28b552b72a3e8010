"""Small models with a card, for the tests of prediction and evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from striate.bundle import write_bundle
from striate.data.preprocess import Preprocess
from striate.tasks.classify import Classify

FRUIT = ("apple", "banana", "cherry")


def card(task: Classify, preprocess: Preprocess, name: str = "fashion_cnn", in_zoo: bool = True, **more: Any) -> dict[str, Any]:
    """What `train` writes into a model file."""
    architecture = {
        "name": name,
        "num_classes": task.num_outputs,
        "in_channels": preprocess.channels,
        "input_size": list(preprocess.size),
        "in_zoo": in_zoo,
        "source_file": None if in_zoo else "my_net.py:make",
    }
    return {
        "striate": "0.1.0",
        "architecture": architecture,
        "task": task.to_json(),
        "classes": list(task.classes),
        "preprocess": preprocess.to_json(),
        "metrics": {},
        **more,
    }


def preprocess_28() -> Preprocess:
    return Preprocess((28, 28), resize=32, channels=3, mean=(0.5,), std=(0.25,))


class MeanColour(nn.Module):
    """Logits are the mean red, green and blue of the normalised picture, times ten: a model whose answer is known."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((num_classes,), 10.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] -> [N, num_classes]"""
        return x.mean(dim=(2, 3))[:, : len(self.scale)] * self.scale


def colour_card(kind: str = "label", classes: tuple[str, ...] = FRUIT, **more: Any) -> dict[str, Any]:
    """The card of a :class:`MeanColour`: red is the first class, green the second, blue the third."""
    task = Classify(classes, kind) if kind != "value" else Classify(kind="value", target_mean=100.0, target_std=20.0)  # type: ignore[arg-type]
    return card(task, preprocess_28(), "MeanColour", in_zoo=False, **more)


def write_colour_model(path: Path, kind: str = "label", classes: tuple[str, ...] = FRUIT, **more: Any) -> Path:
    write_bundle(path, MeanColour(1 if kind == "value" else len(classes)).state_dict(), colour_card(kind, classes, **more))
    return path


def plain(colour: str | tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.new("RGB", size, colour)


def noise(seed: int, height: int = 50, width: int = 40, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
