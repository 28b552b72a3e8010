"""A model as an ONNX graph in int8: QuantizeLinear and DequantizeLinear around every layer, calibrated on the user's images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto
from onnx.numpy_helper import to_array

from striate.exporting.activations import Seen, observe, open_session
from striate.exporting.conversion import Order, Pair, onnx_graphs
from striate.exporting.onnx_file import join, pixels_graph, write_onnx
from striate.exporting.onnx_qdq import (
    LEVELS,
    WEIGHTED,
    Rounded,
    attribute,
    channel_axis,
    quantised,
    round_weights,
    weights_of,
)
from striate.exporting.quantising import Run, choose, describe_choice, nearest_to, read_all

RANGES = ("least error", "extremes")
"""Where activations begin and end: where rounding and cutting off together have the least mean square, or at the least and the
largest value. On MobileNet v2 the first leaves half the error of the second; on images unlike each other it need not."""


def write_onnx_int8(order: Order, pair: Pair) -> None:
    """The int8 tensor graph, and the image graph with that very graph in it.

    Raises:
        UsageError: what it takes is not installed.
        Undecided: there is no image to calibrate by.
    """
    assert order.calibration is not None
    graph, _, layers = onnx_graphs(order)
    images = read_all(order.calibration())
    own, seen = runner(graph), observe(graph, images)
    quantiser = nearest_to(own, [OnnxQuantiser(graph, images, ranges, seen) for ranges in RANGES], images)
    choice = choose(quantiser, own, images, order.graphs.decoder, order.progress, order.fallback)
    tensor = quantiser.quantised(frozenset(choice.in_float))
    made = {name for node in tensor.graph.node for name in node.output}
    read = {name: f"{name}_DequantizeLinear_Output" for _, name in layers}  # an activation is often computed by rounding alone
    remaining = [(path, read[name] if read[name] in made else name) for path, name in layers if name in made]
    outputs = {node.name: node.output[0] for node in graph.graph.node}
    said = describe_choice(choice, [outputs[name] for name in choice.in_float], layers, order.graphs.folded)
    said["calibration"]["ranges"] = quantiser.ranges
    write_onnx(pair.tensor, tensor, order.card_of("tensor", remaining, **said))
    whole = join(pixels_graph(order.graphs.preprocess), tensor, order.graphs.decoder)
    write_onnx(pair.images, whole, order.card_of("images", remaining, **said))


class OnnxQuantiser:
    """Quantises one graph, with any of its layers left in float; the images are looked at once.

    What the rounding of weights adds to a layer's output in the mean is taken from its bias (M. Nagel et al.,
    arXiv:1906.04721, section 4.2): of MobileNet v2 it halves the error that rounded weights make. What lies before the first
    layer (the normalisation) or behind the last stays in float. All else: :mod:`striate.exporting.onnx_qdq`.

    Args:
        graph: takes ready tensors; of opset 13 or later, without metadata.
        images: batches uint8 [N, C, h, w].
        ranges: one of ``RANGES``.
        seen: what :func:`striate.exporting.activations.observe` saw of this graph on these images, where that is known.
    """

    def __init__(
        self,
        graph: ModelProto,
        images: Sequence[NDArray[np.uint8]],
        ranges: str = RANGES[0],
        seen: Mapping[str, Seen] | None = None,
    ) -> None:
        self._graph, self.ranges = graph, ranges
        constants = {tensor.name: tensor for tensor in graph.graph.initializer}
        layers = {node.name: node for node in graph.graph.node if weights_of(node) in constants}
        seen = seen if seen is not None else observe(graph, images)
        self._bounds = {name: _range(tensor, ranges) for name, tensor in seen.items()}
        # A layer that reads what was not seen (a tensor of another rank) stays in float.
        self._layers = {name: node for name, node in layers.items() if node.input[0] in seen}
        self.layers = tuple(self._layers)
        outside = set(_outside(graph, set(layers)))
        self._inside = [node.name for node in graph.graph.node if node.name not in outside]
        self._weights: dict[str, Rounded] = {}
        self._biases: dict[str, NDArray[np.float32]] = {}
        for name, node in self._layers.items():
            weights = to_array(constants[node.input[WEIGHTED[node.op_type]]])
            self._weights[name] = round_weights(weights, channel_axis(node, weights.ndim))
            if len(node.input) > 2 and node.input[2] in constants:
                added = mean_output(node, self._weights[name].floats() - weights, seen[node.input[0]].mean)
                self._biases[name] = (to_array(constants[node.input[2]]) - added).astype(np.float32)

    def quantised(self, in_float: frozenset[str]) -> ModelProto:
        """The int8 graph, these layers in float."""
        weights = {name: rounded for name, rounded in self._weights.items() if name not in in_float}
        return quantised(self._graph, self._bounds, weights, self._biases, self._inside)

    def run(self, in_float: frozenset[str]) -> Run:
        """What computes :meth:`quantised`."""
        return runner(self.quantised(in_float))


def runner(graph: ModelProto) -> Run:
    """What computes a graph: uint8 [N, C, h, w] -> float32 [N, K]."""
    session = open_session(graph)
    return lambda images: session.run(["logits"], {"images": np.ascontiguousarray(images)})[0]


def mean_output(node: NodeProto, weights: NDArray[np.float32], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a layer with these weights gives in the mean [C_out], of inputs with these means [C_in]; borders are not seen to."""
    if node.op_type == "Gemm":
        return np.asarray((weights if attribute(node, "transB", 0) else weights.T) @ means)
    groups, taps = attribute(node, "group", 1), weights.sum(tuple(range(2, weights.ndim)), dtype=np.float64)
    if node.op_type == "ConvTranspose":  # its weights are [C_in, C_out / groups, ...], and each input makes strides^2 outputs
        return np.zeros(taps.shape[1] * groups)
    by_group = taps.reshape(groups, -1, taps.shape[1])
    return np.asarray(np.einsum("goi,gi->go", by_group, means.reshape(groups, -1)).reshape(-1))


def _range(seen: Seen, ranges: str) -> tuple[float, float]:
    return (seen.least, seen.largest) if ranges == "extremes" else seen.range_of_least_error(LEVELS)


def _outside(graph: ModelProto, layers: set[str]) -> list[str]:
    """Names of the nodes that no layer feeds, or that feed none."""
    nodes = list(graph.graph.node)
    behind = _reached(nodes, layers, lambda node: node.input, lambda node: node.output)
    before = _reached(nodes[::-1], layers, lambda node: node.output, lambda node: node.input)
    return [node.name for node in nodes if node.name not in behind & before]


def _reached(
    nodes: Sequence[NodeProto], layers: set[str], reads: Callable[[NodeProto], Any], gives: Callable[[NodeProto], Any]
) -> set[str]:
    """The layers, and the nodes that are reached from them, in the order of ``nodes``."""
    tensors: set[str] = set()
    names: set[str] = set()
    for node in nodes:
        if node.name in layers or not tensors.isdisjoint(reads(node)):
            names.add(node.name)
            tensors.update(gives(node))
    return names
