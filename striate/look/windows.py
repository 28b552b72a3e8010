"""Which positions of an input a convolution or a pooling reads for an output, dimension by dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from striate.look.operations import per_axis, spatial


class Sliding(NamedTuple):
    """The course of a window along one dimension: ``before`` and ``after`` are padding, ``end`` is where a window is cut off."""

    size: int
    kernel: int
    stride: int
    before: int
    after: int
    dilation: int
    end: int

    def reads(self, at: int) -> list[tuple[int, int]]:
        """(position, tap of the kernel) for output ``at``; a position outside ``0..size - 1`` is padding."""
        start = at * self.stride - self.before
        places = ((start + tap * self.dilation, tap) for tap in range(self.kernel))
        return [(place, tap) for place, tap in places if place < self.end]


class Transposed(NamedTuple):
    """The course of a transposed convolution along one dimension: which inputs add to an output, and with which tap."""

    size: int
    kernel: int
    stride: int
    before: int
    dilation: int

    def reads(self, at: int) -> list[tuple[int, int]]:
        """(position, tap of the kernel) for output ``at``, position by position; there may be none."""
        found = []
        for tap in range(self.kernel):
            place, between = divmod(at + self.before - tap * self.dilation, self.stride)
            if not between and 0 <= place < self.size:
                found.append((place, tap))
        return sorted(found)


class Adaptive(NamedTuple):
    """Adaptive pooling along one dimension: output i of n reads from floor(i size / n) to ceil((i + 1) size / n)."""

    size: int
    outputs: int

    def reads(self, at: int) -> list[tuple[int, int]]:
        """(position, tap) for output ``at``."""
        start, stop = at * self.size // self.outputs, -(-(at + 1) * self.size // self.outputs)
        return [(place, place - start) for place in range(start, stop)]


Course = Sliding | Transposed | Adaptive


def courses(name: str, given: Mapping[str, Any], shape: Sequence[int], output: Sequence[int]) -> tuple[Course, ...]:
    """One a spatial dimension of a convolution or a pooling.

    Args:
        name: ``conv2d``, ``max_pool1d``, ``adaptive_avg_pool3d``, ...
        given: its arguments by name.
        shape: of its input.
        output: its shape.
    """
    count = spatial(name)
    sizes = shape[-count:]
    if name.startswith("adaptive"):
        return tuple(Adaptive(size, outputs) for size, outputs in zip(sizes, output[-count:], strict=True))
    kernels = per_axis(given["weight"].shape[2:] if name.startswith("conv") else given["kernel_size"], count)
    strides = per_axis(given.get("stride") or (1 if name.startswith("conv") else kernels), count)
    dilations = per_axis(given.get("dilation", 1), count)
    sides = _padding(given.get("padding", 0), kernels, dilations)
    if name.startswith("conv_transpose"):
        axes = zip(sizes, kernels, strides, (before for before, _ in sides), dilations, strict=True)
        return tuple(Transposed(*axis) for axis in axes)
    # A window of a pooling that rounds up ends where the padding ends; one of a maximum may be read on into nothing.
    return tuple(
        Sliding(size, kernel, stride, before, after, dilation, size + after)
        for size, kernel, stride, (before, after), dilation in zip(sizes, kernels, strides, sides, dilations, strict=True)
    )


def _padding(padding: Any, kernels: Sequence[int], dilations: Sequence[int]) -> list[tuple[int, int]]:
    """(before, after) a dimension; what is odd of ``same`` comes after."""
    if padding == "valid":
        return [(0, 0)] * len(kernels)
    if padding == "same":
        totals = [dilation * (kernel - 1) for kernel, dilation in zip(kernels, dilations, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(side, side) for side in per_axis(padding, len(kernels))]
