"""The arithmetic of a layer written out, with the numbers put in: ``⌊(224 + 2·3 - 7) / 2⌋ + 1 = 112``."""

from __future__ import annotations

from math import prod

from striate.arithmetic.counts import Convolution, Dense, Elementwise, Layer, Pooling, TransposedConvolution
from striate.arithmetic.sizes import Axis, Shape, axes, pair


def size_formula(layer: Layer, shape: Shape) -> str:
    """How the output's height and width follow from the input's; ``""`` where there is nothing to compute."""
    height, width = layer.output(shape)[1:]
    match layer:
        case Convolution() | Pooling():
            stride = layer.steps if isinstance(layer, Pooling) else layer.stride
            windows = axes(shape[1:], layer.kernel, stride, layer.padding, layer.dilation)
            both = [_slide(axis, count, layer.rounding) for axis, count in zip(windows, (height, width), strict=True)]
        case TransposedConvolution(padding="same"):
            both = [f"{n}·{stride} = {n * stride}" for n, stride in zip(shape[1:], pair(layer.stride, "stride"), strict=True)]
        case TransposedConvolution():
            windows = axes(shape[1:], layer.kernel, layer.stride, layer.padding, layer.dilation)
            extras = pair(layer.output_padding, "output_padding", 0)
            both = [_spread(axis, extra, count) for axis, extra, count in zip(windows, extras, (height, width), strict=True)]
        case _:
            return ""
    return both[0] if both[0] == both[1] else f"{both[0]} high, {both[1]} wide"


def _slide(axis: Axis, count: int, rounding: str) -> str:
    room = f"({axis.length}{_padding(axis, '+')} - {_span(axis)}) / {axis.stride}"
    if axis.room % axis.stride:
        room = f"⌈{room}⌉" if rounding == "ceil" else f"⌊{room}⌋"
    # Ceil mode takes back a window that would start behind the input, in the padding.
    taken_back = rounding == "ceil" and count == -(-axis.room // axis.stride)
    return f"{room}{'' if taken_back else ' + 1'} = {count}"


def _spread(axis: Axis, extra: int, count: int) -> str:
    more = f" + {extra}" if extra else ""
    return f"({axis.length} - 1)·{axis.stride} + {_span(axis)}{_padding(axis, '-')}{more} = {count}"


def _span(axis: Axis) -> str:
    return str(axis.kernel) if axis.dilation == 1 else f"({axis.dilation}·({axis.kernel} - 1) + 1)"


def _padding(axis: Axis, sign: str) -> str:
    if axis.before == axis.after:
        return f" {sign} 2·{axis.before}" if axis.before else ""
    return f" {sign} {axis.before} {sign} {axis.after}"


def parameter_formula(layer: Layer, shape: Shape) -> str:
    """How the parameters come together, without their number; ``""`` where there are none."""
    match layer:
        case Convolution(links=int(links)):
            return f"{links}·{_product(pair(layer.kernel, 'kernel'))}" + (f" + {layer.filters}" if layer.bias else "")
        case Convolution() | TransposedConvolution():
            return _a_unit(layer.filters, (shape[0] // layer.groups, *pair(layer.kernel, "kernel")), layer.bias)
        case Dense():
            return _a_unit(layer.units, shape if prod(shape[1:]) > 1 else shape[:1], layer.bias)
        case Pooling(trainable=True) | Elementwise(trainable=True):
            return f"2·{shape[0]}"
    return ""


def _a_unit(units: int, factors: tuple[int, ...], bias: bool) -> str:
    """``16·(6·5·5 + 1)``."""
    return f"{units}·({_product(factors)} + 1)" if bias else f"{units}·{_product(factors)}"


def _product(factors: tuple[int, ...]) -> str:
    return "·".join(map(str, factors))
