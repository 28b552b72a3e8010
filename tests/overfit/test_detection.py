"""One-stage detection: a grid of cells, each with an object or not, its box and its class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scenes import COLOURS, SIDE, scenes
from tiny import memorise
from torch import Tensor, nn
from torch.nn import functional as F

from striate.metrics import box_average_precision, box_iou
from striate.tasks.base import Batch, Task

STRIDE = 4


@dataclass(frozen=True)
class Detect(Task):
    """Outputs [N, 5 + K, H, W]: objectness, the distances from the cell's centre to the four sides in strides, classes.

    A box belongs to the cell that holds its centre (Redmon et al., arXiv 1506.02640; sides as in FCOS, arXiv 1904.01355).
    """

    num_classes: int
    monitor = "average_precision"
    monitor_mode = "max"

    def losses(self, model: nn.Module, batch: Batch, player: str) -> dict[str, Tensor]:
        return self.validation_losses(model, batch, self.forward(model, batch))

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        outputs: Tensor = model(batch["image"])
        return outputs

    def validation_losses(self, model: nn.Module, batch: Batch, raw: Any) -> dict[str, Tensor]:
        boxes, label = torch.cat(batch["boxes"]), torch.cat(batch["box_label"])
        image = torch.repeat_interleave(torch.arange(len(raw)), torch.tensor([len(b) for b in batch["boxes"]]))
        column, row = ((boxes[:, :2] + boxes[:, 2:]) / 2 // STRIDE).long().T
        own = raw[image, :, row, column]
        centre = (torch.stack([column, row], 1) + 0.5) * STRIDE
        sides = torch.cat([centre - boxes[:, :2], boxes[:, 2:] - centre], 1) / STRIDE
        objectness = torch.zeros_like(raw[:, 0]).index_put((image, row, column), torch.ones(len(boxes)))
        return {
            "objectness": F.binary_cross_entropy_with_logits(raw[:, 0], objectness) * 10,
            "box": F.l1_loss(own[:, 1:5], sides),
            "class": F.cross_entropy(own[:, 5:], label),
        }

    def decode(self, raw: Any) -> list[dict[str, Any]]:
        """An image: boxes [D, 4], scores [D], labels [D], after suppression of overlapping ones."""
        return [self._detections(outputs) for outputs in raw]

    def _detections(self, outputs: Any) -> dict[str, Any]:
        row, column = np.nonzero(outputs[0] > 0)
        own = outputs[:, row, column].T
        centre = (np.stack([column, row], 1) + 0.5) * STRIDE
        boxes = np.concatenate([centre - own[:, 1:3] * STRIDE, centre + own[:, 3:5] * STRIDE], 1)
        kept: list[int] = []
        for d in np.argsort(-own[:, 0]):
            if not kept or box_iou(boxes[d][None], boxes[kept]).max() < 0.5:
                kept.append(int(d))
        return {"boxes": boxes[kept], "scores": own[kept, 0], "labels": own[kept, 5:].argmax(1)}

    def meter(self) -> ApMeter:
        return ApMeter(self.num_classes)


class ApMeter:
    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.detections: list[dict[str, Any]] = []
        self.truths: list[tuple[Any, Any]] = []

    def update(self, prediction: Any, batch: Batch) -> None:
        self.detections += prediction
        self.truths += zip(batch["boxes"], batch["box_label"], strict=True)

    def compute(self) -> dict[str, float]:
        return {"average_precision": float(np.mean([self._of_class(k) for k in range(self.num_classes)]))}

    def _of_class(self, k: int) -> float:
        truths = [boxes[labels == k] for boxes, labels in self.truths]
        found = [(d["boxes"][d["labels"] == k], d["scores"][d["labels"] == k]) for d in self.detections]
        return box_average_precision(truths, found)


def test_detection() -> None:
    torch.manual_seed(0)
    batch = scenes()
    layers: list[nn.Module] = []
    for channels, stride in ((3, 2), (32, 2), (32, 1), (32, 1)):
        layers += [nn.Conv2d(channels, 32, 3, stride, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    task = Detect(len(COLOURS))
    model = nn.Sequential(*layers, nn.Conv2d(32, 5 + task.num_classes, 1))
    assert model(batch["image"]).shape[2:] == (SIDE // STRIDE, SIDE // STRIDE)

    run = memorise(task, model, batch, steps=150)
    assert run.before["average_precision"] < 0.1
    assert run.after["average_precision"] > 0.9
    assert {"loss", "loss.objectness", "loss.box", "loss.class"} <= run.after.keys()
    assert run.after["loss"] < run.before["loss"] / 10
