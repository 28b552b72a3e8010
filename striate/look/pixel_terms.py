"""One number of what is no window: a normalisation, an activation, a sum of branches, a number that only moved, anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from striate.look.pixel_accounts import DOUBLE, Account, Position, Term, number, rounding_error
from striate.look.recording import Call

MOST_TERMS = 4096
"""Terms that are kept of a function of more numbers."""
_POINTWISE_ROUNDINGS = 8
"""Units of rounding that one elementary function, or a composition of a few, may be off."""


def normalisation(name: str, given: Mapping[str, Any], unit: Position, roundoff: float) -> Account:
    """(x - mean) / sqrt(variance + epsilon), times a weight, plus a bias: of batch, instance, group or layer norm.

    Mean and variance are those that a batch norm has learnt, or those of the numbers that are normalised together.
    """
    x: Tensor = given["input"]
    value, epsilon = float(x[unit]), float(given.get("eps") or 1e-5)
    learnt = given.get("running_mean") is not None and not given.get("training") and not given.get("use_input_stats")
    channel: tuple[int, ...] = unit[x.dim() - len(given["normalized_shape"]) :] if name == "layer_norm" else (unit[1],)
    if learnt:
        mean, variance, count, square = number(given["running_mean"][channel]), number(given["running_var"][channel]), 1, 0.0
    else:
        group = _normalised_together(name, given, x, unit).to(torch.float64)
        mean, variance, count = float(group.mean()), float(group.var(correction=0)), group.numel()
        square = float(group.square().mean())
    weight, bias = (1.0 if given.get("weight") is None else number(given["weight"][channel])), given.get("bias")
    added = None if bias is None else number(bias[channel])
    deviation = float(np.sqrt(variance + epsilon))
    scale = weight / deviation
    total = (value - mean) * scale + (added or 0.0)
    absolute = abs(value * scale) + abs(mean * scale) + abs(added or 0.0)
    # A few roundings on each of the three; those of a mean and a variance of n numbers come on top.
    gamma = rounding_error(count + 2, roundoff) if count > 1 else 0.0
    of_mean, of_deviation = gamma * np.sqrt(square), gamma * square / (variance + epsilon)
    bound = (8 * roundoff + 8 * DOUBLE) * absolute + abs(scale) * (of_mean + abs(value - mean) * of_deviation)
    statistics = {"mean": mean, "variance": variance, "epsilon": epsilon, "weight": weight, "bias": added or 0.0}
    words = "(x - mean) / √(variance + ε) · weight + bias"
    if not learnt:
        statistics["count"] = float(count)
        words += f", mean and variance of {count}"
    return Account(words, total, absolute, float(bound), added, None, (Term(0, unit, value, scale),), 1, statistics)


def _normalised_together(name: str, given: Mapping[str, Any], x: Tensor, unit: Position) -> Tensor:
    if name == "layer_norm":
        return x[unit[: x.dim() - len(given["normalized_shape"])]]
    if name == "group_norm":
        wide = x.shape[1] // int(given["num_groups"])
        first = unit[1] // wide * wide
        return x[unit[0], first : first + wide]
    return x[unit[0], unit[1]] if name == "instance_norm" else x[:, unit[1]]


def pointwise(call: Call, tensors: Sequence[Tensor], unit: Position, shape: Sequence[int], roundoff: float) -> Account:
    """The operation done once more on the numbers at this place, in float64."""

    def at_unit(tensor: Tensor) -> Tensor:
        if call.operation == "prelu" and tensor.dim() == 1 and tensor.numel() > 1:  # a slope a channel
            tensor = tensor.reshape(-1, *(1,) * (len(shape) - 2))
        one = tensor.detach().expand(tuple(shape))[unit].reshape(1)
        return one.to(torch.float64, copy=True) if one.is_floating_point() else one.clone()

    ones = [at_unit(tensor) for tensor in tensors]
    values = [float(one) for one in ones]
    args, kwargs = call.arguments(ones)
    fixed = [at_unit(each) for each in tree_leaves((call.args, dict(call.kwargs))) if isinstance(each, Tensor)]
    args, kwargs = tree_map(
        lambda each: at_unit(each) if isinstance(each, Tensor) and not any(each is one for one in ones) else each, (args, kwargs)
    )
    total = float(outputs_of(call.function(*args, **kwargs), args)[0])
    absolute = sum(map(abs, values)) + abs(total)
    bound = _POINTWISE_ROUNDINGS * (roundoff + DOUBLE) * absolute
    terms = tuple(
        Term(source, _broadcast(unit, tensor.shape), value)
        for source, (tensor, value) in enumerate(zip(tensors, values, strict=True))
    )
    constants = {f"constant {count}": float(each) for count, each in enumerate(fixed, 1)}
    return Account(_formula(call.operation, len(terms)), total, absolute, bound, None, None, terms, len(terms), constants)


def _formula(operation: str, count: int) -> str:
    signs = {"add": " + ", "sub": " - ", "mul": " · ", "div": " / "}
    if operation in signs and count > 1:
        return signs[operation].join("abcdefgh"[:count])
    return f"{operation}({', '.join('xyzuvw'[:count])})"


def _broadcast(unit: Position, shape: Sequence[int]) -> Position:
    return tuple(0 if size == 1 else at for at, size in zip(unit[len(unit) - len(shape) :], shape, strict=True))


def moved(call: Call, tensors: Sequence[Tensor], unit: Position, output: int) -> Account:
    """Where a number was before; or that it is a constant, such as a padding's."""
    place = int(moves(call, tensors, output)[unit])
    if place == 0:
        constant = float(
            rerun(call, [torch.zeros(each.shape, dtype=torch.float64) if each.is_floating_point() else each for each in tensors])[
                output
            ][unit]
        )
        return Account("a constant", constant, abs(constant), 0.0)
    starts = np.cumsum([1, *(tensor.numel() for tensor in tensors)])
    source = int(np.searchsorted(starts, place, side="right")) - 1
    position = tuple(int(each) for each in np.unravel_index(place - int(starts[source]), tensors[source].shape))
    value = float(tensors[source][position])
    return Account("the same number", value, abs(value), 0.0, None, None, (Term(source, position, value, 1.0),), 1)


def moves(call: Call, tensors: Sequence[Tensor], output: int) -> Tensor:
    """For each number of an output its place in the inputs, counted from 1 through one after the other; 0: a constant.

    The operation is done on places instead of numbers, and once more on their negatives: a constant keeps its sign.
    """
    starts = np.cumsum([1, *(tensor.numel() for tensor in tensors)]).tolist()
    found = []
    for sign in (1, -1):
        places = [
            sign * torch.arange(start, start + each.numel(), dtype=torch.float64).reshape(each.shape)
            if each.is_floating_point() else each.cpu()
            for start, each in zip(starts, tensors, strict=False)
        ]  # fmt: skip
        found.append(rerun(call, places)[output])
    return torch.where(found[0] == -found[1], found[0], 0.0)


def function(call: Call, tensors: Sequence[Tensor], unit: Position, output: int, roundoff: float) -> Account:
    """Any other operation, done once more in float64; its gradient says which numbers go in, and how much each counts."""
    inputs, results = differentiable(call, tensors)
    result = results[output][unit]
    candidates = []
    for source, (tensor, gradient) in enumerate(zip(inputs, gradients(result, inputs), strict=True)):
        if gradient is not None:
            places = gradient.nonzero()
            values, slopes = tensor.detach()[tuple(places.T)], gradient[tuple(places.T)]
            candidates += [(source, *row) for row in zip(places.tolist(), values.tolist(), slopes.tolist(), strict=True)]
    candidates.sort(key=lambda each: -abs(each[2] * each[3]))
    terms = tuple(Term(source, tuple(place), value) for source, place, value, _ in candidates[:MOST_TERMS])
    total = number(result)
    absolute = sum(abs(value * slope) for _, _, value, slope in candidates) + abs(total)
    # To first order: each number and the result may be off by the roundings of a sum over all.
    bound = rounding_error(len(candidates) + 16, roundoff + DOUBLE) * absolute
    return Account(f"{call.operation} of {len(candidates)} numbers", total, absolute, bound, None, None, terms, len(candidates))


def differentiable(call: Call, tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The inputs as leaves of a graph of gradients, and what comes out for them: in float64 where the operation takes that.

    A module that was seen only as a whole holds weights of its own type.
    """
    for dtype in (torch.float64, None):
        inputs = [
            each.detach().to("cpu", dtype or each.dtype, copy=True).requires_grad_() if each.is_floating_point() else each.cpu()
            for each in tensors
        ]
        copies = [each.clone() if each.requires_grad else each for each in inputs]  # a leaf must not be changed in place
        try:
            with torch.enable_grad():
                if dtype is not None:
                    return inputs, rerun(call, copies)
                args, kwargs = call.arguments(copies)
                return inputs, outputs_of(call.function(*args, **kwargs), args)
        except RuntimeError:
            if dtype is None:
                raise
    raise AssertionError("the last type either works or raises")


def gradients(result: Tensor, inputs: Sequence[Tensor]) -> list[Tensor | None]:
    """Of a number with respect to each input; None where it does not depend on it."""
    varying = [each for each in inputs if each.requires_grad]
    found = iter(torch.autograd.grad(result, varying, allow_unused=True) if result.requires_grad else [])
    return [next(found, None) if each.requires_grad else None for each in inputs]


def rerun(call: Call, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The outputs for other tensors; parameters and buffers in float64, and safe from being written to."""
    args, kwargs = tree_map(
        lambda each: (
            each.detach().to("cpu", torch.float64, copy=True) if isinstance(each, Tensor) and each.is_floating_point() else each
        ),
        (call.args, dict(call.kwargs)),
    )
    placed = Call(call.operation, call.function, args, kwargs, call.inputs, call.module, call.label)
    args, kwargs = placed.arguments(tensors)
    return outputs_of(call.function(*args, **kwargs), args)


def outputs_of(result: Any, args: Sequence[Any]) -> list[Tensor]:
    """The tensors that were returned; of an assignment to a part of a tensor, that tensor."""
    return [each for each in tree_leaves(result) if isinstance(each, Tensor)] or [args[0]]
