"""One number of a convolution, a pooling, a dense layer or a mean: the window that it reads, with the kernel over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum, inf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from striate.look.operations import per_axis, spatial
from striate.look.pixel_accounts import DOUBLE, Account, Floats, Position, Window, number, rounding_error
from striate.look.windows import courses


def weighted_sum(name: str, given: Mapping[str, Any], unit: Position, shape: Sequence[int], roundoff: float) -> Account:
    """Of a convolution, a dense layer, an average or a sum.

    Args:
        name: the operation.
        given: its arguments by name, the input's numbers among them.
        unit: a position in its output, with the batch.
        shape: of its output.
        roundoff: of the network's own arithmetic: 2**-24 for float32.
    """
    if name == "linear":
        window, words = _features(given, unit)
    elif name in ("mean", "sum"):
        window, words = _reduced(name, given, unit)
    elif name.startswith("conv"):
        window, words = _kernel(name, given, unit, shape)
    else:
        window, words = _average(name, given, unit, shape)
    bias = given.get("bias")
    added = None if bias is None else number(bias[unit[-1] if name == "linear" else unit[-1 - spatial(name)]])
    products = window.products.ravel()
    absolute = float(np.abs(products).sum()) + abs(added or 0.0)
    total = fsum([*products.tolist(), added or 0.0])
    bound = (rounding_error(products.size + 2, roundoff) + 4 * DOUBLE) * absolute
    return Account(words + (" + bias" if added is not None else ""), total, absolute, bound, added, window)


def maximum(name: str, given: Mapping[str, Any], unit: Position, shape: Sequence[int]) -> Account:
    """Of a max pooling: exact, for nothing is rounded."""
    window = _patch(name, given, unit, shape)
    values = np.where(window.inside, window.values, -inf)
    winner = np.unravel_index(int(np.argmax(values)), values.shape)
    weights = np.zeros_like(values)
    weights[winner] = 1.0
    total = float(values[winner])
    chosen = Window(window.fixed, window.axes, window.inside, window.values, weights)
    return Account(f"largest of {int(window.inside.sum())}", total, abs(total), 0.0, None, chosen)


def _patch(name: str, given: Mapping[str, Any], unit: Position, shape: Sequence[int]) -> Window:
    """The window of a pooling in its one channel, with weights of 1."""
    x: Tensor = given["input"]
    count = spatial(name)
    reads = [course.reads(at) for course, at in zip(courses(name, given, x.shape, shape), unit[-count:], strict=True)]
    axes = tuple(tuple(place for place, _ in each) for each in reads)
    inside, values = _gather(x[unit[: -count - 1]].narrow(0, unit[-1 - count], 1), axes)
    fixed = (*unit[: -count - 1], *(None,) * (count + 1))
    return Window(fixed, ((unit[-1 - count],), *axes), inside, values, np.ones_like(values))


def _average(name: str, given: Mapping[str, Any], unit: Position, shape: Sequence[int]) -> tuple[Window, str]:
    patch = _patch(name, given, unit, shape)
    numbers = patch.inside.size if given.get("count_include_pad", True) else int(patch.inside.sum())
    divisor = given.get("divisor_override") or numbers
    words = f"sum of {patch.values.size} / {divisor}" if divisor != patch.values.size else f"mean of {numbers}"
    return Window(patch.fixed, patch.axes, patch.inside, patch.values, patch.weights / divisor), words


def _kernel(name: str, given: Mapping[str, Any], unit: Position, shape: Sequence[int]) -> tuple[Window, str]:
    x, weight, groups = given["input"], given["weight"], int(given.get("groups", 1))
    count, transposed = spatial(name), name.startswith("conv_transpose")
    reads = [course.reads(at) for course, at in zip(courses(name, given, x.shape, shape), unit[-count:], strict=True)]
    axes = tuple(tuple(place for place, _ in each) for each in reads)
    taps = [torch.tensor([tap for _, tap in each], dtype=torch.long) for each in reads]
    lead, filter_ = unit[: -1 - count], unit[-1 - count]
    wide, filters = x.shape[-1 - count] // groups, shape[-1 - count] // groups
    first = filter_ // filters * wide
    kernel = weight[first : first + wide, filter_ % filters] if transposed else weight[filter_]
    for dimension, tap in enumerate(taps, 1):
        kernel = kernel.index_select(dimension, tap.to(kernel.device))
    inside, values = _gather(x[lead].narrow(0, first, wide), axes)
    window = Window((*lead, *(None,) * (count + 1)), (tuple(range(first, first + wide)), *axes), inside, values, _array(kernel))
    return window, f"sum over {wide} channel{'s' * (wide > 1)} x {' x '.join(str(len(axis)) for axis in axes)}"


def _features(given: Mapping[str, Any], unit: Position) -> tuple[Window, str]:
    x, weight = given["input"], given["weight"]
    window = Window(
        (*unit[:-1], None), (tuple(range(x.shape[-1])),), np.array(True), _array(x[unit[:-1]]), _array(weight[unit[-1]])
    )
    return window, f"sum over {x.shape[-1]} features"


def _reduced(name: str, given: Mapping[str, Any], unit: Position) -> tuple[Window, str]:
    x: Tensor = given["input"]
    dims = given.get("dim", given.get("axis"))
    reduced = {each % x.dim() for each in (range(x.dim()) if dims in (None, ()) else per_axis(dims, 1))}
    # The position in the input, 0 along what is reduced.
    kept = iter(unit)
    full = [next(kept) if given.get("keepdim") or each not in reduced else 0 for each in range(x.dim())]
    covered = [each for each in range(x.dim()) if (each in reduced and x.shape[each] > 1) or each == 1]
    axes = tuple(tuple(range(x.shape[each])) if each in reduced else (full[each],) for each in covered)
    part = x[tuple(slice(None) if each in reduced else slice(full[each], full[each] + 1) for each in range(x.dim()))]
    values = _array(part).reshape([len(axis) for axis in axes])
    weights = np.full_like(values, 1 / values.size if name == "mean" else 1.0)
    fixed = tuple(None if each in covered else full[each] for each in range(x.dim()))
    return Window(fixed, axes, np.ones(values.shape[1:], bool), values, weights), f"{name} of {values.size}"


def _gather(x: Tensor, axes: Sequence[Sequence[int]]) -> tuple[NDArray[np.bool_], Floats]:
    """[channels, *sizes] at the positions of ``axes``; what lies outside is 0."""
    insides = [np.array([0 <= place < size for place in axis], bool) for axis, size in zip(axes, x.shape[1:], strict=True)]
    for dimension, axis in enumerate(axes, 1):
        places = torch.tensor([min(max(place, 0), x.shape[dimension] - 1) for place in axis], dtype=torch.long, device=x.device)
        x = x.index_select(dimension, places)
    inside = np.ones(tuple(map(len, axes)), bool)
    for dimension, each in enumerate(insides):
        inside &= each.reshape([-1 if at == dimension else 1 for at in range(len(axes))])
    return inside, np.where(inside, _array(x), 0.0)


def _array(tensor: Tensor) -> Floats:
    array: Floats = tensor.detach().to("cpu", torch.float64).numpy()
    return array
