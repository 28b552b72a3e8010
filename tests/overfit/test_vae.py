"""A variational auto-encoder: two losses, and randomness that the run's seed decides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scenes import scenes
from tiny import PLAIN, memorise
from torch import Tensor, nn
from torch.nn import functional as F

from striate.metrics import psnr
from striate.tasks.base import Batch, Task

LATENT = 8


class Vae(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(768, 128), nn.ReLU(), nn.Linear(128, 2 * LATENT))
        self.decoder = nn.Sequential(nn.Linear(LATENT, 128), nn.ReLU(), nn.Linear(128, 768), nn.Unflatten(1, (3, 16, 16)))

    def forward(self, image: Tensor) -> Tensor:
        """The reconstruction from the mean of the posterior."""
        reconstruction: Tensor = self.decoder(self.encoder(image)[:, :LATENT])
        return reconstruction


@dataclass(frozen=True)
class Reconstruct(Task):
    """Kingma & Welling, arXiv 1312.6114, with the KL term weighted by ``beta`` (Higgins et al., ICLR 2017)."""

    beta: float = 1e-3
    monitor = "psnr"
    monitor_mode = "max"

    def losses(self, model: nn.Module, batch: Batch, player: str) -> dict[str, Tensor]:
        assert isinstance(model, Vae)
        mean, log_variance = model.encoder(batch["image"]).chunk(2, dim=1)
        latent = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
        return {"reconstruction": F.mse_loss(model.decoder(latent), batch["image"]), "divergence": self.beta * divergence}

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        reconstruction: Tensor = model(batch["image"])
        return reconstruction

    def decode(self, raw: Any) -> Any:
        return raw.clip(0, 1)

    def meter(self) -> PsnrMeter:
        return PsnrMeter()


class PsnrMeter:
    def __init__(self) -> None:
        self.figures: list[float] = []

    def update(self, prediction: Any, batch: Batch) -> None:
        self.figures.append(psnr(batch["image"], prediction))

    def compute(self) -> dict[str, float]:
        return {"psnr": float(np.mean(self.figures))}


def batch_of_scenes() -> Batch:
    return {"image": F.avg_pool2d(scenes()["image"], 2)}


def test_vae() -> None:
    torch.manual_seed(0)
    run = memorise(Reconstruct(), Vae(), batch_of_scenes(), steps=500, lr=3e-3)
    assert run.before["psnr"] < 15
    assert run.after["psnr"] > 25
    assert run.after["loss.divergence"] > 0.001, "the latent carries nothing"


def test_the_seed_decides_what_is_drawn() -> None:
    start = Vae().state_dict()
    weights: list[Tensor] = []
    for seed in (0, 0, 1):
        model = Vae()
        model.load_state_dict(start)
        torch.randn(seed + len(weights))  # the state of the process's generator must not matter
        memorise(Reconstruct(), model, batch_of_scenes(), steps=3, recipe=replace(PLAIN, seed=seed))
        weights.append(model.encoder[1].get_parameter("weight"))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
