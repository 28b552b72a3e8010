"""The operations of convolutional networks in NumPy, to be read and to check faster ones against.

Images are ``[..., C, H, W]`` in any number type, computed in float64. A kernel of four dimensions, ``[F, C, kh, kw]`` or with
C / groups in the place of C, mixes channels as a layer does; one of two dimensions, ``[kh, kw]``, is an image filter: it goes
over every plane ``[..., H, W]`` by itself. Padding, strides and sizes are those of :mod:`striate.arithmetic`.

Everything rests on one idea, :func:`taps`: instead of visiting each window, take the first pixel of all windows at once, then
the second, and so on. A convolution is the sum of the taps times their weights, a pooling their maximum or sum, and a
transposed convolution adds to the taps what a convolution would read from them.

Source: I. Goodfellow, Y. Bengio, A. Courville, "Deep Learning", MIT Press 2016, chapter 9; V. Dumoulin, F. Visin,
arXiv:1603.07285.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from striate.arithmetic import Axis, Padding, Pair, Rounding, Size, axes, output_size, transposed_output_size
from striate.errors import UsageError

Array = NDArray[np.float64]


def taps(padded: Array, rows: Axis, columns: Axis, count: Size) -> Iterator[tuple[int, int, Array]]:
    """For each place (i, j) of the window, a view of the pixels that lie under it, one a window: ``[..., out_h, out_w]``."""
    for i in range(rows.kernel):
        for j in range(columns.kernel):
            top, left = i * rows.dilation, j * columns.dilation
            bottom, right = top + (count[0] - 1) * rows.stride + 1, left + (count[1] - 1) * columns.stride + 1
            yield i, j, padded[..., top : bottom : rows.stride, left : right : columns.stride]


def cross_correlation(
    image: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    rounding: Rounding = "floor",
) -> Array:
    """What deep learning calls convolution: ``S(i, j) = Σ I(i + m, j + n) K(m, n)``, summed over the channels of a group.

    Args:
        image: [..., C, H, W], or [..., H, W] for a kernel of two dimensions.
        kernel: [F, C / groups, kh, kw], or [kh, kw].
        bias: [F], or one number; None: 0.

    Returns:
        [..., F, out_h, out_w], or [..., out_h, out_w].

    Raises:
        UsageError: channels, filters, groups and bias do not go together.
        DoesNotFit: the kernel has no place in the padded image.
    """
    x, weights = _float(image), _float(kernel)
    size = _size(x)
    window = axes(size, weights.shape[-2:], stride, padding, dilation)
    count = output_size(size, weights.shape[-2:], stride, padding, dilation, rounding)
    under = taps(_padded(x, window, count), *window, count)
    if weights.ndim == 2:
        result: Array = sum(weights[i, j] * pixels for i, j, pixels in under)
        return result if bias is None else result + _float(bias)
    channels, filters = x.shape[-3], len(weights)
    if weights.ndim != 4 or channels != weights.shape[1] * groups or filters % groups:
        raise UsageError(
            f"a kernel of shape {weights.shape} in {groups} groups does not read {channels} channels",
            fix="give it [filters, channels / groups, height, width], the filters a multiple of the groups",
        )
    result = np.zeros((*x.shape[:-3], filters, *count))
    for i, j, pixels in under:
        # [..., groups, C / groups, out_h, out_w] times [groups, F / groups, C / groups]
        by_group = pixels.reshape(*pixels.shape[:-3], groups, -1, *count)
        mixed = np.einsum("...gchw,gfc->...gfhw", by_group, weights[:, :, i, j].reshape(groups, filters // groups, -1))
        result += mixed.reshape(result.shape)
    return result if bias is None else result + _bias(bias, filters)


def true_convolution(
    image: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """Convolution as mathematics defines it, ``Σ I(i - m, j - n) K(m, n)``: cross-correlation with the kernel turned by 180°."""
    return cross_correlation(image, _float(kernel)[..., ::-1, ::-1], bias, stride, padding, dilation, groups)


def depthwise_convolution(
    image: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
) -> Array:
    """Each channel with its own filters: ``kernel`` is [C · m, 1, kh, kw] for m filters a channel."""
    return cross_correlation(image, kernel, bias, stride, padding, dilation, groups=_float(image).shape[-3])


def pointwise_convolution(image: ArrayLike, weights: ArrayLike, bias: ArrayLike | None = None) -> Array:
    """A 1 x 1 convolution: at each pixel, ``weights`` [F, C] times the channels."""
    return cross_correlation(image, _float(weights)[:, :, None, None], bias)


def transposed_convolution(
    image: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Pair = 1,
    padding: int | tuple[int, int] | tuple[int, int, int, int] = 0,
    dilation: Pair = 1,
    groups: int = 1,
    output_padding: Pair = 0,
) -> Array:
    """The transpose of a cross-correlation: each pixel adds the kernel, times itself, to the output.

    Args:
        image: [..., C, H, W].
        kernel: [C, F / groups, kh, kw].
        bias: [F], or one number; None: 0.
        padding: pixels cut off the output.
        output_padding: pixels that the output has more at the bottom and right.

    Returns:
        [..., F, out_h, out_w].

    Raises:
        UsageError: channels, groups and bias do not go together.
        DoesNotFit: nothing is left of the output.
    """
    x, weights = _float(image), _float(kernel)
    if weights.ndim != 4 or x.shape[-3] != len(weights) or len(weights) % groups:
        raise UsageError(
            f"a kernel of shape {weights.shape} in {groups} groups does not read {x.shape[-3]} channels",
            fix="give it [channels, filters / groups, height, width], the channels a multiple of the groups",
        )
    count, sides = _size(x), weights.shape[-2:]
    height, width = transposed_output_size(count, sides, stride, padding, dilation, output_padding)
    rows, columns = axes(count, sides, stride, padding, dilation)
    filters = weights.shape[1] * groups
    whole = np.zeros((*x.shape[:-3], filters, height + rows.before + rows.after, width + columns.before + columns.after))
    by_group = x.reshape(*x.shape[:-3], groups, -1, *count)
    for i, j, reached in taps(whole, rows, columns, count):
        mixed = np.einsum("...gchw,gcf->...gfhw", by_group, weights[:, :, i, j].reshape(groups, len(weights) // groups, -1))
        reached += mixed.reshape(reached.shape)
    result = whole[..., rows.before : rows.before + height, columns.before : columns.before + width]
    return result if bias is None else result + _bias(bias, filters)


def max_pool(
    image: ArrayLike,
    kernel: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    rounding: Rounding = "floor",
) -> Array:
    """The largest number of each window, [..., H, W] -> [..., out_h, out_w]; padding never wins."""
    result: Array = np.maximum.reduce(list(_pooled(_float(image), kernel, stride, padding, dilation, rounding, -np.inf)))
    return result


def sum_pool(
    image: ArrayLike,
    kernel: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    rounding: Rounding = "floor",
) -> Array:
    """The sum of each window, [..., H, W] -> [..., out_h, out_w]."""
    result: Array = sum(_pooled(_float(image), kernel, stride, padding, dilation, rounding, 0.0))  # type: ignore[assignment]
    return result


def average_pool(
    image: ArrayLike,
    kernel: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    rounding: Rounding = "floor",
    count_padding: bool = True,
) -> Array:
    """The mean of each window, [..., H, W] -> [..., out_h, out_w].

    Args:
        count_padding: padding counts as zeros; else the mean is over the image alone. What ``ceil`` adds behind the padding
            never counts.
    """
    x = _float(image)
    rows, columns = axes(_size(x), kernel, kernel if stride is None else stride, padding)
    sides = ((rows.before, rows.after), (columns.before, columns.after))
    ones = np.pad(np.ones(_size(x)), sides, constant_values=float(count_padding))
    counts = sum_pool(ones, kernel, kernel if stride is None else stride, 0, 1, rounding)
    total = sum_pool(x, kernel, stride, padding, 1, rounding)
    return total / counts[..., : total.shape[-2], : total.shape[-1]]


def _pooled(
    x: Array, kernel: Pair, stride: Pair | None, padding: Padding, dilation: Pair, rounding: Rounding, fill: float
) -> Iterator[Array]:
    stride = kernel if stride is None else stride
    window = axes(_size(x), kernel, stride, padding, dilation)
    count = output_size(_size(x), kernel, stride, padding, dilation, rounding)
    return (pixels for _, _, pixels in taps(_padded(x, window, count, fill), *window, count))


def relu(x: ArrayLike) -> Array:
    """``max(x, 0)``; any shape."""
    return np.maximum(_float(x), 0)


def tanh(x: ArrayLike) -> Array:
    """``(eˣ - e⁻ˣ) / (eˣ + e⁻ˣ)``, within -1..1; any shape."""
    return np.tanh(_float(x))


def sigmoid(x: ArrayLike) -> Array:
    """``1 / (1 + e⁻ˣ)``, within 0..1; any shape. Written so that no exponential overflows."""
    return 0.5 * (1 + np.tanh(0.5 * _float(x)))


def softmax(x: ArrayLike, axis: int = -1) -> Array:
    """``eˣ / Σ eˣ`` along an axis: non-negative, sums to 1. The largest x is taken off first, so that nothing overflows."""
    x = _float(x)
    powers = np.exp(x - x.max(axis, keepdims=True))
    result: Array = powers / powers.sum(axis, keepdims=True)
    return result


def squared_error(output: ArrayLike, target: ArrayLike) -> float:
    """``Σ ½ (target - output)²`` over everything: the error of the lectures' training example."""
    return float(0.5 * np.square(_float(target) - _float(output)).sum())


def _float(values: ArrayLike) -> Array:
    return np.asarray(values, np.float64)


def _size(x: Array) -> Size:
    return x.shape[-2], x.shape[-1]


def _padded(x: Array, window: tuple[Axis, Axis], count: Size, fill: float = 0.0) -> Array:
    """Pads as the axes say, and behind that as far as partial windows reach."""
    sides = [(0, 0)] * (x.ndim - 2)
    for axis, number in zip(window, count, strict=True):
        reach = (number - 1) * axis.stride + axis.span
        sides.append((axis.before, max(axis.after, reach - axis.before - axis.length)))
    return np.pad(x, sides, constant_values=fill)


def _bias(bias: ArrayLike, filters: int) -> Array:
    values = _float(bias)
    if values.shape not in ((), (filters,)):
        raise UsageError(f"a bias of shape {values.shape} does not go with {filters} filters")
    return values[..., None, None] if values.ndim else values
