"""Tells a :class:`striate.field_tracking.FieldTracker` of operations with windows, whatever module calls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from striate.arithmetic import Convolution, Layer, Pooling
from striate.field_tracking import FieldTracker
from striate.look.windows import Sliding, courses

_NO_WINDOW = nn.Identity()
_DENSE = nn.Linear(1, 1)
_BY_PIXEL: dict[str, nn.Module] = {"batch_norm": _NO_WINDOW, "local_response_norm": _NO_WINDOW, "linear": _DENSE}
"""A layer of the kind that reads one pixel for each of its outputs."""


def tell_fields(fields: FieldTracker, name: str, given: Mapping[str, Any], out: Tensor) -> None:
    """After each operation, with its arguments by name."""
    x = given.get("input")
    if not isinstance(x, Tensor):
        return
    if name in _BY_PIXEL:
        fields.pass_through(_BY_PIXEL[name], None, x, out)
    elif (layer := _layer(name, given, x, out)) is not None:
        fields.pass_through(_NO_WINDOW, layer, x, out)


def _layer(name: str, given: Mapping[str, Any], x: Tensor, out: Tensor) -> Layer | None:
    """A convolution, a pooling or a padding of two dimensions in terms of sizes; None where it is none that can be said so."""
    if name == "pad":
        sides = (*given["pad"], 0, 0)[:4]
        if len(given["pad"]) > 4 or min(sides) < 0:
            return None
        left, right, top, bottom = sides
        return Pooling(1, 1, (top, bottom, left, right))
    if name.startswith("adaptive") and name.endswith("2d"):
        (height, width), (rows, columns) = x.shape[-2:], out.shape[-2:]
        if height % rows or width % columns:
            return None
        return Pooling((height // rows, width // columns)) if rows * columns > 1 else None
    if name in ("conv2d", "max_pool2d", "avg_pool2d"):
        rows_axis, columns_axis = courses(name, given, x.shape, out.shape)
        if isinstance(rows_axis, Sliding) and isinstance(columns_axis, Sliding):
            kernel, stride, dilation = zip(
                *((axis.kernel, axis.stride, axis.dilation) for axis in (rows_axis, columns_axis)), strict=True
            )
            padding = (rows_axis.before, rows_axis.after, columns_axis.before, columns_axis.after)
            return Convolution(1, kernel, stride, padding, dilation, rounding="ceil")
    return None
