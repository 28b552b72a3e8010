"""A model as an ONNX graph, by torch's exporter: with ready tensors as its input, and with the preprocessing before it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

import striate
from striate.backends.artefact import CARD, SEAL, UNSEALED, card_text, sealed
from striate.data.preprocess import Preprocess
from striate.exporting.graphs import Graphs
from striate.exporting.pixels import Pixels, example_pictures
from striate.exporting.torch_file import quiet_exporter
from striate.files import replacing
from striate.tasks.decoding import Decoder

_PART = "preprocess_"
"""Begins the names of the preprocessing's tensors."""


def make_onnx(graphs: Graphs) -> tuple[onnx.ModelProto, onnx.ModelProto, list[tuple[str, str]]]:
    """The tensor graph, the image graph (the preprocessing, that very tensor graph, probabilities), and the layers.

    Returns:
        The two graphs without metadata, and of each module that runs once (path in the model, name of its output).
    """
    tensor = _exported(graphs.tensor, graphs.example, {0: torch.export.Dim.DYNAMIC}, "logits")
    layers = _layers(tensor, graphs)
    _strip(tensor)
    return tensor, join(pixels_graph(graphs.preprocess), tensor, graphs.decoder), layers


def tensor_graph(module: nn.Module, example: Tensor) -> onnx.ModelProto:
    """A module alone: ``images`` like ``example``, any number of them -> ``logits``; without metadata."""
    graph = _exported(module, example, {0: torch.export.Dim.DYNAMIC}, "logits")
    _strip(graph)
    return graph


@lru_cache(maxsize=4)
def pixels_graph(preprocess: Preprocess) -> onnx.ModelProto:
    """The preprocessing alone: uint8 ``images`` [N, H, W, 3] -> uint8 ``pixels`` [N, C, h, w]."""
    sizes = dict.fromkeys((0, 1, 2), torch.export.Dim.DYNAMIC)
    graph = _exported(Pixels(preprocess).eval(), example_pictures(preprocess), sizes, "pixels")
    _strip(graph)
    return graph


def join(pixels: onnx.ModelProto, tensor: onnx.ModelProto, decoder: Decoder) -> onnx.ModelProto:
    """The preprocessing, then the tensor graph, then probabilities, as one graph; ``pixels`` stays the name between them."""
    pixels = onnx.compose.add_prefix(pixels, _PART, rename_inputs=False, rename_outputs=False)
    whole = onnx.ModelProto()
    whole.CopyFrom(tensor)
    inner = whole.graph
    for node in inner.node:
        for position, name in enumerate(node.input):
            if name == "images":
                node.input[position] = "pixels"
    nodes = [*pixels.graph.node, *inner.node, *_probabilities(decoder, inner)]
    for field, values in (("node", nodes), ("input", list(pixels.graph.input))):
        whole.graph.ClearField(field)
        getattr(whole.graph, field).extend(values)
    whole.graph.initializer.extend(pixels.graph.initializer)
    shape = [dim.dim_param or dim.dim_value for dim in inner.output[0].type.tensor_type.shape.dim]
    whole.graph.output.append(onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, shape))
    onnx.checker.check_model(whole)
    return whole


def _probabilities(decoder: Decoder, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    if decoder.kind == "value":
        for name, value in (("target_std", decoder.target_std), ("target_mean", decoder.target_mean)):
            graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, [1], [value]))
        return [
            onnx.helper.make_node("Mul", ["logits", "target_std"], ["scaled_logits"]),
            onnx.helper.make_node("Add", ["scaled_logits", "target_mean"], ["probabilities"]),
        ]
    if decoder.kind == "labels":
        return [onnx.helper.make_node("Sigmoid", ["logits"], ["probabilities"])]
    return [onnx.helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1)]


def write_onnx(path: Path, model: onnx.ModelProto, card: Mapping[str, Any]) -> None:
    """Writes a graph with its card, sealed; whole or not at all. Class names are there a second time, one a line."""
    written = onnx.ModelProto()
    written.CopyFrom(model)
    written.producer_name, written.producer_version = "striate", striate.__version__
    entries = {CARD: card_text(card), SEAL: UNSEALED, "classes": "\n".join(card["classes"])}
    onnx.helper.set_model_props(written, entries)
    data = sealed(written.SerializeToString())
    with replacing(path, f"the graph ({len(data) / 1e6:.1f} MB)") as file:
        file.write(data)


def _exported(module: nn.Module, example: Tensor, dynamic: dict[int, Any], output: str) -> onnx.ModelProto:
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            module, (example,), dynamo=True, input_names=["images"], output_names=[output], dynamic_shapes=(dynamic,),
            verbose=False,
        )  # fmt: skip
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def _layers(model: onnx.ModelProto, graphs: Graphs) -> list[tuple[str, str]]:
    """Of each module with no modules in it that runs once: its path in the model, and the tensor that it makes."""
    inside = {path for path, part in graphs.tensor.named_modules() if path and next(part.children(), None) is None}
    made: dict[str, str] = {}
    for node in model.graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes"), "[]")
        path = next((scope for scope in reversed(ast.literal_eval(scopes)) if scope in inside), None)
        if path is not None:
            made[path] = node.output[0]
    layers = [(path.removeprefix("network."), name) for path, name in made.items()]
    return [(graphs.folded.get(path, path), name) for path, name in layers]


def _strip(model: onnx.ModelProto) -> None:
    """Takes out what the exporter says of the code that it read: paths of this machine among it."""
    for entry in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")
    for tensor in model.graph.initializer:
        tensor.ClearField("metadata_props")
        tensor.ClearField("doc_string")
