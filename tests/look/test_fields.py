"""Receptive fields: the box holds all that a number depends on, and nothing more; the heat in it is the gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from odd_modules import ODD
from torch import Tensor, nn
from torch.nn import functional as F

from striate import zoo
from striate.look import Inspection
from striate.look.fields import Box


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class Uneven(nn.Module):
    """Branches of different strides, which no single field describes."""

    def __init__(self) -> None:
        super().__init__()
        self.coarse, self.fine = nn.Conv2d(1, 2, 2, 2), nn.Conv2d(1, 2, 17)

    def forward(self, x: Tensor) -> Tensor:
        return self.coarse(x) + self.fine(x)


class UNet(nn.Module):
    """Down, up, and across."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle = nn.Conv2d(1, 2, 3, 2, 1), nn.Conv2d(2, 2, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(2, 1, 4, 2, 1), nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cat([x, self.up(self.middle(self.down(x)))], 1))


class Enlarged(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(F.avg_pool2d(self.conv(x), 2), scale_factor=2, mode="bilinear")
        return x.permute(0, 2, 3, 1).roll(1, 2)[:, 1:, :, :].permute(0, 3, 1, 2)


class Shuffled(nn.Module):
    """Halves that are seen differently, stacked, shuffled into one another, and cut."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(2, 2, 5, padding=2), nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        x = torch.stack((self.wide(left), self.narrow(right)), 2).flatten(1, 2)
        return x.movedim(1, -1).reshape(1, 12, 12, 4).permute(0, 3, 1, 2)[:, 1:, ::2]


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "chain": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3, 2), nn.AvgPool2d(3, 2, 1), nn.Conv2d(2, 2, 3, dilation=2)), (1, 32, 32)),
    "residual": (lambda: nn.Sequential(nn.Conv2d(1, 2, 5, 2), Residual(2), nn.Conv2d(2, 2, 3, 2)), (1, 32, 32)),
    "uneven": (Uneven, (1, 32, 32)),
    "u-net": (UNet, (1, 32, 32)),
    "enlarged": (Enlarged, (1, 16, 16)),
    "shuffled": (Shuffled, (4, 12, 12)),
    "groups": (lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, groups=4)), (4, 12, 12)),
    "one dimension": (lambda: nn.Sequential(nn.Conv1d(1, 2, 5, 2), nn.AvgPool1d(3, 2), nn.ConvTranspose1d(2, 1, 2, 3)), (1, 40)),
    "three dimensions": (lambda: nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.AvgPool3d(2)), (1, 8, 8, 8)),
    "group norm": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 1, 3)), (1, 12, 12)),
    "whole map": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)), (1, 8, 8)),
    "adaptive": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(4)), (1, 13, 13)),
}


def support(network: nn.Module, image: Tensor, unit: tuple[int, ...]) -> Box | None:
    """The smallest box around the gradient of a number; None where that is zero."""
    image = image.clone().requires_grad_()
    gradient = torch.autograd.grad(network.eval()(image)[(0, *unit)], image)[0][0].abs().sum(0)
    places = gradient.nonzero()
    return None if not len(places) else tuple(zip(places.amin(0).tolist(), (places.amax(0) + 1).tolist(), strict=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_box_is_what_a_number_depends_on(name: str) -> None:
    """In networks of positive weights no influence cancels another: the box is the gradient's own."""
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    network = make().double()
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.5, 1.0)
    image = torch.rand(1, *shape, dtype=torch.float64)
    inside = Inspection(network, image)
    node = inside.graph.nodes[-1]
    first, *sides = node.output_shapes[0]
    for share in (0, 0.3, 0.5, 1):
        unit = (first - 1, *(round(share * (side - 1)) for side in sides))
        assert inside.receptive_field(node.id, unit) == support(network, image, unit), unit


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny"])
def test_both_ways_to_a_field_agree(name: str) -> None:
    """What is followed forwards, as one size for a layer, against what is followed back from one number amid the map."""
    inside = Inspection(zoo.build(name, 4), torch.randn(3, 128, 128))
    nodes = [node for node in inside.graph.nodes if node.operation == "conv2d"]
    assert len(nodes) > 15
    for node in nodes:
        _, height, width = node.output_shapes[0]
        assert node.receptive_field is not None
        whole = tuple((max(first, 0), min(stop, 128)) for first, stop in node.receptive_field.part(height // 2, width // 2))
        assert inside.receptive_field(node.id, (0, height // 2, width // 2)) == whole, node.id


def test_what_depends_on_nothing() -> None:
    network = ODD["two inputs"].make()
    inside = Inspection(network, (torch.randn(1, 3, 8, 8), torch.randn(1, 6)))
    assert inside.receptive_field("dense", (0,)) is None
    assert inside.receptive_field("input", (2, 3, 4)) == ((3, 4), (4, 5))


def ones(depth: int, size: int = 3) -> nn.Sequential:
    network = nn.Sequential(*(nn.Conv2d(1, 1, size, padding=size // 2, bias=False) for _ in range(depth)))
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    return network


@pytest.mark.parametrize("depth", [1, 3])
def test_heat_of_kernels_of_ones(depth: int) -> None:
    """Each number is then a sum over ways to it, and the gradient counts them: a trinomial row in both directions."""
    inside = Inspection(ones(depth).double(), torch.randn(1, 21, 21, dtype=torch.float64))
    field = inside.effective_field(str(depth - 1), (0, 10, 10))
    row = np.ones(1)
    for _ in range(depth):
        row = np.convolve(row, np.ones(3))
    expected = np.zeros((21, 21))
    expected[10 - depth : 11 + depth, 10 - depth : 11 + depth] = np.outer(row, row)
    assert np.allclose(field.heat, expected / expected.sum(), rtol=1e-12, atol=0)
    assert field.box == ((10 - depth, 11 + depth),) * 2
    assert (round(field.inside, 9), field.share <= 1.0) == (1.0, True)
    looked_at = (np.outer(row, row) > (1 - 0.9545) * row.max() ** 2).sum()
    assert field.size == pytest.approx(np.sqrt(looked_at))


def test_deeper_networks_look_at_a_smaller_share() -> None:
    """Luo et al., section 3: the effective field grows as the square root of the depth, the theoretical one in proportion."""
    shares = []
    for depth in (2, 8, 20):
        inside = Inspection(ones(depth), torch.randn(1, 81, 81))
        shares.append(inside.effective_field(str(depth - 1), (0, 40, 40)).share)
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.5


def test_the_mean_over_images_and_networks_that_write_in_place() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(2, 2, 3), nn.ReLU(inplace=True), nn.Conv2d(2, 1, 3)).double()
    images = torch.randn(4, 2, 9, 9, dtype=torch.float64)
    inside = Inspection(network, images[0])
    heat = inside.effective_field("3", (0, 2, 2), images).heat
    expected = torch.zeros(9, 9, dtype=torch.float64)
    for image in images:
        pixels = image[None].clone().requires_grad_()
        expected += torch.autograd.grad(network(pixels.clone())[0, 0, 2, 2], pixels)[0][0].abs().sum(0)
    assert np.allclose(heat, (expected / expected.sum()).numpy(), rtol=1e-9)


def test_a_number_that_is_off() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU())
    nn.init.constant_(network[0].bias, -1e3)
    field = Inspection(network, torch.rand(1, 8, 8)).effective_field("1", (0, 2, 2))
    assert (field.heat.sum(), field.size, field.inside, field.share) == (0.0, 0.0, 0.0, 0.0)
    assert field.box == ((2, 5), (2, 5))
