"""Segmentation: a class for every pixel, some pixels ignored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scenes import COLOURS, scenes
from tiny import memorise
from torch import Tensor, nn
from torch.nn import functional as F

from striate.metrics import confusion_matrix, mean_iou
from striate.tasks.base import Batch, Task


@dataclass(frozen=True)
class Segment(Task):
    num_classes: int
    monitor = "mean_iou"
    monitor_mode = "max"

    def losses(self, model: nn.Module, batch: Batch, player: str) -> dict[str, Tensor]:
        return self.validation_losses(model, batch, self.forward(model, batch))

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        logits: Tensor = model(batch["image"])
        return logits

    def validation_losses(self, model: nn.Module, batch: Batch, raw: Any) -> dict[str, Tensor]:
        return {"cross_entropy": F.cross_entropy(raw, batch["mask"], ignore_index=255)}

    def decode(self, raw: Any) -> Any:
        return raw.argmax(axis=1)

    def meter(self) -> IouMeter:
        return IouMeter(self.num_classes)


class IouMeter:
    def __init__(self, num_classes: int) -> None:
        self.confusion = np.zeros((num_classes, num_classes), np.int64)

    def update(self, prediction: Any, batch: Batch) -> None:
        self.confusion += confusion_matrix(batch["mask"], prediction, len(self.confusion), ignore=255)

    def compute(self) -> dict[str, float]:
        return {"mean_iou": mean_iou(self.confusion)}


def test_segmentation() -> None:
    torch.manual_seed(0)
    num_classes = 1 + len(COLOURS)
    layers: list[nn.Module] = []
    for channels in (3, 16, 16):
        layers += [nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv2d(16, num_classes, 1))
    run = memorise(Segment(num_classes), model, scenes(), steps=100)
    assert run.before["mean_iou"] < 0.3
    assert run.after["mean_iou"] > 0.95
