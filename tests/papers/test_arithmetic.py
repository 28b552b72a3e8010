"""Property tests: our integers against what PyTorch makes of the same layers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from math import prod
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from striate.arithmetic import (
    Axis,
    Convolution,
    Dense,
    DoesNotFit,
    Elementwise,
    GlobalPooling,
    Layer,
    Pooling,
    TransposedConvolution,
    axes,
    chain,
    dense_equivalent,
    output_size,
    pair,
    parameter_formula,
    receptive_fields,
    size_formula,
    transposed_output_size,
    unread,
)
from striate.errors import UsageError
from striate.layers import LinkedConv2d, Subsampling, arithmetic_of

small = st.integers(1, 4)
pairs = small | st.tuples(small, small)
sizes = st.tuples(st.integers(1, 20), st.integers(1, 20))
sides = st.integers(0, 4)
paddings = sides | st.tuples(sides, sides) | st.tuples(sides, sides, sides, sides)


def for_any(*drawn: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Hypothesis without a time limit: a loaded machine is no counterexample."""
    return lambda test: settings(deadline=None)(given(*drawn)(test))


def refused(call: Callable[[], Any]) -> bool:
    try:
        call()
    except (RuntimeError, UsageError):
        return True
    return False


def padded(x: Tensor, padding: Any) -> Tensor:
    """``x`` with what ``padding`` (an integer, a pair, four sides) adds, by PyTorch's own padding."""
    top, bottom, left, right = padding if isinstance(padding, tuple) and len(padding) == 4 else two(padding, doubled=True)
    return F.pad(x, (left, right, top, bottom))


def two(value: Any, doubled: bool = False) -> tuple[int, ...]:
    vertical, horizontal = (value, value) if isinstance(value, int) else value
    return (vertical, vertical, horizontal, horizontal) if doubled else (vertical, horizontal)


@for_any(sizes, pairs, pairs, paddings, pairs)
def test_convolution(size: tuple[int, int], kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
    def reference() -> tuple[int, ...]:
        return F.conv2d(
            padded(torch.zeros(1, 1, *size), padding), torch.zeros(1, 1, *two(kernel)), stride=stride, dilation=dilation
        ).shape[2:]

    def ours() -> tuple[int, int]:
        return output_size(size, kernel, stride, padding, dilation)

    if refused(reference):
        with pytest.raises(DoesNotFit, match="does not fit"):
            ours()
    else:
        assert ours() == tuple(reference())


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@for_any(sizes, pairs, pairs)
def test_same_padding_as_pytorch_where_it_has_it(size: tuple[int, int], kernel: Any, dilation: Any) -> None:
    reference = F.conv2d(torch.zeros(1, 1, *size), torch.zeros(1, 1, *two(kernel)), padding="same", dilation=dilation).shape[2:]
    assert output_size(size, kernel, padding="same", dilation=dilation) == tuple(reference) == size


@for_any(sizes, pairs, pairs, pairs)
def test_same_padding_with_a_stride(size: tuple[int, int], kernel: Any, stride: Any, dilation: Any) -> None:
    """Size over stride, rounded up, by the least padding, the odd pixel at the end."""
    out = output_size(size, kernel, stride, "same", dilation)
    assert out == tuple(-(-n // s) for n, s in zip(size, two(stride), strict=True))
    rows, columns = axes(size, kernel, stride, "same", dilation)
    sides = (rows.before, rows.after, columns.before, columns.after)
    reference = F.conv2d(
        padded(torch.zeros(1, 1, *size), sides), torch.zeros(1, 1, *two(kernel)), stride=stride, dilation=dilation
    )
    assert tuple(reference.shape[2:]) == out
    for axis in (rows, columns):
        assert 0 <= axis.after - axis.before <= 1
        if axis.after:
            less = Axis(axis.length, axis.kernel, axis.stride, axis.dilation, axis.before, axis.after - 1)
            assert less.room // axis.stride + 1 < -(-axis.length // axis.stride)


@for_any(sizes, pairs, pairs, st.integers(0, 2), pairs, st.booleans())
def test_pooling(size: tuple[int, int], kernel: Any, stride: Any, padding: int, dilation: Any, ceil: bool) -> None:
    assume(2 * padding <= min(two(kernel)))  # PyTorch refuses more, whatever the sizes

    def reference() -> tuple[int, ...]:
        return F.max_pool2d(torch.zeros(1, 1, *size), kernel, stride, padding, dilation, ceil).shape[2:]

    def ours() -> tuple[int, int]:
        return output_size(size, kernel, stride, padding, dilation, "ceil" if ceil else "floor")

    if refused(reference):
        with pytest.raises(DoesNotFit):
            ours()
    else:
        assert ours() == tuple(reference())


@for_any(sizes, pairs, pairs, sides, pairs, sides)
def test_transposed_convolution(size: tuple[int, int], kernel: Any, stride: Any, padding: int, dilation: Any, extra: int) -> None:
    def reference() -> tuple[int, ...]:
        x, weight = torch.zeros(1, 1, *size), torch.zeros(1, 1, *two(kernel))
        return F.conv_transpose2d(x, weight, None, stride, padding, extra, 1, dilation).shape[2:]

    def ours() -> tuple[int, int]:
        return transposed_output_size(size, kernel, stride, padding, dilation, extra)

    if refused(reference) or 0 in reference():  # torch lets an output of no pixels pass
        assert refused(ours)
    else:
        assert ours() == tuple(reference())


@for_any(sizes, pairs, pairs, paddings, pairs)
def test_a_transposed_convolution_undoes_the_size_of_a_strict_one(
    size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> None:
    try:
        out = output_size(size, kernel, stride, padding, dilation, "strict")
    except DoesNotFit:
        return
    assert transposed_output_size(out, kernel, stride, padding, dilation) == size


@for_any(sizes, st.integers(1, 4), st.integers(1, 4))
def test_transposed_same_padding_multiplies(size: tuple[int, int], kernel: int, stride: int) -> None:
    if kernel >= stride:
        assert transposed_output_size(size, kernel, stride, "same") == (size[0] * stride, size[1] * stride)
    else:
        with pytest.raises(DoesNotFit, match="reach"):
            transposed_output_size(size, kernel, stride, "same")


@for_any(sizes, small, small, sides, small)
def test_unread_pixels_are_those_without_a_gradient(
    size: tuple[int, int], kernel: int, stride: int, padding: int, dilation: int
) -> None:
    image = torch.zeros(1, 1, *size, requires_grad=True)
    try:
        rows, columns = unread(size, kernel, stride, padding, dilation)
    except DoesNotFit:
        assume(False)
    out = F.conv2d(image, torch.ones(1, 1, kernel, kernel), None, stride, padding, dilation).sum()
    touched = torch.autograd.grad(out, image)[0][0, 0] > 0
    expected = torch.ones(size, dtype=torch.bool)
    expected[list(rows)], expected[:, list(columns)] = False, False
    assert torch.equal(touched, expected)


@for_any(sizes, pairs, pairs, paddings, pairs)
def test_strict_raises_exactly_where_a_remainder_is_left(
    size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> None:
    """A strict output, scaled back, fills the padded input to the last pixel."""
    both = axes(size, kernel, stride, padding, dilation)
    fits = all(axis.room >= 0 and axis.room % axis.stride == 0 for axis in both)
    assert fits != refused(lambda: output_size(size, kernel, stride, padding, dilation, "strict"))
    if fits:
        assert output_size(size, kernel, stride, padding, dilation, "strict") == output_size(
            size, kernel, stride, padding, dilation
        )


def test_what_does_not_fit_says_so_and_what_to_do() -> None:
    with pytest.raises(DoesNotFit) as error:
        output_size(7, 3, 3, rounding="strict")
    assert error.value.what == "7x7 with 3x3 at stride 3 does not fit"
    assert error.value.why == "(7 + 0 - 3) / 3 + 1 = 2.333 is not a whole number"
    assert error.value.fix == "take a stride that divides 4, or pad by 2 pixels more in all"
    assert output_size(7, 3, 3, (2, 0, 1, 1), rounding="strict") == (3, 3)
    assert unread(7, 3, 3) == ((6,), (6,))
    with pytest.raises(DoesNotFit, match="the window spans 5 pixels, the input with its padding 3 \\+ 0"):
        output_size((9, 3), 5)


@pytest.mark.parametrize(
    "arguments", [{"size": 0}, {"kernel": 0}, {"stride": 0}, {"dilation": 0}, {"padding": -1}, {"padding": "full"}]
)
def test_impossible_arguments_are_named(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(arguments))):
        output_size(**{"size": 8, "kernel": 3, **arguments})


@st.composite
def modules(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, int, int]]:
    """A layer of PyTorch's or ours, and a shape it takes."""
    groups, height, width = draw(small), draw(st.integers(10, 16)), draw(st.integers(10, 16))
    channels, filters = groups * draw(small), groups * draw(small)
    kernel, stride, dilation = draw(st.integers(2, 4)), draw(small), draw(st.integers(1, 2))
    padding, bias, ceil = draw(st.integers(0, 1)), draw(st.booleans()), draw(st.booleans())
    links = [[0, channels - 1] if channels > 1 else [0], [0]]
    makers: list[Callable[[], nn.Module]] = [
        lambda: nn.Conv2d(channels, filters, kernel, stride, padding, dilation, groups, bias),
        lambda: nn.Conv2d(channels, filters, kernel, 1, "same", dilation, groups, bias),
        lambda: nn.ConvTranspose2d(channels, filters, kernel, stride, padding, 0, groups, bias, dilation),
        lambda: nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil),
        lambda: nn.AvgPool2d(kernel, stride, padding, ceil),
        lambda: LinkedConv2d(links, channels, kernel),
        lambda: Subsampling(channels),
        lambda: nn.Linear(channels, filters, bias),
    ]
    maker = draw(st.sampled_from(makers))
    module = maker()
    return module, (channels, 1, 1) if isinstance(module, nn.Linear) else (channels, height, width)


@for_any(modules())
def test_a_module_is_its_arithmetic(drawn: tuple[nn.Module, tuple[int, int, int]]) -> None:
    module, shape = drawn
    layer = arithmetic_of(module)
    assert layer is not None
    x = torch.zeros(1, shape[0]) if isinstance(module, nn.Linear) else torch.zeros(1, *shape)
    assert layer.neurons(shape) == module(x).numel()
    assert layer.output(shape)[: module(x).dim() - 1] == tuple(module(x).shape[1:])
    assert layer.parameters(shape) == sum(parameter.numel() for parameter in module.parameters())


@for_any(small, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(5, 7))
def test_macs_and_dense_equivalent_against_the_matrix(
    filters: int, groups: int, kernel: int, stride: int, dilation: int, side: int
) -> None:
    """As a matrix, an unpadded convolution has one non-zero entry for each multiply-accumulate."""
    channels, filters = 2 * groups, filters * groups
    layer = Convolution(filters, kernel, stride, dilation=dilation, groups=groups, bias=False)
    weight = torch.ones(filters, 2, kernel, kernel)
    pixels = torch.eye(channels * side * side).view(-1, channels, side, side)
    matrix = F.conv2d(pixels, weight, None, stride, 0, dilation, groups).flatten(1)
    shape = (channels, side, side)
    assert layer.macs(shape) == layer.connections(shape) == int(matrix.count_nonzero())
    assert dense_equivalent(layer, shape).weights(shape) == matrix.numel()


@st.composite
def chains(draw: st.DrawFn) -> list[Layer]:
    layers: list[Layer] = []
    for _ in range(draw(st.integers(1, 3))):
        kernel, stride, padding = draw(pairs), draw(pairs), draw(sides)
        if draw(st.booleans()):
            layers.append(Convolution(1, kernel, stride, padding, draw(pairs), bias=False))
        else:
            layers.append(Pooling(kernel, stride, min(padding, min(two(kernel)) // 2)))
    return layers


@for_any(chains(), st.tuples(st.integers(12, 30), st.integers(12, 30)), st.data())
def test_receptive_field_is_where_the_gradient_is(layers: list[Layer], size: tuple[int, int], data: st.DataObject) -> None:
    try:
        rows = chain((1, *size), layers)
    except DoesNotFit:
        assume(False)
    x = image = torch.zeros(1, 1, *size, requires_grad=True)
    for layer in layers:
        if isinstance(layer, Convolution):
            kernel = torch.ones(1, 1, *pair(layer.kernel, "kernel"))
            x = F.conv2d(x, kernel, None, layer.stride, layer.padding, layer.dilation)
        elif isinstance(layer, Pooling):
            x = F.avg_pool2d(x, layer.kernel, layer.stride, layer.padding)  # type: ignore[arg-type]
    assert tuple(x.shape[1:]) == rows[-1].output
    row, column = (data.draw(st.integers(0, n - 1)) for n in rows[-1].output[1:])
    gradient = torch.autograd.grad(x[0, 0, row, column], image)[0][0, 0]
    field = receptive_fields((1, *size), layers)[-1]
    for axis, (first, last) in enumerate(field.part(row, column)):
        touched = torch.nonzero(gradient.amax(1 - axis)).flatten().tolist()
        assert all(first <= pixel < last for pixel in touched)
        other = field.part(row, column)[1 - axis]
        if first >= 0 and last <= size[axis] and other[0] >= 0 and other[1] <= size[1 - axis]:
            assert (touched[0], touched[-1] + 1) == (first, last)


def test_receptive_fields_of_lenet5() -> None:
    """Each output of the last convolution sees the whole image, and so does each neuron behind it."""
    layers = [Convolution(6, 5), Pooling(2), Convolution(16, 5), Pooling(2), Convolution(120, 5), Dense(84)]
    fields = receptive_fields((1, 32, 32), layers)
    assert [field.size[0] for field in fields] == [5, 6, 14, 16, 32, 32]
    assert [field.jump[0] for field in fields[:5]] == [1, 2, 2, 4, 4]
    with pytest.raises(UsageError, match="TransposedConvolution"):
        receptive_fields((1, 8, 8), [TransposedConvolution(1, 2, 2)])


def test_a_chain_names_the_layer_that_does_not_fit() -> None:
    with pytest.raises(DoesNotFit) as error:
        chain((1, 10, 10), [Convolution(4, 5), Pooling(2), Convolution(8, 5)])
    assert str(error.value.where).startswith("layer 3: Convolution(filters=8, kernel=5")
    assert error.value.what == "3x3 with 5x5 at stride 1 does not fit"


def test_groups_that_do_not_divide_are_refused() -> None:
    for layer in (Convolution(6, 3, groups=4), TransposedConvolution(6, 3, groups=4)):
        with pytest.raises(UsageError, match="4 groups do not divide 8 channels and 6 filters"):
            layer.parameters((8, 9, 9))


def test_trainable_subsampling_counts_as_lecun_did() -> None:
    """A coefficient and a bias a map; each unit has its four pixels and a bias."""
    layer, shape = Pooling(2, trainable=True), (6, 28, 28)
    assert layer.parameters(shape) == 2 * 6
    assert layer.connections(shape) == 6 * 14 * 14 * (4 + 1)
    assert Pooling(2).connections(shape) == prod((6, 14, 14)) * 4
    assert Pooling(2).parameters(shape) == Pooling(2).macs(shape) == 0


def test_layers_that_keep_or_end_the_map() -> None:
    """A neuron behind global pooling sees what all of its channel sees; an activation sees what its input does."""
    layers = [Convolution(8, 3), Elementwise(trainable=True), Elementwise(), Pooling(2), GlobalPooling(), Dense(10)]
    rows = chain((3, 10, 10), layers)
    assert [row.output for row in rows[:3]] == [(8, 8, 8)] * 3
    assert rows[4].output == (8, 1, 1)
    assert [row.parameters for row in rows[1:5]] == [2 * 8, 0, 0, 0]
    assert [row.neurons for row in rows[1:3]] == [row.connections for row in rows[1:3]] == [0, 0]
    assert rows[4].connections == prod(rows[3].output)
    fields = receptive_fields((3, 10, 10), layers)
    assert fields[0] == fields[1] == fields[2]
    assert [field.size for field in fields[3:]] == [(4, 4), (10, 10), (10, 10)]


def test_a_chain_tells_what_is_never_read() -> None:
    rows = chain((1, 13, 12), [Pooling(2), Convolution(1, 1, 3)])
    assert [row.unread for row in rows] == [((12,), ()), ((1, 2, 4, 5), (1, 2, 4, 5))]


SIGNS = {"⌊": "math.floor(", "⌋": ")", "⌈": "math.ceil(", "⌉": ")", "·": "*"}


def computed(formula: str) -> tuple[int, int]:
    """(computed, claimed) of ``⌊(7 - 3) / 2⌋ + 1 = 3``."""
    left, right = formula.split(" = ")
    value = eval("".join(SIGNS.get(sign, sign) for sign in left), {"math": math})
    return value, int(right)


@for_any(sizes, pairs, pairs, paddings | st.just("same"), pairs, st.sampled_from(["floor", "ceil"]))
def test_formulas_compute_what_they_say(size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, rounding: Any) -> None:
    layers: list[Layer] = [
        Convolution(6, kernel, stride, padding, dilation, 2, rounding=rounding),
        Convolution(6, kernel, stride, padding, dilation, links=9),
        Pooling(kernel, stride, padding, dilation, rounding, trainable=True),
        TransposedConvolution(6, kernel, stride, padding, dilation, 2, bias=False),
        Dense(5),
    ]
    for layer in layers:
        try:
            out = layer.output((4, *size))
        except DoesNotFit:
            continue
        if formula := size_formula(layer, (4, *size)):
            both = [re.sub(" (high|wide)$", "", part) for part in formula.split(", ")]
            assert [computed(part) for part in both] in ([(n, n) for n in out[1:]], [(out[1], out[1])])
        parameters = layer.parameters((4, *size))
        assert computed(f"{parameter_formula(layer, (4, *size))} = {parameters}") == (parameters, parameters)
