"""Image to image: twice the resolution, from pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scenes import scenes
from tiny import memorise
from torch import Tensor, nn
from torch.nn import functional as F

from striate.metrics import psnr
from striate.tasks.base import Batch, Task


@dataclass(frozen=True)
class Enlarge(Task):
    """Reads a third key, ``target`` [N, C, 2H, 2W]."""

    monitor = "psnr"
    monitor_mode = "max"

    def losses(self, model: nn.Module, batch: Batch, player: str) -> dict[str, Tensor]:
        return self.validation_losses(model, batch, self.forward(model, batch))

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """Learns what nearest-neighbour enlargement lacks. (Residual as in VDSR, arXiv 1511.04587.)"""
        residual: Tensor = model(batch["image"])
        return F.interpolate(batch["image"], scale_factor=2) + residual

    def validation_losses(self, model: nn.Module, batch: Batch, raw: Any) -> dict[str, Tensor]:
        return {"squared_error": F.mse_loss(raw, batch["target"])}

    def decode(self, raw: Any) -> Any:
        return raw.clip(0, 1)

    def meter(self) -> PsnrMeter:
        return PsnrMeter()


class PsnrMeter:
    """Mean over images, as papers on super-resolution report it."""

    def __init__(self) -> None:
        self.figures: list[float] = []

    def update(self, prediction: Any, batch: Batch) -> None:
        self.figures += [psnr(t, p) for t, p in zip(batch["target"], prediction, strict=True)]

    def compute(self) -> dict[str, float]:
        return {"psnr": float(np.mean(self.figures))}


def test_super_resolution() -> None:
    torch.manual_seed(0)
    sharp = scenes(4)["image"]
    batch = {"image": F.avg_pool2d(sharp, 2), "target": sharp}
    wide = [nn.Conv2d(3, 48, 3, padding=1), nn.ReLU(), nn.Conv2d(48, 48, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*wide, nn.Conv2d(48, 12, 3, padding=1), nn.PixelShuffle(2))
    run = memorise(Enlarge(), model, batch, steps=200, lr=5e-3)
    assert run.before["psnr"] < 23
    assert run.after["psnr"] > 26
