"""Small models and data for the tests of ``look``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from small_models import card
from torch import nn

from striate.bundle import write_bundle
from striate.data.preprocess import Preprocess
from striate.data.source import ArraySource
from striate.prediction import Model
from striate.tasks.classify import Classify
from striate.zoo import build

CLASSES = ("ant", "bee", "cat")


def pictures_of(images: NDArray[np.uint8], targets: list[int], classes: tuple[str, ...] = CLASSES) -> ArraySource:
    """A source of uint8 [N, H, W, C] with a class each."""
    count = len(images)
    return ArraySource(
        images, name="small", location="npz:small.npz", kind="label", classes=classes, targets=np.array(targets, np.int64),
        given=np.zeros(count, np.uint8),
    )  # fmt: skip


def model_of(module: nn.Module, size: tuple[int, int], classes: tuple[str, ...] = CLASSES, channels: int = 3) -> Model:
    """A model that reads pixels / 255 as they are."""
    preprocess = Preprocess(size, channels=channels, mean=(0.0,), std=(1.0,))
    return Model.from_module(module, card(Classify(classes), preprocess, "Small", in_zoo=False))


def write_fashion_model(path: Any, kind: Any = "label") -> Any:
    """A ``fashion_cnn`` for 28 x 28 grey pictures with weights drawn by chance."""
    preprocess = Preprocess((28, 28), channels=1, mean=(0.5,), std=(0.25,))
    task = Classify(CLASSES, kind) if kind != "value" else Classify(kind="value", target_mean=100.0, target_std=20.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build("fashion_cnn", num_classes=task.num_outputs, in_channels=1)
    write_bundle(path, network.state_dict(), card(task, preprocess))
    return path
