"""Which region of its inputs an operation reads for a region of its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from striate.look.operations import kind_of, per_axis, spatial
from striate.look.pixel_terms import differentiable, gradients, moves, outputs_of
from striate.look.recording import Call
from striate.look.windows import Course, Transposed, courses

Region = tuple[tuple[int, int], ...]
"""Half-open (first, last + 1) in each dimension of a tensor, batch included."""


def reads(call: Call, tensors: Sequence[Tensor], output: int, region: Region) -> list[Region | None]:
    """One region an input; None: nothing of it.

    Args:
        call: the operation.
        tensors: its inputs.
        output: which of its outputs.
        region: in that.
    """
    kind, name = kind_of(call.operation), call.operation
    given = call.named(tensors)
    x = given.get("input")
    if isinstance(x, Tensor) and len(tensors) == 1:
        if kind == "maximum" or (kind == "weighted_sum" and name not in ("linear", "mean", "sum")):
            return [_window(name, given, x, call.shapes[output], region)]
        if name == "linear":
            return [(*region[:-1], (0, x.shape[-1]))]
        if name in ("mean", "sum"):
            return [_reduced(given, x, region)]
        if kind == "normalisation":
            return [_normalised(name, given, x, region)]
    if name == "cat":
        return _concatenated(given, tensors, region)
    if kind == "pointwise":
        return [_broadcast(region, tensor.shape) for tensor in tensors]
    if name == "stack":
        return _stacked(given, tensors, region)
    if kind == "moved":
        return _viewed(call, tensors, output, region) or _moved(call, tensors, output, region)
    return [_whole(tensor) for tensor in tensors] if name == "updated_view" else _dependent(call, tensors, output, region)


def _whole(tensor: Tensor) -> Region:
    return tuple((0, size) for size in tensor.shape)


def _window(name: str, given: Mapping[str, Any], x: Tensor, shape: Sequence[int], region: Region) -> Region | None:
    count = spatial(name)
    sides = [_along(course, *side) for course, side in zip(courses(name, given, x.shape, shape), region[-count:], strict=True)]
    channels, lead = region[-1 - count], region[: -1 - count]
    if name.startswith("conv"):
        groups = given.get("groups", 1)
        wide, filters = x.shape[-1 - count] // groups, shape[-1 - count] // groups
        channels = (channels[0] // filters * wide, ((channels[1] - 1) // filters + 1) * wide)
    found = [side for side in sides if side is not None]
    return (*lead, channels, *found) if len(found) == count else None


def _along(course: Course, first: int, stop: int) -> tuple[int, int] | None:
    """Inside the input alone: padding is no part of it."""
    outputs = range(first, stop) if isinstance(course, Transposed) else {first, stop - 1}
    places = [place for at in outputs for place, _ in course.reads(at)]
    if not places or max(places) < 0 or min(places) >= course.size:
        return None
    return max(min(places), 0), min(max(places) + 1, course.size)


def _reduced(given: Mapping[str, Any], x: Tensor, region: Region) -> Region:
    dims = given.get("dim", given.get("axis"))
    reduced = {each % x.dim() for each in (range(x.dim()) if dims in (None, ()) else per_axis(dims, 1))}
    kept = iter(region)
    sides = [next(kept) if given.get("keepdim") or each not in reduced else (0, 1) for each in range(x.dim())]
    return tuple((0, x.shape[each]) if each in reduced else side for each, side in enumerate(sides))


def _normalised(name: str, given: Mapping[str, Any], x: Tensor, region: Region) -> Region:
    """Itself with learnt statistics, else all that is normalised together."""
    if name == "layer_norm":
        alone = x.dim() - len(given["normalized_shape"])
        return (*region[:alone], *((0, size) for size in x.shape[alone:]))
    if given.get("running_mean") is not None and not given.get("training") and not given.get("use_input_stats"):
        return region
    wide = x.shape[1] // int(given["num_groups"]) if name == "group_norm" else 1
    channels = (region[1][0] // wide * wide, -(-region[1][1] // wide) * wide)
    batch = (0, x.shape[0]) if name == "batch_norm" else region[0]
    return (batch, channels, *((0, size) for size in x.shape[2:]))


def _concatenated(given: Mapping[str, Any], tensors: Sequence[Tensor], region: Region) -> list[Region | None]:
    along = int(given.get("dim", 0)) % len(region)
    found: dict[int, Region | None] = {}
    start = 0
    for piece in given["tensors"]:
        size = piece.shape[along]
        first, stop = max(region[along][0] - start, 0), min(region[along][1] - start, size)
        number = next((at for at, tensor in enumerate(tensors) if tensor is piece), None)
        if number is not None and first < stop:
            found[number] = (*region[:along], (first, stop), *region[along + 1 :])
        start += size
    return [found.get(number) for number in range(len(tensors))]


def _broadcast(region: Region, shape: Sequence[int]) -> Region:
    sides = region[len(region) - len(shape) :]
    return tuple((0, 1) if size == 1 else side for side, size in zip(sides, shape, strict=True))


def _stacked(given: Mapping[str, Any], tensors: Sequence[Tensor], region: Region) -> list[Region | None]:
    along = int(given.get("dim", 0)) % len(region)
    inside = {id(piece) for piece in given["tensors"][slice(*region[along])]}
    return [(*region[:along], *region[along + 1 :]) if id(tensor) in inside else None for tensor in tensors]


def _viewed(call: Call, tensors: Sequence[Tensor], output: int, region: Region) -> list[Region | None] | None:
    """Of an operation that only looks at the same memory in another way, as its strides say; None: it is none."""
    if (
        len(tensors) != 1
        or call.in_place
        or any(isinstance(each, Tensor) for each in tree_leaves((call.args, dict(call.kwargs))))
    ):
        return None
    blank = torch.empty(tensors[0].shape, device="meta")
    args, kwargs = call.arguments([blank])
    view = outputs_of(call.function(*args, **kwargs), args)[output]
    if view._base is not blank:
        return None
    if view.numel() == blank.numel() and region == _whole(view):
        return [_whole(blank)]
    return [_strided(view, blank, region) or _bounds(_places(view, blank, region))]


def _strided(view: Tensor, base: Tensor, region: Region) -> Region | None:
    """The region of the base where each dimension of the view runs along one of it; None where one runs along several."""
    start = [int(each) for each in torch.unravel_index(torch.tensor(view.storage_offset()), base.shape)]
    low, high, end = list(start), list(start), list(start)
    for (first, stop), size, stride in zip(region, view.shape, view.stride(), strict=True):
        if size == 1 or stride == 0:
            continue
        along = next(at for at, own in enumerate(base.stride()) if own <= stride and base.shape[at] > 1)
        step, rest = divmod(stride, base.stride()[along])
        if rest:
            return None
        for sides, at in ((low, first), (high, stop - 1), (end, size - 1)):
            sides[along] += at * step
    if any(last >= size for last, size in zip(end, base.shape, strict=True)):
        return None
    return tuple((first, last + 1) for first, last in zip(low, high, strict=True))


def _places(view: Tensor, base: Tensor, region: Region) -> Tensor:
    """[numbers of the region, dimensions of the base]."""
    places = torch.tensor(view.storage_offset())
    for (first, stop), stride in zip(region, view.stride(), strict=True):
        places = places[..., None] + torch.arange(first, stop) * stride
    return torch.stack(torch.unravel_index(places.reshape(-1), base.shape), 1)


def _moved(call: Call, tensors: Sequence[Tensor], output: int, region: Region) -> list[Region | None]:
    part = tuple(slice(*side) for side in region)
    places = moves(call, tensors, output)[part]
    found: list[Region | None] = []
    start = 1
    for tensor in tensors:
        mine = places[(places >= start) & (places < start + tensor.numel())].long() - start
        found.append(_bounds(torch.stack(torch.unravel_index(mine, tensor.shape), 1)) if mine.numel() else None)
        start += tensor.numel()
    return found


def _dependent(call: Call, tensors: Sequence[Tensor], output: int, region: Region) -> list[Region | None]:
    """Where the gradient of the region, its numbers weighted so that they do not cancel, is not zero."""
    inputs, results = differentiable(call, tensors)
    with torch.enable_grad():
        part = results[output][tuple(slice(*side) for side in region)]
        weights = torch.linspace(1.0, 2.0, part.numel(), dtype=part.dtype).reshape(part.shape)
        found = gradients((part * weights).sum(), inputs)
    return [None if each is None else _bounds(each.nonzero()) for each in found]


def _bounds(places: Tensor) -> Region | None:
    if not len(places):
        return None
    return tuple(zip(places.amin(0).tolist(), (places.amax(0) + 1).tolist(), strict=True))
