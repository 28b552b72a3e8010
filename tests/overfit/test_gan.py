"""A generative adversarial network: two players, each with its own loss and optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from tiny import PLAIN, memorise
from torch import Tensor, nn
from torch.nn.functional import softplus

from striate.recipe import Optimizer, Schedule
from striate.tasks.base import Batch, Player, Task

NOISE = 8


class Gan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(
            nn.Linear(NOISE, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.Sigmoid()
        )
        self.discriminator = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1)
        )

    def forward(self, noise: Tensor) -> Tensor:
        image: Tensor = self.generator(noise).view(-1, 1, 8, 8)
        return image


@dataclass(frozen=True)
class Imitate(Task):
    """The non-saturating game of Goodfellow et al., arXiv 1406.2661, with the R1 penalty of Mescheder et al., arXiv 1801.04406.

    Nothing is detached: that a turn trains its own player alone is the loop's work.
    """

    discriminator: Mapping[str, Any]
    monitor = "distance"

    def players(self, model: nn.Module) -> dict[str, Player]:
        assert isinstance(model, Gan)
        return {
            "discriminator": Player(tuple(model.discriminator.parameters()), optimizer=self.discriminator),
            "generator": Player(tuple(model.generator.parameters())),
        }

    def losses(self, model: nn.Module, batch: Batch, player: str) -> dict[str, Tensor]:
        assert isinstance(model, Gan)
        real = batch["image"]
        judged = model.discriminator(model(torch.randn(len(real), NOISE)))
        if player == "generator":
            return {"fooled": softplus(-judged).mean()}
        return {"fake": softplus(judged).mean(), "real": softplus(-model.discriminator(real)).mean(), "r1": self._r1(model, real)}

    @staticmethod
    def _r1(model: Gan, real: Tensor) -> Tensor:
        with torch.enable_grad():
            image = real.clone().requires_grad_()
            (slope,) = torch.autograd.grad(model.discriminator(image).sum(), image, create_graph=True)
        return 5 * slope.square().sum(dim=(1, 2, 3)).mean()

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        images: Tensor = model(torch.randn(64, NOISE))
        return images

    def decode(self, raw: Any) -> Any:
        return raw

    def meter(self) -> Nearest:
        return Nearest()


class Nearest:
    """How far made images are from the nearest real one, and the share made like the rarest."""

    def update(self, prediction: Any, batch: Batch) -> None:
        originals = np.unique(batch["image"], axis=0)
        distances = np.abs(prediction[:, None] - originals[None]).mean(axis=(2, 3, 4))
        self.distance = distances.min(axis=1).mean()
        self.rarest = np.bincount(distances.argmin(axis=1), minlength=len(originals)).min() / len(prediction)

    def compute(self) -> dict[str, float]:
        return {"distance": float(self.distance), "rarest": float(self.rarest)}


def test_gan_learns_both_images() -> None:
    torch.manual_seed(0)
    originals = torch.zeros(2, 1, 8, 8)
    originals[0, :, :, :4] = originals[1, :, :4] = 1.0
    optimizer = Optimizer(betas=(0.0, 0.99), weight_decay=0.0)
    recipe = replace(PLAIN, optimizer=optimizer, schedule=Schedule("cosine", warmup=0.0), ema=0.99)
    task = Imitate(discriminator={"lr": 4e-3})
    run = memorise(task, Gan(), {"image": originals.repeat(16, 1, 1, 1)}, steps=500, lr=2e-3, recipe=recipe)
    assert run.before["distance"] > 0.3
    assert run.after["distance"] < 0.05
    assert run.after["rarest"] > 0.25
