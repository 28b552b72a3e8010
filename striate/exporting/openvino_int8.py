"""An OpenVINO graph in int8, by nncf's static quantiser."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.backends.artefact import num_threads
from striate.backends.openvino_ir import HINTS, import_openvino
from striate.exporting.conversion import Order, Pair, onnx_graphs
from striate.exporting.openvino_file import from_onnx, write_openvino
from striate.exporting.quantising import Run, choose, describe_choice, nearest_to, read_all

WEIGHTED = {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul"}
"""Operators with weights: their second input."""
RANGES = ("MINMAX", "MEAN_MINMAX")
"""Where activations begin and end: the extremes of all images, or the mean of each image's own (nncf's names and default: the
second). Measured, for neither is always the better one: images of very different contrast lose their brightest parts by the
second (half of the largest logit was lost so), a single odd image makes the steps of the first coarse."""


def write_openvino_int8(order: Order, pair: Pair) -> None:
    """The int8 tensor graph, and the image graph with that very graph in it.

    Raises:
        UsageError: what it takes is not installed.
        Undecided: there is no image to calibrate by.
    """
    assert order.calibration is not None
    import_openvino("nncf")
    graph, whole, layers = onnx_graphs(order)
    images = read_all(order.calibration())
    own = runner(from_onnx(graph))
    quantiser = nearest_to(own, [OpenVinoQuantiser(from_onnx(graph), images, ranges) for ranges in RANGES], images)
    choice = choose(quantiser, own, images, order.graphs.decoder, order.progress, order.fallback)
    tensor = quantiser.quantised(frozenset(choice.in_float))
    said = describe_choice(choice, [quantiser.tensors[name] for name in choice.in_float], layers, order.graphs.folded)
    said["calibration"]["ranges"] = quantiser.ranges
    write_openvino(pair.images, replaced(from_onnx(whole), tensor.clone()), order.card_of("images", layers, **said))
    write_openvino(pair.tensor, tensor, order.card_of("tensor", layers, **said))


class OpenVinoQuantiser:
    """Quantises one graph, with any of its layers left in float.

    Weights int8 per channel, symmetric, within 7 bits (see :class:`striate.exporting.onnx_int8.OnnxQuantiser`); activations per
    tensor, with a zero point where they are negative too; biases corrected for what the rounding of the weights adds. What lies
    before the first layer, the normalisation, stays in float.

    Args:
        model: an ``openvino.Model`` that takes ready tensors; changed.
        images: batches uint8 [N, C, h, w].
        ranges: one of ``RANGES``.

    Attributes:
        layers: the friendly names of the operators with weights.
        tensors: of each, the name of the tensor that it makes with its bias.
    """

    def __init__(self, model: Any, images: Sequence[NDArray[np.uint8]], ranges: str = RANGES[0]) -> None:
        passes = import_openvino("openvino.passes")
        manager = passes.Manager()
        manager.register_pass(passes.ConstantFolding())  # else weights that are reshaped stay float in the file
        manager.run_passes(model)
        self._model, self._images, self.ranges = model, images, ranges
        weighted = {node.get_friendly_name(): node for node in model.get_ordered_ops() if _has_weights(node)}
        self.layers = tuple(weighted)
        self.tensors = {name: _tensor_name(node) for name, node in weighted.items()}
        self._before = _before(model, set(self.layers))
        self._all: Any = None

    def quantised(self, in_float: frozenset[str]) -> Any:
        """The int8 graph, these layers in float."""
        if in_float:
            return self._quantised(in_float)
        self._all = self._all or self._quantised(in_float)
        return self._all.clone()

    def run(self, in_float: frozenset[str]) -> Run:
        """What computes :meth:`quantised`; with one layer in float nearly so, and soon: its bias stays as it was corrected."""
        return runner(self._put_back(*in_float) if len(in_float) == 1 else self.quantised(in_float))

    def _quantised(self, in_float: frozenset[str]) -> Any:
        nncf, estimators = import_openvino("nncf"), import_openvino("nncf.quantization.range_estimator")
        advanced = import_openvino("nncf.quantization.advanced_parameters")
        nncf.set_log_level(logging.ERROR)
        items = [image[None] for batch in self._images for image in batch]
        ranges = getattr(estimators.RangeEstimatorParametersSet, self.ranges)
        with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
            return nncf.quantize(
                self._model, nncf.Dataset(items), preset=nncf.QuantizationPreset.MIXED, subset_size=len(items),
                ignored_scope=nncf.IgnoredScope(names=[*self._before, *in_float], validate=False),
                advanced_parameters=advanced.AdvancedQuantizationParameters(
                    activations_range_estimator_params=ranges, overflow_fix=advanced.OverflowFix.ENABLE
                ),
            )  # fmt: skip

    def _put_back(self, layer: str) -> Any:
        graph = self.quantised(frozenset())
        (node,) = [node for node in graph.get_ordered_ops() if node.get_friendly_name() == layer]
        (own,) = [node for node in self._model.clone().get_ordered_ops() if node.get_friendly_name() == layer]
        source = node.input_value(0).get_node()
        if source.get_type_name() == "FakeQuantize":
            node.input(0).replace_source_output(source.input_value(0))
        node.input(1).replace_source_output(own.input_value(1))
        return graph


def runner(model: Any) -> Run:
    """What computes an ``openvino.Model``: uint8 [N, C, h, w] -> float32 [N, K]."""
    settings = {"INFERENCE_PRECISION_HINT": HINTS["int8"], "INFERENCE_NUM_THREADS": num_threads()}
    compiled = import_openvino().Core().compile_model(model, "CPU", settings)
    return lambda images: np.array(compiled([np.ascontiguousarray(images)])[0])


def replaced(whole: Any, tensor: Any) -> Any:
    """The image graph ``whole`` with another tensor graph between its ``pixels`` and its ``logits``; both are changed."""
    inner = [node for node in whole.get_ordered_ops() if node.get_type_name() != "Result"]  # whose outputs have the same names
    named = {name: output for node in inner for output in node.outputs() for name in output.get_names()}
    (logits,) = tensor.get_results()
    for reader in tensor.get_parameters()[0].output(0).get_target_inputs():
        reader.replace_source_output(named["pixels"])
    for reader in named["logits"].get_target_inputs():
        reader.replace_source_output(logits.input_value(0))
    return import_openvino().Model([logits, whole.get_results()[1]], whole.get_parameters(), "images")


def _has_weights(node: Any) -> bool:
    return node.get_type_name() in WEIGHTED and node.input_value(1).get_node().get_type_name() == "Constant"


def _tensor_name(node: Any) -> str:
    """Of the tensor that it makes: where a bias is added, that is the sum."""
    reached = node.output(0)
    while not reached.get_names():
        (reader,) = {port.get_node() for port in reached.get_target_inputs() if _carries(port.get_node())}
        reached = reader.output(0)
    return str(reached.get_any_name())


def _carries(node: Any) -> bool:
    return node.get_type_name() in ("Add", "Multiply", "Reshape", "Squeeze")


def _before(model: Any, layers: set[str]) -> list[str]:
    """Names of the operators that no layer feeds."""
    behind: set[str] = set()
    for node in model.get_ordered_ops():
        sources = {port.get_source_output().get_node().get_friendly_name() for port in node.inputs()}
        if node.get_friendly_name() in layers or sources & behind:
            behind.add(node.get_friendly_name())
    kept = ("Constant", "Parameter", "Result")
    names = [(node.get_type_name(), node.get_friendly_name()) for node in model.get_ordered_ops()]
    return [name for kind, name in names if name not in behind and kind not in kept]
