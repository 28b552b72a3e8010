"""Batch norm goes into the layer before it only where nothing else can tell."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from striate.exporting.folding import fold_batch_norm


def unsettled(module: nn.Module) -> nn.Module:
    """Batch norms as training leaves them: statistics and weights that are not 0 and 1."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is not None and part.running_var is not None:
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 1e-4, 2.0)
            if part.weight is not None:
                nn.init.normal_(part.weight)
                nn.init.normal_(part.bias)
    return module.eval()


class Shared(nn.Module):
    """What the convolution gives is read twice: by the batch norm, and by the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> the same shape."""
        x = self.conv(x)
        return x + self.bn(x)


class Twice(nn.Module):
    """One batch norm after two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.bn = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> the same shape."""
        return self.bn(self.b(self.bn(self.a(x))))


CASES = {
    "convolution": (nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, bias=False), nn.BatchNorm2d(5, eps=0.1)), {"0": "1"}),
    "groups and bias": (nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6), nn.ReLU()), {"0": "1"}),
    "no scale": (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False)), {"0": "1"}),
    "dense": (nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 7), nn.BatchNorm1d(7)), {"1": "2"}),
    "an activation between": (nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)), {}),
    "norm before": (nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), {"1": "2"}),
    "batch statistics": (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)), {}),
    "read twice": (Shared(), {}),
    "used twice": (Twice(), {}),
    "weights made anew": (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4)), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_folded_where_it_can_be_and_the_same_function(case: str) -> None:
    module, expected = CASES[case]
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        before = unsettled(module)(x)
        assert fold_batch_norm(module, x[:1]) == expected
        after = module(x)
    assert all(isinstance(module.get_submodule(norm), nn.Identity) for norm in expected.values())
    # Each output is a sum of some hundred products: float32's 2**-24 a product, and as much again for the folded weight.
    assert (after - before).abs().max() <= 1e-5 * before.abs().max()


def test_a_training_network_is_left_in_training() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)).train()
    fold_batch_norm(module, torch.zeros(1, 3, 4, 4))
    assert all(part.training for part in module.modules())
