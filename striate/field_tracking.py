"""The receptive field of every tensor of a run, where all ways from the image to it agree."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from striate.arithmetic import Convolution, Layer, Pooling, ReceptiveField

_aten = torch.ops.aten
_STAY = {
    _aten.cat.default,
    _aten.clone.default,
    _aten.constant_pad_nd.default,
    _aten.hardsigmoid.default,
    _aten.hardswish.default,
    _aten.hardswish_.default,
    _aten.hardtanh.default,
    _aten.hardtanh_.default,
    _aten.split.Tensor,
    _aten.split_with_sizes.default,
    _aten.stack.default,
    _aten._unsafe_view.default,
    _aten.view.default,
}
"""Operations that leave each pixel where it is, as long as the last two dimensions stay."""


_REORDER = {_aten.permute.default, _aten.transpose.int}
_POOLS = {_aten.max_pool2d_with_indices.default, _aten.avg_pool2d.default}


class _Known(NamedTuple):
    """A field, and the dimensions along which its pixels lie."""

    field: ReceptiveField
    height: int
    width: int


class FieldTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, a tensor that is made from known ones pixel by pixel becomes known, too.

    Layers with windows are told by :meth:`pass_through`. Branches that meet, in a sum or side by side, see what any of them
    sees; where their pixels lie apart by different strides, nothing is known from there on. A mean over the whole map sees the
    whole image, and so does what it scales: its ``jump`` is 0, for its neighbour sees the same.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: to keep the compiler off what is never compiled, PyTorch would load all of it, which takes many seconds."""
        return False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: MutableMapping[Tensor, _Known] = WeakTensorKeyDictionary()
        self._whole = ReceptiveField()

    def start(self, image: Tensor) -> None:
        """Makes the image [1, C, H, W] known: each pixel sees itself."""
        self._whole = ReceptiveField((image.shape[2], image.shape[3]), (0, 0), (0, 0))
        self._set(image, ReceptiveField())

    def of(self, tensor: Tensor) -> ReceptiveField | None:
        """The field of one pixel; None where it is not known."""
        known = self._known.get(tensor)
        return None if known is None else known.field

    def pass_through(self, module: nn.Module, layer: Layer | None, x: Tensor, out: Tensor) -> None:
        """Tells of a module without parts that has run; ``layer`` is what it is in terms of sizes, if that is known."""
        known = self._known.get(x)
        if isinstance(layer, Convolution | Pooling) and x.dim() == 4:
            self._set(out, known and known.field.through(layer, (x.shape[1], x.shape[2], x.shape[3])))
        elif known is not None and _reads_single_pixels(module, x.dim() - 1 - max(known.height, known.width)):
            self._known[out] = known

    def _set(self, tensor: Tensor, field: ReceptiveField | None) -> None:
        if field is None:
            self._known.pop(tensor, None)
        else:
            self._known[tensor] = _Known(field, tensor.dim() - 2, tensor.dim() - 1)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs = [each for each in tree_leaves(args) if isinstance(each, Tensor) and each.dim() >= 4]
        if not inputs:
            return out
        known: _Known | None = self._known.get(inputs[0])
        if known is not None and func in _REORDER:
            order = _order(inputs[0].dim(), *args[1:])
            self._known[out] = _Known(known.field, order.index(known.height), order.index(known.width))
        elif known is not None and func is _aten.slice.Tensor:
            self._known[out] = _slice(known, *args[1:])
        elif known is not None and func in _POOLS:
            layer = _pooling(func is _aten.avg_pool2d.default, *args[1:])
            x, made = inputs[0], out if isinstance(out, Tensor) else out[0]
            self._set(made, known.field.through(layer, (x.shape[1], x.shape[2], x.shape[3])))
        elif known is not None and func is _aten.mean.dim and out.shape[-2:] == (1, 1):
            self._set(out, self._whole)
        elif known is not None and func is _aten.native_layer_norm.default and inputs[0].dim() - len(args[1]) > known.width:
            self._known[out[0]] = known
        elif func in _STAY or torch.Tag.pointwise in func.tags:
            for each in tree_leaves(out):
                if isinstance(each, Tensor) and each.dim() >= 4:
                    self._combine(inputs, each)
        return out

    def _combine(self, inputs: Sequence[Tensor], out: Tensor) -> None:
        known = [self._known[each] for each in inputs if each in self._known]
        if len(known) < len(inputs) or len({each[1:] for each in known}) > 1:
            self._set(out, None)
            return
        height, width = known[0].height - inputs[0].dim(), known[0].width - inputs[0].dim()
        sizes = {(each.shape[height], each.shape[width]) for each in inputs}
        if sizes - {(1, 1)} <= {(out.shape[height], out.shape[width])} and (field := _union([each.field for each in known])):
            self._known[out] = _Known(field, height + out.dim(), width + out.dim())
        else:
            self._set(out, None)


def _order(count: int, *dimensions: Any) -> list[int]:
    """Which dimension comes where: all of them in one list, or the two that change places."""
    if len(dimensions) == 1:
        return [dimension % count for dimension in dimensions[0]]
    order, (first, second) = list(range(count)), dimensions
    order[first], order[second] = order[second], order[first]
    return order


def _pooling(average: bool, kernel: Any, stride: Any = (), padding: Any = 0, *rest: Any) -> Pooling:
    """What is asked of PyTorch's operation, whose fifth argument is the dilation unless it averages."""
    dilation = 1 if average or not rest else rest[0]
    return Pooling(_pair(kernel), _pair(stride or kernel), _pair(padding), _pair(dilation))


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _slice(known: _Known, dimension: int = 0, start: int | None = None, _end: int | None = None, step: int = 1) -> _Known:
    """Every ``step``-th row or column from ``start`` on."""
    jump, offset = list(known.field.jump), list(known.field.offset)
    if dimension in known[1:]:
        axis = known[1:].index(dimension)
        offset[axis] += (start or 0) * jump[axis]
        jump[axis] *= step
    return known._replace(field=ReceptiveField(known.field.size, (jump[0], jump[1]), (offset[0], offset[1])))


def _reads_single_pixels(module: nn.Module, dimensions_after: int) -> bool:
    """Whether no output depends on more than one pixel, so many dimensions lying behind those of the pixels."""
    if isinstance(module, nn.Linear):
        return dimensions_after >= 1
    if isinstance(module, nn.LayerNorm):
        return dimensions_after >= len(module.normalized_shape)
    return isinstance(module, nn.modules.batchnorm._NormBase | nn.LocalResponseNorm | nn.Dropout | nn.Identity)


def _union(fields: Sequence[ReceptiveField]) -> ReceptiveField | None:
    """What any of the fields covers; None where they move at different strides."""
    for field in fields:
        if field.jump == (0, 0):
            return field
    if len({field.jump for field in fields}) > 1:
        return None
    starts = [min(field.offset[axis] for field in fields) for axis in (0, 1)]
    ends = [max(field.offset[axis] + field.size[axis] for field in fields) for axis in (0, 1)]
    return ReceptiveField((ends[0] - starts[0], ends[1] - starts[1]), fields[0].jump, (starts[0], starts[1]))
