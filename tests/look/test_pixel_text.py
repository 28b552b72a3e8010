"""The arithmetic of a number as the terminal shows it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from striate import StriateError
from striate.look import Inspection, pixel


def counted(channels: int = 1) -> nn.Conv2d:
    """A kernel of 1, 2, 3, ... without a bias, for every channel alike."""
    layer = nn.Conv2d(channels, 1, 2, padding=1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(1.0, 5.0).reshape(2, 2).expand(1, channels, 2, 2))
    return layer


def test_a_convolution_to_the_letter() -> None:
    text = pixel(counted(), torch.tensor([[[5.0, 6.0], [7.0, 8.0]]]), ":conv2d", (0, 1, 0)).text()
    assert text.splitlines() == [
        ":conv2d [0,1,0]  conv2d 2x2  of input 1x2x2",
        "  = sum over 1 channel x 2 x 2",
        "",
        "channel 0: sum +38",
        "  · 5  ×  1 2  =   · 10",
        "  · 7     3 4      · 28",
        "",
        "total                     +38",
        "the network's own number  +38",
        "",
        "no difference",
    ]


def test_what_does_not_fit_stands_one_below_the_other() -> None:
    arithmetic = pixel(nn.Conv2d(8, 1, 5), torch.randn(8, 9, 9), ":conv2d", (0, 2, 2))
    wide, narrow = arithmetic.text().splitlines(), arithmetic.text(60).splitlines()
    assert any("×" in line and "=" in line for line in wide)
    assert [line for line in narrow if line.strip() in ("values", "weights", "products")] == [
        "  values",
        "  weights",
        "  products",
    ] * 4
    assert max(map(len, narrow)) <= 60
    assert sum(line.startswith("channel") for line in arithmetic.text(channels=2).splitlines()) == 2
    assert "4 more channels: sum" in "\n".join(wide)


def test_the_channels_that_count_most_come_first() -> None:
    image = torch.zeros(3, 3, 3)
    image[0], image[1], image[2] = 1.0, -5.0, 2.0
    lines = pixel(counted(3), image, ":conv2d", (0, 1, 1)).text().splitlines()
    assert [line for line in lines if line.startswith("channel")] == [
        "channel 1: sum -50",
        "channel 2: sum +20",
        "channel 0: sum +10",
    ]


def test_a_whole_map_is_shown_in_part() -> None:
    lines = pixel(nn.AdaptiveAvgPool2d(1), torch.ones(2, 30, 30), ":adaptive_avg_pool2d", (1, 0, 0)).text(100).splitlines()
    assert "  = mean of 900" in lines
    assert len(lines) < 25
    assert any("…" in line for line in lines)


def test_terms_of_other_operations() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Softmax(1))
    inside = Inspection(network, torch.ones(2, 1, 2))
    norm, kept, share = (inside.pixel(*each).text() for each in (("0", (1, 0, 0)), ("1", (3,)), ("2", (0,))))
    assert "(x - mean) / √(variance + ε) · weight + bias" in norm
    assert "input [1,0,0]      1" in norm
    assert "the same number" in kept
    assert "softmax of 4 numbers" in share


class Sums(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + x if float(x.detach().sum()) > 0 else self.conv(self.conv(x)) * 2 + x


def test_threads_share_a_network() -> None:
    """Each run writes down its own calls alone."""
    torch.manual_seed(0)
    network = Sums().eval()
    images = [torch.full((3, 16, 16), float(value)) for value in (1, -1, 2, -2, 3, -3)]

    def found(image: Tensor) -> tuple[list[str], bool]:
        inside = Inspection(network, image)
        return [node.id for node in inside.graph.nodes], inside.pixel(":add", (1, 2, 3)).agrees

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(found, images * 3))
    short, long = ["input", ":detach", ":sum", "conv", ":add"], ["input", ":detach", ":sum", "conv", "conv#2", ":mul", ":add"]
    assert answers == [(short, True), (long, True)] * 9
    assert not network.conv._forward_hooks


def test_an_effective_field_over_images_that_go_other_ways() -> None:
    inside = Inspection(Sums(), torch.full((3, 8, 8), -1.0))
    assert inside.effective_field(":mul", (0, 4, 4)).heat.sum() == pytest.approx(1)
    with pytest.raises(StriateError, match="took another way"):
        inside.effective_field(":mul", (0, 4, 4), torch.ones(1, 3, 8, 8))
