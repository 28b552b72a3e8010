"""The networks as a user of PyTorch writes them, or takes them from torchvision."""

from __future__ import annotations

import torch
from torch import nn

OPERATORS = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
"""The compiled part of torchvision does not load beside CPU PyTorch and is not needed: what it would declare on import."""
for operator in ("nms", "qnms"):
    OPERATORS.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]


def small_network(name: str, relu_after_pooling: bool = False) -> nn.Module:
    """``lenet5`` or ``fashion_cnn`` for ten classes. A ReLU after a max-pool computes the same as before it, on fewer numbers."""
    if name == "lenet5":
        return nn.Sequential(
            nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
            nn.Conv2d(16, 120, 5), nn.Tanh(), nn.Flatten(),
            nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
        )  # fmt: skip
    between = (nn.MaxPool2d(2), nn.ReLU()) if relu_after_pooling else (nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), *between, nn.Conv2d(32, 64, 3), *between, nn.Flatten(),
        nn.Linear(1600, 128), nn.ReLU(), nn.Dropout(0.25), nn.Linear(128, 10),
    )  # fmt: skip


def large_network(name: str, num_classes: int) -> nn.Module:
    """torchvision's, untrained."""
    from torchvision.models import get_model  # type: ignore[import-not-found]  # noqa: TID251

    network: nn.Module = get_model(name, weights=None, num_classes=num_classes)
    return network


def num_parameters(network: nn.Module) -> int:
    """All that are trained."""
    return sum(parameter.numel() for parameter in network.parameters())


def versions() -> dict[str, str]:
    """Of what the torch sides run on."""
    return {"torch": torch.__version__}
