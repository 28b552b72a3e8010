"""Layers that more than one network shares, and what a layer of any network is in the words of ``arithmetic``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, ClassVar, Literal

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


class _ClampedInPlace(torch.autograd.Function):
    """min(max(x, 0), 6) written over x; the backward pass reads the result, which the next layer keeps anyway."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        out = x.clamp_(0.0, 6.0)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (out,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, out, 0.0, 6.0)  # type: ignore[no-any-return]


class ReLU6(nn.ReLU6):
    """PyTorch's, but that in place it keeps no copy of its input, as PyTorch's does: a third less to keep after a batch norm."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in, the same out, within 0..6."""
        if self.inplace and torch.is_grad_enabled() and x.requires_grad:
            out: Tensor = _ClampedInPlace.apply(x)  # type: ignore[no-untyped-call]
            return out
        return super().forward(x)


class ConvNormAct(nn.Sequential):
    """A convolution, a norm and an activation: children 0, 1 and 2, as torchvision names them.

    Args:
        kernel_size, stride, groups, dilation: of the convolution.
        padding: pixels on each side; None keeps the size but for the stride.
        norm: of the output channels; None: no norm, and the convolution has a bias.
        activation: without arguments; None: none.
    """

    overwrites: ClassVar[bool] = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int] = 3, stride: int = 1, groups: int = 1, *,
        padding: int | tuple[int, int] | None = None, dilation: int = 1, norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
        activation: Callable[[], nn.Module] | None = nn.ReLU,
    ) -> None:  # fmt: skip
        kernel = _pair(kernel_size)
        if padding is None:
            padding = (dilation * (kernel[0] - 1) // 2, dilation * (kernel[1] - 1) // 2)
        super().__init__(nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, groups, bias=norm is None))
        self.out_channels = out_channels
        if norm is not None:
            self.append(norm(out_channels))
        if activation is not None:
            self.append(activation())


class BasicConv2d(nn.Sequential):
    """A convolution, batch norm and ReLU: children ``conv``, ``bn`` and ``relu``, as torchvision and timm name the Inceptions'.

    Args:
        kernel_size, stride: of the convolution.
        padding: pixels on each side; None keeps the size but for the stride.
        norm: whether there is a batch norm (epsilon 0.001); without one the convolution has a bias.
    """

    overwrites: ClassVar[bool] = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int] = 1, stride: int = 1, *,
        padding: int | None = None, norm: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        kernel = _pair(kernel_size)
        size = (kernel[0] // 2, kernel[1] // 2) if padding is None else padding
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, size, bias=not norm)
        if norm:
            self.bn = nn.BatchNorm2d(out_channels, eps=0.001)
        self.relu = nn.ReLU()


@contextmanager
def overwriting(network: nn.Module) -> Iterator[None]:
    """While it lasts, rectifiers write over what they read, in every module whose very class says ``overwrites``.

    A class says so whose rectifiers read the output of a norm, a convolution or a sum that nothing else reads: none of these
    needs its output in the backward pass. Not for looking inside, where a hook would find a layer's output rectified. A class
    made from such a one may read more: it says so itself.
    """
    found = [
        child
        for module in network.modules()
        if vars(type(module)).get("overwrites", False)
        for child in module.children()
        if isinstance(child, nn.ReLU | ReLU6) and not child.inplace
    ]
    for rectifier in found:
        rectifier.inplace = True
    try:
        yield
    finally:
        for rectifier in found:
            rectifier.inplace = False


class SqueezeExcitation(nn.Module):
    """Scales each channel by what a small network makes of all channels' means (J. Hu et al., arXiv:1709.01507, section 3).

    Args:
        channels: of input and output.
        squeezed: width between.
        activation: between the two layers.
        gate: after the second; its values scale the channels.
    """

    def __init__(
        self,
        channels: int,
        squeezed: int,
        activation: Callable[[], nn.Module] = nn.ReLU,
        gate: Callable[[], nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.activation, self.gate = activation(), gate()

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        scale: Tensor = self.gate(self.fc2(self.activation(self.fc1(self.avgpool(x)))))
        return x * scale


class StochasticDepth(nn.Module):
    """In training, zero for a share ``p`` of the images and 1 / (1 - p) times the input for the others.

    Source: G. Huang et al., arXiv:1603.09382, with the scale moved from prediction to training.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """[N, ...] -> the same shape."""
        if not self.training or self.p == 0:
            return x
        keep = torch.empty((len(x), *(1,) * (x.dim() - 1)), dtype=x.dtype, device=x.device).bernoulli_(1 - self.p)
        return x * keep.div_(1 - self.p) if self.p < 1 else x * keep

    def extra_repr(self) -> str:
        return f"p={self.p}"


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of each pixel. Source: J. Ba et al., arXiv:1607.06450; Z. Liu et al., arXiv:2201.03545."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        return F.layer_norm(x.movedim(1, -1), self.normalized_shape, self.weight, self.bias, self.eps).movedim(-1, 1)


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
