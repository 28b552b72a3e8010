"""Property tests: the NumPy reference against PyTorch's own operations, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from striate import reference
from striate.errors import UsageError

small = st.integers(1, 3)
pairs = small | st.tuples(small, small)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
sides = st.integers(0, 3)
paddings = sides | st.tuples(sides, sides) | st.tuples(sides, sides, sides, sides)
seeds = st.integers(0, 2**32 - 1)

TOLERANCE = 1e-12
"""Sums of at most 82 products of numbers within -1..1: 82 roundings of at most 82 · 2⁻⁵³ each, 7.5e-13."""


def for_any(*drawn: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Hypothesis without a time limit: a loaded machine is no counterexample."""
    return lambda test: settings(deadline=None)(given(*drawn)(test))


def numbers(seed: int, *shape: int) -> NDArray[np.float64]:
    return np.random.default_rng((seed, *shape)).uniform(-1, 1, shape)


def two(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def framed(image: NDArray[np.float64], padding: Any, fill: float = 0.0) -> Tensor:
    """The image padded by PyTorch."""
    vertical, horizontal = (padding, padding) if isinstance(padding, int) else padding[:2]
    four = padding if isinstance(padding, tuple) and len(padding) == 4 else (vertical, vertical, horizontal, horizontal)
    return F.pad(torch.from_numpy(image), (four[2], four[3], four[0], four[1]), value=fill)


def agree(ours: Callable[[], Any], theirs: Callable[[], Tensor]) -> None:
    """Both give the same numbers, or both refuse."""
    try:
        expected = theirs()
    except RuntimeError:
        with pytest.raises(UsageError):
            ours()
        return
    assume(expected.numel())
    result = ours()
    assert result.shape == tuple(expected.shape)
    np.testing.assert_allclose(result, expected.numpy(), rtol=0, atol=TOLERANCE)


@for_any(seeds, small, small, small, sizes, pairs, pairs, paddings, pairs, st.booleans())
def test_cross_correlation(
    seed: int, groups: int, inputs: int, outputs: int, size: tuple[int, int], kernel: Any, stride: Any, padding: Any,
    dilation: Any, biased: bool,
) -> None:  # fmt: skip
    image, weights = numbers(seed, 2, groups * inputs, *size), numbers(seed, groups * outputs, inputs, *two(kernel))
    bias = numbers(seed, groups * outputs) if biased else None

    def theirs() -> Tensor:
        added = None if bias is None else torch.from_numpy(bias)
        return F.conv2d(framed(image, padding), torch.from_numpy(weights), added, stride, 0, dilation, groups)

    agree(lambda: reference.cross_correlation(image, weights, bias, stride, padding, dilation, groups), theirs)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@for_any(seeds, sizes, pairs, pairs)
def test_same_padding(seed: int, size: tuple[int, int], kernel: Any, dilation: Any) -> None:
    image, weights = numbers(seed, 1, 2, *size), numbers(seed, 3, 2, *two(kernel))
    agree(
        lambda: reference.cross_correlation(image, weights, padding="same", dilation=dilation),
        lambda: F.conv2d(torch.from_numpy(image), torch.from_numpy(weights), padding="same", dilation=dilation),
    )


@for_any(seeds, sizes, pairs, pairs, paddings)
def test_an_image_filter_goes_over_each_plane(seed: int, size: tuple[int, int], kernel: Any, stride: Any, padding: Any) -> None:
    image, matrix = numbers(seed, 3, *size), numbers(seed, *two(kernel))
    agree(
        lambda: reference.cross_correlation(image, matrix, 0.5, stride, padding),
        lambda: F.conv2d(framed(image[:, None], padding), torch.from_numpy(matrix[None, None]), None, stride)[:, 0] + 0.5,
    )


@for_any(seeds, sizes, pairs)
def test_true_convolution_is_the_polynomial_product(seed: int, size: tuple[int, int], kernel: Any) -> None:
    """With all the padding it can use, it commutes, as cross-correlation does not; along one axis it is ``numpy.convolve``."""
    image, matrix = numbers(seed, *size), numbers(seed + 1, *two(kernel))

    def full(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        return reference.true_convolution(a, b, padding=(b.shape[0] - 1, b.shape[1] - 1))

    np.testing.assert_allclose(full(image, matrix), full(matrix, image), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(full(image[:1], matrix[:1])[0], np.convolve(image[0], matrix[0]), rtol=0, atol=TOLERANCE)


@for_any(seeds, small, small, sizes, pairs, pairs, paddings, pairs)
def test_depthwise(
    seed: int, channels: int, multiplier: int, size: tuple[int, int], kernel: Any, stride: Any, padding: Any, dilation: Any
) -> None:
    image, weights = numbers(seed, 1, channels, *size), numbers(seed, channels * multiplier, 1, *two(kernel))
    agree(
        lambda: reference.depthwise_convolution(image, weights, None, stride, padding, dilation),
        lambda: F.conv2d(framed(image, padding), torch.from_numpy(weights), None, stride, 0, dilation, channels),
    )


@for_any(seeds, small, small, sizes)
def test_pointwise_is_a_matrix_at_each_pixel(seed: int, channels: int, filters: int, size: tuple[int, int]) -> None:
    image, weights, bias = numbers(seed, 1, channels, *size), numbers(seed, filters, channels), numbers(seed, filters)
    agree(
        lambda: reference.pointwise_convolution(image, weights, bias),
        lambda: F.linear(torch.from_numpy(image).movedim(1, -1), *map(torch.from_numpy, (weights, bias))).movedim(-1, 1),
    )


@for_any(seeds, small, small, small, sizes, pairs, pairs, st.tuples(sides, sides), pairs, st.tuples(sides, sides))
def test_transposed_convolution(
    seed: int, groups: int, inputs: int, outputs: int, size: tuple[int, int], kernel: Any, stride: Any, padding: Any,
    dilation: Any, extra: Any,
) -> None:  # fmt: skip
    image, weights = numbers(seed, 2, groups * inputs, *size), numbers(seed, groups * inputs, outputs, *two(kernel))
    bias = numbers(seed, groups * outputs)
    tensors = [torch.from_numpy(array) for array in (image, weights, bias)]
    agree(
        lambda: reference.transposed_convolution(image, weights, bias, stride, padding, dilation, groups, extra),
        lambda: F.conv_transpose2d(*tensors, stride, padding, extra, groups, dilation),
    )


@for_any(seeds, sizes, pairs, pairs, paddings, pairs)
def test_transposed_convolution_is_the_transpose(
    seed: int, size: tuple[int, int], kernel: Any, stride: Any, padding: Any, dilation: Any
) -> None:
    """``<conv(x), y> = <x, transposed(y)>``: the definition, four-sided padding included."""
    image, weights = numbers(seed, 2, *size), numbers(seed, 3, 2, *two(kernel))
    try:
        result = reference.cross_correlation(image, weights, None, stride, padding, dilation, rounding="strict")
    except UsageError:
        assume(False)
    other = numbers(seed + 1, *result.shape)
    back = reference.transposed_convolution(other, weights, None, stride, padding, dilation)
    assert back.shape == image.shape
    assert np.vdot(result, other) == pytest.approx(np.vdot(image, back), abs=1e-11)


@for_any(seeds, sizes, pairs, st.none() | pairs, st.tuples(st.integers(0, 1), st.integers(0, 1)), pairs, st.booleans())
def test_max_pool(seed: int, size: tuple[int, int], kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> None:
    assume(all(2 * side <= length for side, length in zip(padding, two(kernel), strict=True)))  # PyTorch refuses more
    image = numbers(seed, 1, 2, *size)
    agree(
        lambda: reference.max_pool(image, kernel, stride, padding, dilation, "ceil" if ceil else "floor"),
        lambda: F.max_pool2d(torch.from_numpy(image), kernel, stride, padding, dilation, ceil),
    )


@for_any(seeds, sizes, pairs, st.none() | pairs, st.tuples(st.integers(0, 1), st.integers(0, 1)), st.booleans(), st.booleans())
def test_average_pool(
    seed: int, size: tuple[int, int], kernel: Any, stride: Any, padding: Any, ceil: bool, count_padding: bool
) -> None:
    assume(all(2 * side <= length for side, length in zip(padding, two(kernel), strict=True)))
    image = numbers(seed, 1, 2, *size)
    agree(
        lambda: reference.average_pool(image, kernel, stride, padding, "ceil" if ceil else "floor", count_padding),
        lambda: F.avg_pool2d(torch.from_numpy(image), kernel, stride, padding, ceil, count_padding),
    )


@for_any(seeds, sizes, pairs, st.none() | pairs, paddings)
def test_sum_pool_is_a_convolution_with_ones(seed: int, size: tuple[int, int], kernel: Any, stride: Any, padding: Any) -> None:
    image = numbers(seed, 2, *size)
    agree(
        lambda: reference.sum_pool(image, kernel, stride, padding),
        lambda: F.conv2d(
            framed(image[:, None], padding), torch.ones(1, 1, *two(kernel), dtype=torch.float64), None, stride or kernel
        )[:, 0],
    )


@for_any(seeds, st.sampled_from([1, 30, 1000]), st.sampled_from(["relu", "tanh", "sigmoid"]))
def test_activations(seed: int, scale: float, name: str) -> None:
    """Far out too, where a careless formula overflows."""
    x = scale * numbers(seed, 3, 4)
    with np.errstate(all="raise", under="ignore"):
        result = getattr(reference, name)(x)
    np.testing.assert_allclose(result, getattr(torch, name)(torch.from_numpy(x)).numpy(), rtol=0, atol=1e-15 * scale)


@for_any(seeds, st.sampled_from([1, 30, 1000]), st.integers(-2, 1))
def test_softmax(seed: int, scale: float, axis: int) -> None:
    x = scale * numbers(seed, 3, 4)
    np.testing.assert_allclose(reference.softmax(x, axis), torch.from_numpy(x).softmax(axis).numpy(), rtol=0, atol=4e-15)


@for_any(seeds)
def test_squared_error(seed: int) -> None:
    output, target = numbers(seed, 3, 4), numbers(seed + 1, 3, 4)
    expected = 0.5 * F.mse_loss(torch.from_numpy(output), torch.from_numpy(target), reduction="sum")
    assert reference.squared_error(output, target) == pytest.approx(float(expected), rel=1e-14)


def test_what_does_not_go_together_is_refused() -> None:
    image = np.zeros((4, 5, 5))
    with pytest.raises(UsageError, match="does not read 4 channels"):
        reference.cross_correlation(image, np.zeros((6, 4, 3, 3)), groups=2)
    with pytest.raises(UsageError, match="in 4 groups"):
        reference.cross_correlation(image, np.zeros((6, 1, 3, 3)), groups=4)
    with pytest.raises(UsageError, match="does not read 4 channels"):
        reference.transposed_convolution(image, np.zeros((3, 2, 3, 3)))
    with pytest.raises(UsageError, match=r"a bias of shape \(2,\) does not go with 6 filters"):
        reference.cross_correlation(image, np.zeros((6, 4, 3, 3)), [0, 0])
    with pytest.raises(UsageError, match="does not fit"):
        reference.max_pool(image, 6)
