"""How large the output of a convolution, a transposed convolution or a pooling is.

``padding`` is an integer, (vertical, horizontal), four sides (top, bottom, left, right), ``"valid"`` (none) or ``"same"``
(TensorFlow's: the output is the input over the stride, rounded up; the odd pixel goes to the bottom and right).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from striate.errors import UsageError

Pair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[int, int, int, int] | Literal["valid", "same"]
Rounding = Literal["floor", "ceil", "strict"]
Size = tuple[int, int]
Shape = tuple[int, int, int]


class DoesNotFit(UsageError):
    """A window that has no place in its input, or, in strict mode, leaves a remainder."""


class Axis(NamedTuple):
    """A sliding window along one axis, in pixels; ``before`` and ``after`` are padding."""

    length: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def span(self) -> int:
        """Pixels from the first to the last that one window reads."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def room(self) -> int:
        """Pixels that the window can move; negative where it does not fit."""
        return self.length + self.before + self.after - self.span


def pair(value: Pair, name: str, least: int = 1) -> Size:
    """``3`` -> ``(3, 3)``. Raises ``UsageError`` where either is below ``least``."""
    both = (value, value) if isinstance(value, int) else (value[0], value[1])
    if min(both) < least:
        raise UsageError(f"{name} is {value}; it must be at least {least}")
    return both


def axes(size: Pair, kernel: Pair, stride: Pair = 1, padding: Padding = 0, dilation: Pair = 1) -> tuple[Axis, Axis]:
    """The window's vertical and horizontal course, whatever way the padding is said."""
    rows, columns = (
        Axis(*values, 0, 0)
        for values in zip(
            pair(size, "size"), pair(kernel, "kernel"), pair(stride, "stride"), pair(dilation, "dilation"), strict=True
        )
    )
    if padding == "valid":
        return rows, columns
    if padding == "same":
        return _same(rows), _same(columns)
    if isinstance(padding, str):
        raise UsageError(
            f"padding {padding!r} is unknown", fix="give pixels, four sides (top, bottom, left, right), 'valid' or 'same'"
        )
    vertical, horizontal = (padding, padding) if isinstance(padding, int) else padding[:2]
    top, bottom, left, right = (
        padding if isinstance(padding, tuple) and len(padding) == 4 else (vertical, vertical, horizontal, horizontal)
    )
    if min(top, bottom, left, right) < 0:
        raise UsageError(f"padding is {padding}; it must be at least 0")
    return rows._replace(before=top, after=bottom), columns._replace(before=left, after=right)


def _same(axis: Axis) -> Axis:
    total = max((-(-axis.length // axis.stride) - 1) * axis.stride + axis.span - axis.length, 0)
    return axis._replace(before=total // 2, after=total - total // 2)


def output_size(
    size: Pair, kernel: Pair, stride: Pair = 1, padding: Padding = 0, dilation: Pair = 1, rounding: Rounding = "floor"
) -> Size:
    """Output (height, width) of a convolution or a pooling: ``(n + before + after - dilation (kernel - 1) - 1) / stride + 1``.

    Args:
        rounding: of that division. ``floor`` never reads what is left over (:func:`unread` names it); ``ceil`` adds a
            partial window, unless it would start in the padding behind the input (pooling with PyTorch's ``ceil_mode``);
            ``strict`` raises.

    Raises:
        DoesNotFit: the window is larger than the padded input, or leaves a remainder in strict mode.
    """
    both = axes(size, kernel, stride, padding, dilation)
    height, width = (_positions(axis, rounding) for axis in both)
    for axis, count in zip(both, (height, width), strict=True):
        if count < 1 or (rounding == "strict" and axis.room % axis.stride):
            raise DoesNotFit(f"{_describe(both)} does not fit", why=_why(axis), fix=_fix(axis))
    return height, width


def _positions(axis: Axis, rounding: Rounding) -> int:
    if rounding != "ceil":
        return axis.room // axis.stride + 1
    steps = -(-axis.room // axis.stride)
    return steps if steps * axis.stride >= axis.length + axis.before else steps + 1


def _describe(both: tuple[Axis, Axis]) -> str:
    (rows, columns) = both
    stride = rows.stride if rows.stride == columns.stride else f"{rows.stride}x{columns.stride}"
    return f"{rows.length}x{columns.length} with {rows.kernel}x{columns.kernel} at stride {stride}"


def _why(axis: Axis) -> str:
    padding = axis.before + axis.after
    if axis.room < 0:
        return f"the window spans {axis.span} pixels, the input with its padding {axis.length} + {padding}"
    count = axis.room / axis.stride + 1
    return f"({axis.length} + {padding} - {axis.span}) / {axis.stride} + 1 = {count:.4g} is not a whole number"


def _fix(axis: Axis) -> str:
    if axis.room < 0:
        return f"pad by {-axis.room} pixels in all, or take a larger input or a smaller kernel"
    return f"take a stride that divides {axis.room}, or pad by {-axis.room % axis.stride} pixels more in all"


def transposed_output_size(
    size: Pair, kernel: Pair, stride: Pair = 1, padding: Padding = 0, dilation: Pair = 1, output_padding: Pair = 0
) -> Size:
    """Output (height, width) of a transposed convolution; ``padding`` is cut off, and ``"same"`` gives ``size * stride``.

    Raises:
        DoesNotFit: nothing is left, or ``"same"`` would need pixels that no kernel reaches.
    """
    both = axes(size, kernel, stride, 0 if padding == "same" else padding, dilation)
    out = []
    for axis, extra in zip(both, pair(output_padding, "output_padding", 0), strict=True):
        if extra >= max(axis.stride, axis.dilation):
            raise UsageError(
                f"output_padding is {extra}; it must be below the stride {axis.stride} or the dilation {axis.dilation}"
            )
        full = (axis.length - 1) * axis.stride + axis.span + extra
        length = axis.length * axis.stride if padding == "same" else full - axis.before - axis.after
        if not 1 <= length <= full:
            raise DoesNotFit(
                f"transposed, {_describe(both)} does not fit",
                why=f"its kernels reach {full} pixels, and {length} are asked for",
                fix="take a larger kernel or less padding",
            )
        out.append(length)
    return out[0], out[1]


def unread(
    size: Pair, kernel: Pair, stride: Pair = 1, padding: Padding = 0, dilation: Pair = 1, rounding: Rounding = "floor"
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows and columns of the input, counted from 0, that no window reads: a remainder at the end, or gaps between."""
    counts = output_size(size, kernel, stride, padding, dilation, rounding)
    rows, columns = (
        _unread(axis, count) for axis, count in zip(axes(size, kernel, stride, padding, dilation), counts, strict=True)
    )
    return rows, columns


def _unread(axis: Axis, count: int) -> tuple[int, ...]:
    starts = range(-axis.before, count * axis.stride - axis.before, axis.stride)
    if axis.dilation == 1 and axis.stride <= axis.kernel:
        return tuple(range(max(0, starts[-1] + axis.kernel), axis.length))
    read = {start + i * axis.dilation for start in starts for i in range(axis.kernel)}
    return tuple(pixel for pixel in range(axis.length) if pixel not in read)
