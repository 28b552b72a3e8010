"""An ONNX graph in int8 as ONNX Runtime reads it: QuantizeLinear and DequantizeLinear around what is to be computed in integers.

Weights int8 per output channel, symmetric, within 7 bits: processors without VNNI add two products in 16 bits, and with all 8
these saturate (a fourfold error was measured), so that what passes here would be another network elsewhere. Biases int32.
Activations uint8 per tensor, zero always exactly representable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

Floats = NDArray[np.float32]
Ranges = Mapping[str, tuple[float, float]]

WEIGHTED = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
"""Operators with weights, and which of their inputs these are."""
FLOAT_OUTPUT = {"Gemm", "MatMul"}
"""Their outputs are left as the float that the accumulators are scaled to."""
MOVING = {"Flatten", "MaxPool", "Reshape", "Transpose"}
"""They move numbers without changing them: input and output share a scale."""
COMPUTING = {"Add", "AveragePool", "Concat", "GlobalAveragePool", "Mul"}
BOUNDING = {"Clip", "Relu"}
LEVELS, MOST = 255, 64
SHARES = tuple(1 - i / 32 for i in range(13))
"""Of a channel's largest weight: the scales that are tried."""


@dataclass(frozen=True)
class Rounded:
    """Weights as they are stored.

    Attributes:
        values: int8, within -64..64, in the shape of the float weights.
        scale: float32 [channels].
        axis: of the output channels.
    """

    values: NDArray[np.int8]
    scale: Floats
    axis: int

    def floats(self) -> Floats:
        """What they stand for."""
        return self.values.astype(np.float32) * _along(self.scale, self.axis, self.values.ndim)


def weights_of(node: NodeProto) -> str | None:
    """Name of the tensor of an operator's weights, were it constant."""
    place = WEIGHTED.get(node.op_type)
    return node.input[place] if place is not None else None


def channel_axis(node: NodeProto, ndim: int) -> int:
    """Which axis of the weights is that of the output channels."""
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return 0 if node.op_type == "Conv" else ndim - 1


def attribute(node: NodeProto, name: str, default: int) -> int:
    """An integer attribute."""
    return next((entry.i for entry in node.attribute if entry.name == name), default)


def round_weights(weights: Floats, axis: int) -> Rounded:
    """To the nearest of 129 values a channel, at the scale of least mean square error: it may cut the largest weights off."""
    rows = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)
    widest = np.maximum(np.abs(rows).max(1, keepdims=True) / MOST, np.finfo(np.float32).tiny).astype(np.float32)
    scales = [widest * np.float32(share) for share in SHARES]
    errors = [np.square(np.rint(rows / scale).clip(-MOST, MOST) * scale - rows).sum(1) for scale in scales]
    scale = np.stack(scales)[np.argmin(errors, axis=0), np.arange(len(rows)), 0]
    values = np.rint(weights / _along(scale, axis, weights.ndim)).clip(-MOST, MOST).astype(np.int8)
    return Rounded(values, scale, axis)


def activation_scale(least: float, largest: float) -> tuple[np.float32, np.uint8]:
    """Step and zero point of a range that is widened to hold 0."""
    least, largest = min(least, 0.0), max(largest, 0.0)
    step = np.float32(max((largest - least) / LEVELS, 1e-12))
    return step, np.uint8(np.clip(np.rint(-least / step), 0, LEVELS))


def quantised(
    graph: ModelProto, ranges: Ranges, weights: Mapping[str, Rounded], biases: Mapping[str, Floats], inside: Iterable[str]
) -> ModelProto:
    """The graph with some of its nodes computed in int8.

    A layer that is not in ``weights`` is computed in float, and between two such ones nothing is rounded.

    Args:
        graph: float, of opset 13 or later; left as it is.
        ranges: least and largest value of each activation, by the tensor's name.
        weights: of each layer that is to be computed in int8, by the node's name.
        biases: that take the place of the layers' own, by the node's name.
        inside: names of the nodes that lie between layers and may be computed in int8 too.
    """
    model = ModelProto()
    model.CopyFrom(graph)
    return _Writer(model, ranges, weights, biases, set(inside)).write()


class _Writer:
    def __init__(
        self, model: ModelProto, ranges: Ranges, weights: Mapping[str, Rounded], biases: Mapping[str, Floats], inside: set[str]
    ) -> None:
        self.model, self.weights, self.biases = model, weights, biases
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.nodes = list(model.graph.node)
        self.outputs = {output.name for output in model.graph.output}
        self.scales = {name: activation_scale(*bounds) for name, bounds in ranges.items()}
        self.inside = {node.name for node in self.nodes if node.name in weights or (node.name in inside and self._can(node))}
        self.made: list[NodeProto] = []
        self.in_integers: set[str] = set()
        """Tensors that are rounded where they are made: who reads them reads what was rounded."""
        self.read: dict[str, str] = {}
        self.bounds = self._superfluous_bounds()

    def write(self) -> ModelProto:
        absorbed: set[str] = set()
        for node in self.nodes:
            if node.name in absorbed:
                continue
            if self._runs_in_integers(node):
                bound = self.bounds.get(node.name)
                absorbed |= {bound.name} if bound is not None else set()
                self._place_integer(node, bound or node)
            else:
                self._place_float(node)
        used = {name for node in self.made for name in node.input}
        tensors = [tensor for tensor in self.constants.values() if tensor.name in used]
        for field, values in (("node", self.made), ("initializer", tensors)):
            self.model.graph.ClearField(field)
            getattr(self.model.graph, field).extend(values)
        self.model.graph.ClearField("value_info")
        return self.model

    def _runs_in_integers(self, node: NodeProto) -> bool:
        """A layer that has been rounded; what only lies between, where all that it reads is rounded anyway."""
        if node.name not in self.inside:
            return False
        return node.name in self.weights or self.in_integers.issuperset(self._activations(node))

    def _can(self, node: NodeProto) -> bool:
        kinds = MOVING | COMPUTING | BOUNDING
        return node.op_type in kinds and all(name in self.scales for name in [*self._activations(node), *node.output])

    def _activations(self, node: NodeProto) -> list[str]:
        """What it computes with; of what only moves or bounds numbers, the numbers alone."""
        names = [name for name in node.input if name and name not in self.constants]
        return names[:1] if node.op_type in MOVING | BOUNDING else names

    def _superfluous_bounds(self) -> dict[str, NodeProto]:
        """Node -> the Relu or Clip behind it that does nothing more: what is rounded to that one's range ends within it."""
        readers = Counter(name for node in self.nodes for name in node.input)
        makers = {name: node for node in self.nodes for name in node.output}
        found: dict[str, NodeProto] = {}
        for node in self.nodes:
            maker = makers.get(node.input[0]) if node.op_type in BOUNDING and node.name in self.inside else None
            if maker is None or maker.op_type not in ("Conv", "Add") or maker.name not in self.inside:
                continue
            if readers[node.input[0]] == 1 and node.input[0] not in self.outputs and self._holds_zero(node):
                found[maker.name] = node
        return found

    def _holds_zero(self, node: NodeProto) -> bool:
        """Whether its bounds are constants on both sides of 0, to which every range is widened."""
        limits = [self.constants.get(name) for name in node.input[1:]]
        if any(limit is None for limit in limits):
            return False
        values = [float(numpy_helper.to_array(limit)) for limit in limits if limit is not None]
        return node.op_type == "Relu" or (len(values) == 2 and values[0] <= 0 <= values[1])

    def _place_integer(self, node: NodeProto, bound: NodeProto) -> None:
        """The node, with the output of the one that bounds it, or its own."""
        numbers = set(self._activations(node))
        inputs = [self._rounded(name) if name in numbers else name for name in node.input]
        if node.name in self.weights:
            inputs = self._with_weights(node, inputs)
        if node.op_type in MOVING:
            self.scales[node.output[0]] = self.scales[node.input[0]]
        self._keep(node, inputs, list(bound.output))
        if node.op_type not in FLOAT_OUTPUT and bound.output[0] in self.scales and bound.output[0] not in self.outputs:
            self.in_integers.add(bound.output[0])

    def _place_float(self, node: NodeProto) -> None:
        """A node as it is. What a layer reads in integers passes a maximum of one number first, which changes nothing:

        ONNX Runtime rounds float weights, with one scale for all channels, wherever a layer's input was dequantised and its
        output is quantised again (its transformer WeightBiasQuantization, since 1.21).
        """
        inputs = [self._rounded(name) if name in self.in_integers else name for name in node.input]
        if node.op_type in WEIGHTED and node.input[0] in self.in_integers:
            inputs[0] = self._add("Max", inputs[:1], f"{node.name}_input")
        self._keep(node, inputs)

    def _keep(self, node: NodeProto, inputs: list[str], outputs: list[str] | None = None) -> None:
        kept = NodeProto()
        kept.CopyFrom(node)
        del kept.input[:]
        kept.input.extend(inputs)
        if outputs is not None:
            del kept.output[:]
            kept.output.extend(outputs)
        self.made.append(kept)

    def _rounded(self, name: str) -> str:
        """The tensor after rounding, written at the first time."""
        if name not in self.read:
            step, zero = self.scales[name]
            given = [self._constant(f"{name}_scale", step), self._constant(f"{name}_zero_point", zero)]
            whole, self.read[name] = f"{name}_QuantizeLinear_Output", f"{name}_DequantizeLinear_Output"
            self._add("QuantizeLinear", [name, *given], whole)
            self._add("DequantizeLinear", [whole, *given], self.read[name])
        return self.read[name]

    def _with_weights(self, node: NodeProto, inputs: list[str]) -> list[str]:
        """The layer's inputs, weights and bias rounded."""
        weights, place = self.weights[node.name], WEIGHTED[node.op_type]
        inputs[place] = self._integers(f"{node.name}_weight", weights.values, weights.scale, weights.axis)
        bias = self.biases.get(node.name)
        if bias is None and len(node.input) > 2 and node.input[2] in self.constants:
            bias = numpy_helper.to_array(self.constants[node.input[2]])
        if bias is None:
            return inputs
        scale = self.scales[node.input[0]][0] * weights.scale
        whole = np.rint(bias / scale.astype(np.float64)).clip(-(2**31), 2**31 - 1).astype(np.int32)
        return [*inputs[:2], self._integers(f"{node.name}_bias", whole, scale, 0)]

    def _integers(self, name: str, values: NDArray[np.int8] | NDArray[np.int32], scale: Floats, axis: int) -> str:
        """A constant in integers, and what makes floats of it."""
        zeros = np.zeros(scale.shape, values.dtype)
        parts = (("quantized", values), ("scale", scale), ("zero_point", zeros))
        inputs = [self._constant(f"{name}_{part}", array) for part, array in parts]
        return self._add("DequantizeLinear", inputs, f"{name}_DequantizeLinear_Output", axis)

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def _add(self, kind: str, inputs: list[str], output: str, axis: int | None = None) -> str:
        made = onnx.helper.make_node(kind, inputs, [output], f"{output}_node")
        if axis is not None:
            made.attribute.append(onnx.helper.make_attribute("axis", axis))
        self.made.append(made)
        return output


def _along(scale: Floats, axis: int, ndim: int) -> Floats:
    return scale.reshape([-1 if i == axis else 1 for i in range(ndim)])
