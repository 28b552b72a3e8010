"""Layers that more than one network shares, and what a layer of any network is in the words of ``arithmetic``."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate import arithmetic


class LinkedConv2d(nn.Module):
    """A valid convolution in which each filter reads only some channels, as a table of links says.

    It holds a kernel for each link and no others. Source: Y. LeCun et al., NIPS 1989 (C3 of LeNet-1) and Proc. IEEE 1998,
    Table I (C3 of LeNet-5).

    Args:
        links: for each filter the channels it reads, e.g. ``((0,), (0, 1), (1,))`` for 3 filters on 2 channels.
        in_channels: of the input; a channel that no filter links is never read.
        kernel_size: side of the square kernels.
    """

    places: Tensor

    def __init__(self, links: Sequence[Sequence[int]], in_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.links, self.in_channels, self.kernel_size = tuple(map(tuple, links)), in_channels, kernel_size
        places = [row * in_channels + channel for row, channels in enumerate(links) for channel in channels]
        self.weight = nn.Parameter(torch.empty(len(places), kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(len(links)))
        # Persistent: a network built on the meta device gets its table back with its weights.
        self.register_buffer("places", torch.tensor(places))
        lecun_uniform_(self)

    def kernels(self) -> Tensor:
        """[filters, in_channels, kernel, kernel], zero where there is no link."""
        size = (len(self.links), self.in_channels, self.kernel_size, self.kernel_size)
        return self.weight.new_zeros(size).flatten(0, 1).index_copy(0, self.places, self.weight).view(size)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, filters, H - kernel + 1, W - kernel + 1]."""
        return F.conv2d(x, self.kernels(), self.bias)


class Subsampling(nn.Module):
    """Sums each 2x2 window, times a coefficient of its channel, plus a bias. Source: Y. LeCun et al., NIPS 1989."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        lecun_uniform_(self)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H // 2, W // 2]."""
        return F.avg_pool2d(x, 2) * (4 * self.weight)[:, None, None] + self.bias[:, None, None]


class ScaledTanh(nn.Module):
    """``1.7159 tanh(2x / 3)``: passes through (1, 1), and bends most there. Source: Y. LeCun, 1989; Proc. IEEE 1998, app. A."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in, the same out, within -1.7159..1.7159."""
        return 1.7159 * torch.tanh(x * (2 / 3))


def he_normal_(layer: nn.Module, nonlinearity: Literal["relu", "linear"] = "relu") -> None:
    """Weights of variance 2 / fan-in before ReLU, 1 / fan-in otherwise, biases 0. Source: He et al., arXiv:1502.01852."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(layer.weight, nonlinearity=nonlinearity)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


@torch.no_grad()
def lecun_uniform_(module: nn.Module) -> None:
    """Weights and biases of one layer uniform within 2.4 / fan-in. Source: Y. LeCun et al., Neural Computation 1989."""
    if isinstance(module, LinkedConv2d):
        kernels = iter(module.weight)
        for row, channels in enumerate(module.links):
            bound = 2.4 / (len(channels) * module.kernel_size**2)
            for values in (module.bias[row], *(next(kernels) for _ in channels)):
                nn.init.uniform_(values, -bound, bound)
    elif isinstance(module, Subsampling | nn.Conv2d | nn.Linear):
        fan_in = 4 if isinstance(module, Subsampling) else prod(module.weight.shape[1:])
        for parameter in module.parameters():
            nn.init.uniform_(parameter, -2.4 / fan_in, 2.4 / fan_in)


def arithmetic_of(module: nn.Module) -> arithmetic.Layer | None:
    """One layer as sizes alone; None where it is no two-dimensional convolution or pooling and no dense layer."""
    match module:
        case nn.Conv2d():
            return arithmetic.Convolution(
                module.out_channels, _pair(module.kernel_size), _pair(module.stride), _padding(module.padding),
                _pair(module.dilation), module.groups, module.bias is not None,
            )  # fmt: skip
        case nn.ConvTranspose2d():
            return arithmetic.TransposedConvolution(
                module.out_channels, _pair(module.kernel_size), _pair(module.stride), _padding(module.padding),
                _pair(module.dilation), module.groups, module.bias is not None, _pair(module.output_padding),
            )  # fmt: skip
        case LinkedConv2d():
            return arithmetic.Convolution(len(module.links), module.kernel_size, links=len(module.weight))
        case nn.Linear():
            return arithmetic.Dense(module.out_features, module.bias is not None)
        case Subsampling():
            return arithmetic.Pooling(2, trainable=True)
        case nn.MaxPool2d() | nn.AvgPool2d():
            dilation = _pair(module.dilation) if isinstance(module, nn.MaxPool2d) else 1
            rounding: arithmetic.Rounding = "ceil" if module.ceil_mode else "floor"
            return arithmetic.Pooling(_pair(module.kernel_size), _pair(module.stride), _pair(module.padding), dilation, rounding)
    return None


def _pair(value: int | tuple[int, ...]) -> arithmetic.Size:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _padding(value: str | int | tuple[int, ...]) -> arithmetic.Padding:
    if isinstance(value, str):
        return "same" if value == "same" else "valid"
    return _pair(value)
