"""Which pixels of the image an output depends on.

Source: A. Araujo, W. Norris, J. Sim, "Computing receptive fields of convolutional neural networks", Distill 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from striate.arithmetic.chain import chain
from striate.arithmetic.counts import Convolution, Dense, Elementwise, GlobalPooling, Layer, Pooling
from striate.arithmetic.sizes import Shape, Size, axes
from striate.errors import UsageError


@dataclass(frozen=True)
class ReceptiveField:
    """The part of the image that one output reads, (vertical, horizontal), in pixels.

    Attributes:
        size: of the part, from its first pixel to its last.
        jump: from the part of one output to that of the next: the total stride.
        offset: first pixel of the first output's part; negative inside the padding.
    """

    size: Size = (1, 1)
    jump: Size = (1, 1)
    offset: Size = (0, 0)

    def through(self, layer: Layer, shape: Shape) -> ReceptiveField:
        """The receptive field of what comes out of ``layer`` where this one is that of its input of ``shape``.

        Raises:
            UsageError: for a transposed convolution, whose outputs read parts of different sizes.
        """
        if isinstance(layer, Elementwise):
            return self
        if isinstance(layer, Dense | GlobalPooling):
            windows = axes(shape[1:], shape[1:])
        elif isinstance(layer, Convolution):
            windows = axes(shape[1:], layer.kernel, layer.stride, layer.padding, layer.dilation)
        elif isinstance(layer, Pooling):
            windows = axes(shape[1:], layer.kernel, layer.steps, layer.padding, layer.dilation)
        else:
            raise UsageError(f"the receptive field behind a {type(layer).__name__} differs from output to output")
        sizes, jumps, offsets = zip(
            *(
                (size + (window.span - 1) * jump, jump * window.stride, offset - window.before * jump)
                for size, jump, offset, window in zip(self.size, self.jump, self.offset, windows, strict=True)
            ),
            strict=True,
        )
        return ReceptiveField(sizes, jumps, offsets)

    def part(self, row: int, column: int) -> tuple[Size, Size]:
        """Half-open (first, last + 1) rows and columns that output (row, column) reads; padding included."""
        top, left = (offset + i * jump for offset, i, jump in zip(self.offset, (row, column), self.jump, strict=True))
        return (top, top + self.size[0]), (left, left + self.size[1])


def receptive_fields(shape: Shape, layers: Sequence[Layer]) -> list[ReceptiveField]:
    """The receptive field behind each layer of a chain, in pixels of its input."""
    fields = [ReceptiveField()]
    for row in chain(shape, layers):
        fields.append(fields[-1].through(row.layer, row.input))
    return fields[1:]
