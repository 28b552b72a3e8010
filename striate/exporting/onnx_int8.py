"""An ONNX graph in int8, by ONNX Runtime's static quantiser: QuantizeLinear and DequantizeLinear around every layer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto
from onnxruntime import InferenceSession, SessionOptions  # type: ignore[import-untyped]
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static  # type: ignore[import-untyped]

from striate.backends.artefact import num_threads
from striate.exporting.conversion import Order, Pair, onnx_graphs
from striate.exporting.onnx_file import join, pixels_graph, write_onnx
from striate.exporting.quantising import Run, choose, describe_choice, read_all

WEIGHTED = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
"""Operators with weights, and which of their inputs these are."""
BETWEEN = (
    "Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Mul", "Relu", "Reshape", "Transpose",
)  # fmt: skip
"""Operators that are computed in int8 between those with weights."""


def write_onnx_int8(order: Order, pair: Pair) -> None:
    """The int8 tensor graph, and the image graph with that very graph in it.

    Raises:
        UsageError: what it takes is not installed.
        Undecided: there is no image to calibrate by.
    """
    assert order.calibration is not None
    graph, _, layers = onnx_graphs(order)
    images = read_all(order.calibration())
    with tempfile.TemporaryDirectory(dir=pair.tensor.parent, prefix=".int8-") as scratch:
        quantiser = OnnxQuantiser(graph, images, Path(scratch))
        choice = choose(quantiser, runner(graph), images, order.graphs.decoder, order.progress)
        tensor = quantiser.quantised(frozenset(choice.in_float))
    made = {name for node in tensor.graph.node for name in node.output}
    read = {name: f"{name}_DequantizeLinear_Output" for _, name in layers}  # an activation is often computed by rounding alone
    remaining = [(path, read[name] if read[name] in made else name) for path, name in layers if name in made]
    outputs = {node.name: node.output[0] for node in graph.graph.node}
    said = describe_choice(choice, [outputs[name] for name in choice.in_float], layers, order.graphs.folded)
    write_onnx(pair.tensor, tensor, order.card_of("tensor", remaining, **said))
    whole = join(pixels_graph(order.graphs.preprocess), tensor, order.graphs.decoder)
    write_onnx(pair.images, whole, order.card_of("images", remaining, **said))


class OnnxQuantiser:
    """Quantises one graph, with any of its layers left in float; the images are looked at once.

    Weights int8 per channel, symmetric, within 7 bits: processors without VNNI add two products in 16 bits, and with all 8 these
    saturate (a fourfold error was measured), so that what passes here would be another network elsewhere. Activations uint8 per
    tensor, between their least and largest value on the images.
    What lies before the first layer (the normalisation) or behind the last stays in float.

    Args:
        graph: takes ready tensors; of opset 13 or later, without metadata.
        images: batches uint8 [N, C, h, w].
        scratch: a folder for what the quantiser can only write to disk.
    """

    def __init__(self, graph: ModelProto, images: Sequence[NDArray[np.uint8]], scratch: Path) -> None:
        named = ModelProto()
        named.CopyFrom(graph)
        # Else it recommends, in the process's own log, to fuse what is fused already.
        onnx.helper.set_model_props(named, {"onnx.quant.pre_process": "onnxruntime.quant"})
        onnx.save(named, scratch / "float.onnx")  # of a graph in memory it would take the weights away
        self._images, self._scratch = images, scratch
        constants = {tensor.name for tensor in graph.graph.initializer}
        self.layers = tuple(node.name for node in graph.graph.node if _weights(node) in constants)
        self._outside = _outside(graph, set(self.layers))

    def quantised(self, in_float: frozenset[str]) -> ModelProto:
        """The int8 graph, these layers in float."""
        target = self._scratch / "quantised.onnx"
        quantize_static(
            self._scratch / "float.onnx", target, _Reader(self._images), quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True,
            op_types_to_quantize=[*WEIGHTED, *BETWEEN],
            nodes_to_exclude=[*self._outside, *in_float], calibration_cache_path=self._scratch / "ranges.json",
            extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
        )  # fmt: skip
        model = onnx.load(target)
        model.ClearField("metadata_props")
        return model

    def run(self, in_float: frozenset[str]) -> Run:
        """What computes :meth:`quantised`."""
        return runner(self.quantised(in_float))


def runner(graph: ModelProto) -> Run:
    """What computes a graph: uint8 [N, C, h, w] -> float32 [N, K]."""
    options = SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, num_threads()
    session = InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"images": np.ascontiguousarray(images)})[0]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self._batches: Iterator[NDArray[np.uint8]] = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": np.ascontiguousarray(batch)}


def _weights(node: NodeProto) -> str | None:
    place = WEIGHTED.get(node.op_type)
    return node.input[place] if place is not None else None


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
