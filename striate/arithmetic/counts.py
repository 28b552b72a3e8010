"""What a layer is made of and what it costs: parameters, connections, multiply-accumulates.

Padded positions count as read, in multiply-accumulates (MACs) and connections alike, as every published count has it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod

from striate.arithmetic.sizes import Padding, Pair, Rounding, Shape, output_size, pair, transposed_output_size, unread
from striate.errors import UsageError


@dataclass(frozen=True)
class Layer(ABC):
    """One layer without its weights: what it does to a shape, and what that costs."""

    @abstractmethod
    def output(self, shape: Shape) -> Shape:
        """(channels, height, width) in -> out."""

    def weights(self, shape: Shape) -> int:
        """Trainable multipliers."""
        return 0

    def biases(self, shape: Shape) -> int:
        """Trainable addends."""
        return 0

    def parameters(self, shape: Shape) -> int:
        """Weights and biases."""
        return self.weights(shape) + self.biases(shape)

    def neurons(self, shape: Shape) -> int:
        """Numbers that come out."""
        return prod(self.output(shape))

    def macs(self, shape: Shape) -> int:
        """Multiply-accumulates with kernels, for one image; FLOPs are twice that. Pooling and biases are not counted."""
        return 0

    @abstractmethod
    def connections(self, shape: Shape) -> int:
        """Links between numbers, shared weights counted wherever they act, and one for each bias: LeCun's count."""

    def unread(self, shape: Shape) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Rows and columns of the input, counted from 0, that no output reads."""
        return (), ()


@dataclass(frozen=True)
class Convolution(Layer):
    """A convolution with ``filters`` outputs.

    Attributes:
        links: pairs of a channel and a filter that are connected, where a table leaves some out; None: all of a group.
    """

    filters: int
    kernel: Pair
    stride: Pair = 1
    padding: Padding = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = True
    links: int | None = None
    rounding: Rounding = "floor"

    def output(self, shape: Shape) -> Shape:
        return self.filters, *output_size(shape[1:], self.kernel, self.stride, self.padding, self.dilation, self.rounding)

    def weights(self, shape: Shape) -> int:
        links = _links(shape[0], self.filters, self.groups) if self.links is None else self.links
        return links * prod(pair(self.kernel, "kernel"))

    def biases(self, shape: Shape) -> int:
        return self.filters if self.bias else 0

    def macs(self, shape: Shape) -> int:
        return self.weights(shape) * prod(self.output(shape)[1:])

    def connections(self, shape: Shape) -> int:
        return self.parameters(shape) * prod(self.output(shape)[1:])

    def unread(self, shape: Shape) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return unread(shape[1:], self.kernel, self.stride, self.padding, self.dilation, self.rounding)


@dataclass(frozen=True)
class TransposedConvolution(Layer):
    """The transpose of a convolution: every input pixel adds its kernel, times itself, to the output.

    MACs and connections are counted before ``padding`` cuts.
    """

    filters: int
    kernel: Pair
    stride: Pair = 1
    padding: Padding = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = True
    output_padding: Pair = 0

    def output(self, shape: Shape) -> Shape:
        size = transposed_output_size(shape[1:], self.kernel, self.stride, self.padding, self.dilation, self.output_padding)
        return self.filters, *size

    def weights(self, shape: Shape) -> int:
        return _links(shape[0], self.filters, self.groups) * prod(pair(self.kernel, "kernel"))

    def biases(self, shape: Shape) -> int:
        return self.filters if self.bias else 0

    def macs(self, shape: Shape) -> int:
        return self.weights(shape) * prod(shape[1:])

    def connections(self, shape: Shape) -> int:
        return self.macs(shape) + self.biases(shape) * prod(self.output(shape)[1:])


def _links(channels: int, filters: int, groups: int) -> int:
    if groups < 1 or channels % groups or filters % groups:
        raise UsageError(f"{groups} groups do not divide {channels} channels and {filters} filters")
    return channels * filters // groups


@dataclass(frozen=True)
class Pooling(Layer):
    """Maximum, average or sum over windows, channel by channel.

    Attributes:
        stride: None: the kernel, so that windows do not overlap.
        rounding: as in :func:`output_size`.
        trainable: a coefficient and a bias a channel (subsampling in the networks of 1989 to 1998).
    """

    kernel: Pair
    stride: Pair | None = None
    padding: Padding = 0
    dilation: Pair = 1
    rounding: Rounding = "floor"
    trainable: bool = False

    @property
    def steps(self) -> Pair:
        """The stride, with None resolved."""
        return self.kernel if self.stride is None else self.stride

    def output(self, shape: Shape) -> Shape:
        return shape[0], *output_size(shape[1:], self.kernel, self.steps, self.padding, self.dilation, self.rounding)

    def weights(self, shape: Shape) -> int:
        return shape[0] if self.trainable else 0

    def biases(self, shape: Shape) -> int:
        return shape[0] if self.trainable else 0

    def connections(self, shape: Shape) -> int:
        return self.neurons(shape) * (prod(pair(self.kernel, "kernel")) + self.trainable)

    def unread(self, shape: Shape) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return unread(shape[1:], self.kernel, self.steps, self.padding, self.dilation, self.rounding)


@dataclass(frozen=True)
class GlobalPooling(Layer):
    """Maximum, average or sum of each whole channel."""

    def output(self, shape: Shape) -> Shape:
        return shape[0], 1, 1

    def connections(self, shape: Shape) -> int:
        return prod(shape)


@dataclass(frozen=True)
class Elementwise(Layer):
    """What maps each number by itself: an activation, dropout, batch norm.

    It makes no neurons of its own: it is the last step of those before it.

    Attributes:
        trainable: a factor and an addend a channel (batch norm).
    """

    trainable: bool = False

    def output(self, shape: Shape) -> Shape:
        return shape

    def weights(self, shape: Shape) -> int:
        return shape[0] if self.trainable else 0

    def biases(self, shape: Shape) -> int:
        return shape[0] if self.trainable else 0

    def neurons(self, shape: Shape) -> int:
        return 0

    def connections(self, shape: Shape) -> int:
        return 0


@dataclass(frozen=True)
class Dense(Layer):
    """A fully connected layer; it flattens what it reads."""

    units: int
    bias: bool = True

    def output(self, shape: Shape) -> Shape:
        return self.units, 1, 1

    def weights(self, shape: Shape) -> int:
        return prod(shape) * self.units

    def biases(self, shape: Shape) -> int:
        return self.units if self.bias else 0

    def macs(self, shape: Shape) -> int:
        return self.weights(shape)

    def connections(self, shape: Shape) -> int:
        return self.parameters(shape)


def dense_equivalent(layer: Convolution | TransposedConvolution | Pooling, shape: Shape) -> Dense:
    """The fully connected layer between the same numbers of neurons: no weights shared, none local."""
    return Dense(layer.neurons(shape), bias=layer.trainable if isinstance(layer, Pooling) else layer.bias)
