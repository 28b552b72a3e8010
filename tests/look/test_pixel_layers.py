"""The arithmetic of single numbers, layer by layer: what PyTorch computes, and every step back leads to one more such number."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from math import isnan, nan
from typing import Any

import numpy as np
import pytest
import torch
from odd_modules import ODD
from torch import Tensor, nn
from torch.nn import functional as F

from striate import StriateError, zoo
from striate.look import Inspection, pixel
from striate.look.pixel_arithmetic import Arithmetic

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
MAXIMA = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
ADAPTIVE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
ADAPTIVE_MAXIMA = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)


class Of(nn.Module):
    """A function as a network."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def windows(count: int) -> dict[str, nn.Module]:
    """Convolutions and poolings of so many dimensions with every option that they have."""
    at = count - 1
    convolutions: tuple[dict[str, Any], ...] = (
        {"kernel_size": 3},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": 4, "padding": "same", "dilation": 2},
        {"kernel_size": 3, "padding": "valid", "groups": 2, "bias": False},
        {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
        {"kernel_size": 3, "padding": 1, "padding_mode": "replicate", "groups": 4, "stride": 2},
    )
    transposed: tuple[dict[str, Any], ...] = (
        {"kernel_size": 3},
        {"kernel_size": 3, "padding": 1, "stride": 2, "output_padding": 1},
        {"kernel_size": 2, "stride": 3, "dilation": 2, "groups": 2, "bias": False},
    )
    maxima: tuple[dict[str, Any], ...] = (
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
        {"kernel_size": 2, "dilation": 2, "stride": 1},
    )
    averages: tuple[dict[str, Any], ...] = (
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False},
        *([{"kernel_size": 2, "divisor_override": 3}] if count > 1 else []),
    )
    return {
        **{f"convolution {count}d {number}": CONVOLUTIONS[at](4, 8, **each) for number, each in enumerate(convolutions)},
        **{f"transposed {count}d {number}": TRANSPOSED[at](4, 6, **each) for number, each in enumerate(transposed)},
        **{f"maximum {count}d {number}": MAXIMA[at](**each) for number, each in enumerate(maxima)},
        **{f"average {count}d {number}": AVERAGES[at](**each) for number, each in enumerate(averages)},
        f"adaptive average {count}d": ADAPTIVE[at](5),
        f"adaptive maximum {count}d": ADAPTIVE_MAXIMA[at](4),
    }


NORMS: dict[str, nn.Module] = {
    "batch norm": nn.BatchNorm2d(4),
    "batch norm of the batch": nn.BatchNorm2d(4, track_running_stats=False),
    "group norm": nn.GroupNorm(2, 4),
    "layer norm": nn.LayerNorm((9, 8)),
    "instance norm": nn.InstanceNorm2d(4, affine=True),
    "learnt instance norm": nn.InstanceNorm2d(4, track_running_stats=True),
}
ACTIVATIONS: dict[str, nn.Module] = {
    type(each).__name__ + ("!" if getattr(each, "inplace", False) else ""): each
    for each in (
        nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.GELU(), nn.SiLU(inplace=True), nn.Hardswish(), nn.Hardsigmoid(),
        nn.PReLU(4), nn.Sigmoid(), nn.Tanh(), nn.Softplus(), nn.ELU(), nn.LeakyReLU(), nn.Mish(), nn.Softmax(1),
        nn.LocalResponseNorm(3), nn.Dropout(), nn.GLU(1),
    )
}  # fmt: skip
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "scale of each channel": lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
    "mean of the map": lambda x: x.mean((2, 3)),
    "sum of the channels": lambda x: x.sum(1),
    "mean of everything": lambda x: x.mean(),
    "part": lambda x: x[:, 1:, ::2, 1:],
    "dense layer a pixel": lambda x: F.linear(x.permute(0, 2, 3, 1), torch.ones(3, 4, dtype=x.dtype)).permute(0, 3, 1, 2),
    "shuffled channels": lambda x: x.view(1, 2, 2, 9, 8).transpose(1, 2).reshape(x.shape),
    "with a constant": lambda x: torch.cat([x, torch.full_like(x, 0.25), x * 2], 1),
    "padding of threes": lambda x: F.pad(x, (1, 2, 0, 1), value=3.0),
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
    "halves": lambda x: torch.stack(x.chunk(2, 1), 1),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "nearest": lambda x: F.interpolate(x, size=(20, 17)),
    "from the other side": lambda x: 1 - x / 2,
    "larger of two": lambda x: torch.maximum(x, x.flip(3)),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "product of matrices": lambda x: x @ x.mT,
    "unit length": lambda x: F.normalize(x),
}
LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    **{name: (network, (11, 9, 7)[:count]) for count in (1, 2, 3) for name, network in windows(count).items()},
    **{name: (network, (9, 8)) for name, network in (NORMS | ACTIVATIONS).items()},
    **{name: (Of(function), (9, 8)) for name, function in FUNCTIONS.items()},
}


def randomised(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """With statistics and weights other than those of a fresh norm."""
    torch.manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm):
            for tensor in (*module.parameters(), getattr(module, "running_mean", None), getattr(module, "running_var", None)):
                if tensor is not None:
                    nn.init.uniform_(tensor, 0.5, 1.5)
    return network.to(dtype)


def check(arithmetic: Arithmetic, dtype: torch.dtype) -> None:
    """The total is the network's, and each number that goes in is what the network computed before."""
    assert arithmetic.agrees, arithmetic.text()
    if dtype == torch.float64:
        assert abs(arithmetic.difference) <= 1e-9 * arithmetic.absolute_sum
    if arithmetic.window is not None:
        window = arithmetic.window
        assert abs(window.products.sum() + (arithmetic.bias or 0) - arithmetic.total) <= 1e-12 * (1 + arithmetic.absolute_sum)
        for place in np.argwhere(np.broadcast_to(window.inside, window.values.shape))[:2]:
            before = arithmetic.back(*window.position(place.tolist()))
            assert before.network == window.values[tuple(place)]
    for term in arithmetic.terms[:3]:
        assert arithmetic.back(*term.position, input=term.input).network == term.value


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_of_layer(name: str, dtype: torch.dtype) -> None:
    network, sizes = LAYERS[name]
    image = torch.randn(1, 4, *sizes, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    inside = Inspection(randomised(network, dtype), image.to(dtype))
    draw = random.Random(7)
    for node in inside.graph.nodes[1:]:
        for output, shape in enumerate(node.output_shapes):
            for _ in range(2):
                check(inside.pixel(node.id, tuple(map(draw.randrange, shape)), output=output), dtype)


@pytest.mark.parametrize("name", [name for name in ODD if name != "two inputs"])
def test_odd_networks_down_to_the_image(name: str) -> None:
    """From the last number, always to the first that goes in, until there is the image."""
    odd = ODD[name]
    torch.manual_seed(1)
    inside = Inspection(odd.make().double(), torch.rand(1, *odd.inputs, dtype=torch.float64))
    node = inside.graph.nodes[-1]
    arithmetic = inside.pixel(node.id, tuple(size - 1 for size in node.output_shapes[0]))
    steps = 0
    while arithmetic.kind not in ("input", "unrecorded"):
        check(arithmetic, torch.float64)
        json.dumps(arithmetic.to_json())
        window = arithmetic.window
        if window is not None:
            place = np.argwhere(np.broadcast_to(window.inside, window.values.shape))[-1]
            arithmetic = arithmetic.back(*window.position(place.tolist()))
        else:
            assert arithmetic.terms
            arithmetic = arithmetic.back(*arithmetic.terms[0].position, input=arithmetic.terms[0].input)
        steps += 1
    assert arithmetic.layer == (":updated_view" if name == "through a view" else "input")
    assert steps >= 1


def test_several_inputs() -> None:
    odd = ODD["two inputs"]
    torch.manual_seed(1)
    inside = Inspection(odd.make(), (torch.randn(1, 3, 8, 8), torch.randn(1, 6)))
    joined = inside.pixel(":cat", (6,))
    assert joined.back().layer == "dense"
    assert joined.back().back(3).layer == "input#2"
    assert inside.receptive_field("dense", (1,)) is None
    assert inside.receptive_field("head", (0,)) == ((0, 8), (0, 8))


def test_numbers_of_a_layer_that_was_overwritten() -> None:
    """The ReLU behind works in place: the sum before it is still there as it was."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True))
    image = torch.randn(1, 6, 6)
    inside = Inspection(network, image)
    expected = F.conv2d(image[None], network[0].weight, network[0].bias)[0].detach()
    assert torch.equal(inside.values("0"), expected)
    assert (expected < 0).any()
    assert torch.equal(inside.values("1"), expected.relu())


def test_padding_is_named_and_does_not_go_back() -> None:
    network = nn.Conv2d(1, 1, 3, padding=1)
    arithmetic = pixel(network, torch.ones(1, 5, 5), ":conv2d", (0, 0, 0))
    assert arithmetic.window is not None
    assert arithmetic.window.inside.tolist() == [[False] * 3, [False, True, True], [False, True, True]]
    assert arithmetic.window.axes[1:] == ((-1, 0, 1), (-1, 0, 1))
    with pytest.raises(StriateError, match="it is padding"):
        arithmetic.back(0, -1, 0)
    with pytest.raises(StriateError, match="does not go into"):
        arithmetic.back(0, 3, 3)
    with pytest.raises(StriateError, match="Several numbers"):
        arithmetic.back()
    with pytest.raises(StriateError, match="nothing before it"):
        arithmetic.back(0, 0, 0).back()
    assert "·" in arithmetic.text()


def test_a_maximum_goes_back_to_its_winner() -> None:
    image = torch.arange(16.0).reshape(1, 4, 4)
    arithmetic = pixel(nn.MaxPool2d(2), image, ":max_pool2d", (0, 1, 0))
    assert (arithmetic.total, arithmetic.bound, arithmetic.back().unit) == (13.0, 0.0, (0, 3, 1))
    assert "[13]" in arithmetic.text()


def test_weights_that_changed_are_noticed() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    inside = Inspection(network, torch.randn(3, 8, 8))
    assert inside.pixel("0", (1, 2, 3)).agrees
    with torch.no_grad():
        network[0].weight[1] += 1e-4
    arithmetic = inside.pixel("0", (1, 2, 3))
    assert not arithmetic.agrees
    assert "MORE THAN" in arithmetic.text()


def test_no_number_is_no_number_on_both_sides() -> None:
    image = torch.full((1, 4, 4), nan)
    arithmetic = pixel(nn.Conv2d(1, 1, 3), image, ":conv2d", (0, 0, 0))
    assert isnan(arithmetic.total)
    assert isnan(arithmetic.network)
    assert arithmetic.agrees


@pytest.mark.parametrize(
    ("layer", "unit", "said"),
    [
        ("0", (4, 0, 0), "0..3, 0..5, 0..5"),
        ("0", (0, -1, 0), "its output is 4x6x6"),
        ("0", (0, 0), "its output is 4x6x6"),
        ("1", (0, 0, 0), "has no layer '1'"),
    ],
)
def test_units_that_are_not_there(layer: str, unit: tuple[int, ...], said: str) -> None:
    with pytest.raises(StriateError, match=said):
        pixel(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.zeros(3, 8, 8), layer, unit)


def test_images_that_do_not_fit() -> None:
    with pytest.raises(StriateError, match="breaks at 0"):
        Inspection(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.zeros(1, 8, 8))
    with pytest.raises(StriateError, match="2 images are given"):
        Inspection(nn.Conv2d(3, 4, 3), torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("network", "shape", "first"),
    [
        (nn.Conv2d(1, 2, 3), (1, 8, 8), (1, 8, 8)),
        (nn.Conv2d(1, 2, 3), (1, 1, 8, 8), (1, 8, 8)),
        (nn.Conv1d(2, 2, 3), (2, 9), (2, 9)),
        (nn.Conv1d(2, 2, 3), (1, 2, 9), (2, 9)),
        (nn.Conv3d(2, 2, 3), (2, 4, 4, 4), (2, 4, 4, 4)),
        (nn.Linear(8, 2), (1, 5, 8), (5, 8)),
        (zoo.build("mlp"), (1, 28, 28), (1, 28, 28)),
    ],
)
def test_images_with_and_without_a_batch(network: nn.Module, shape: tuple[int, ...], first: tuple[int, ...]) -> None:
    assert Inspection(network, torch.zeros(shape)).graph.nodes[0].output_shapes == (first,)


def test_json_holds_the_strongest_channels_and_all_on_request() -> None:
    torch.manual_seed(0)
    arithmetic = pixel(nn.Conv2d(40, 2, 3, padding=1), torch.randn(40, 6, 6), ":conv2d", (1, 0, 5))
    short, whole = arithmetic.to_json(limit=8)["window"], arithmetic.to_json(limit=None)["window"]
    sums = [abs(channel["sum"]) for channel in short["channels"]]
    assert sums == sorted(sums, reverse=True)
    assert (len(sums), short["rest"]["channels"], len(whole["channels"]), whole["rest"]["channels"]) == (8, 32, 40, 0)
    total = sum(channel["sum"] for channel in short["channels"]) + short["rest"]["sum"] + arithmetic.bias
    assert abs(total - arithmetic.total) < 1e-12
    assert np.shape(short["channels"][0]["products"]) == (3, 3)
