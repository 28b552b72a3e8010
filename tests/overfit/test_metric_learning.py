"""Embed memorises noise: from directions without a meaning to classes that lie apart, by either loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import memorise
from torch import nn

from striate.tasks.embed import Embed


@pytest.mark.parametrize(
    ("settings", "at_most"),
    [
        # 3 positives of 15 others: log 3 is the least that a contrastive loss can be.
        ({"loss": "supervised_contrastive"}, 1.15),
        ({"loss": "triplet", "margin": 0.2}, 0.01),
        # At best the nearest negative of four classes is sqrt(8 / 3) away: log(1 + exp(-1.63)) = 0.178.
        ({"loss": "triplet", "margin": None}, 0.22),
    ],
)
def test_classes_of_noise(settings: dict[str, Any], at_most: float) -> None:
    torch.manual_seed(0)
    batch = {"image": torch.randn(16, 1, 12, 12), "label": torch.arange(16) % 4, "index": torch.arange(16)}
    body = [nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    run = memorise(Embed(16, **settings), nn.Sequential(*body, nn.Linear(400, 16)), batch, steps=100)
    assert run.before["mean_average_precision"] < 0.5
    assert run.before["loss"] > 2 * at_most
    assert run.after["recall_at_1"] == run.after["mean_average_precision"] == 1.0
    assert run.after["loss"] < at_most
