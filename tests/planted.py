"""Conversions that went wrong as conversions do, and such that only look different: an artefact's parts, one of them changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper
from trained_run import fit_tiny, open_run

from striate.exporting.conversion import Order, Pair
from striate.exporting.graphs import Graphs, TensorGraph, make_graphs
from striate.exporting.onnx_file import join, write_onnx


@dataclass(frozen=True)
class Parts:
    """What an artefact is put together from: each plant changes one of them."""

    graphs: Graphs
    pixels: ModelProto
    tensor: ModelProto
    card: dict[str, Any]

    def write(self, folder: Path) -> Pair:
        """Both files."""
        order, pair = Order(self.graphs, "onnx", "fp32", self.card), Pair.at(folder / "planted", "onnx")
        write_onnx(pair.tensor, self.tensor, order.card_of("tensor"))
        write_onnx(pair.images, join(self.pixels, self.tensor, self.graphs.decoder), order.card_of("images"))
        return pair

    def with_values(self, change: Callable[[str, NDArray[Any]], NDArray[Any] | None]) -> Parts:
        """The same graph, with what ``change`` makes of its initializers."""
        tensor = copied(self.tensor)
        for entry in tensor.graph.initializer:
            new = change(entry.name, numpy_helper.to_array(entry).copy())
            if new is not None:
                entry.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(new), entry.name))
        return replace(self, tensor=tensor)

    def with_weights(self, other: TensorGraph) -> Parts:
        """The same graph, with all weights of another network."""
        weights = {name: value.detach().numpy() for name, value in other.state_dict().items()}
        return self.with_values(lambda name, _: weights.get(name))

    def value(self, name: str) -> NDArray[Any]:
        """Of an initializer."""
        (found,) = [entry for entry in self.tensor.graph.initializer if entry.name == name]
        return numpy_helper.to_array(found)


def copied(graph: ModelProto) -> ModelProto:
    result = ModelProto()
    result.CopyFrom(graph)
    return result


def only(graph: ModelProto, kind: str) -> NodeProto:
    found: NodeProto
    (found,) = [node for node in graph.graph.node if node.op_type == kind]
    return found


def wrong_epsilon(parts: Parts, run: Path) -> Parts:
    other = open_run(run)
    for norm in (other.module.get_submodule("bn1"), other.module.get_submodule("bn2")):
        norm.eps = 1e-3  # type: ignore[assignment]
    return parts.with_weights(make_graphs(other).tensor)


def blue_first(parts: Parts, run: Path) -> Parts:
    tensor = copied(parts.tensor)
    cast = only(tensor, "Cast")
    cast.input[0] = "blue_first"
    tensor.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "order"))
    tensor.graph.node.insert(0, onnx.helper.make_node("Gather", ["images", "order"], ["blue_first"], axis=1))
    return replace(parts, tensor=tensor)


def not_normalised(parts: Parts, run: Path) -> Parts:
    plain = {"factor": 1 / 255, "offset": 0}
    return parts.with_values(lambda name, value: np.full_like(value, plain[name]) if name in plain else None)


def other_names(parts: Parts, run: Path) -> Parts:
    return replace(parts, card={**parts.card, "classes": parts.card["classes"][1:] + parts.card["classes"][:1]})


def scaled_channel(parts: Parts, run: Path) -> Parts:
    scale = np.ones((8, 1, 1, 1), np.float32)
    scale[2] = 4
    return parts.with_values(lambda name, value: value * scale if name == "network.conv2.weight" else None)


def no_antialias(parts: Parts, run: Path) -> Parts:
    """The support of the resize is not scaled when it shrinks, as in most libraries' default."""
    pixels = copied(parts.pixels)
    integers = {
        name for node in pixels.graph.node if node.op_type in ("Where", "Gather", "Cast", "ReduceSum") for name in node.output
    }
    for node in pixels.graph.node:
        if node.op_type == "Max" and "maximum" in node.output[0]:
            (resized,) = [name for name in node.input if name in integers and name.startswith("where")]
            node.op_type = "Identity"
            del node.input[:]
            node.input.append(resized)
    assert sum(node.op_type == "Identity" for node in pixels.graph.node) == 2
    return replace(parts, pixels=pixels)


def ceil_pooling(parts: Parts, run: Path) -> Parts:
    tensor = copied(parts.tensor)
    for entry in only(tensor, "MaxPool").attribute:
        if entry.name == "ceil_mode":
            entry.i = 1
    del tensor.graph.value_info[:]
    return replace(parts, tensor=tensor)


def four_bits(parts: Parts, run: Path) -> Parts:
    def coarse(name: str, value: NDArray[Any]) -> NDArray[Any] | None:
        step = np.abs(value).max() / 7
        return np.round(value / step) * step if name == "network.conv2.weight" else None

    return parts.with_values(coarse)


def earlier_checkpoint(parts: Parts, run: Path) -> Parts:
    """Some steps of training before the one that the model is from."""
    other = open_run(run)
    other.module.load_state_dict(fit_tiny(run.parent / "data", steps=140).state_dict())
    return parts.with_weights(make_graphs(other).tensor)


LOGITS = "logits against the model"
BAD: dict[Callable[[Parts, Path], Parts], str] = {
    wrong_epsilon: LOGITS,
    blue_first: LOGITS,
    not_normalised: LOGITS,
    other_names: "tensor graph: class names",
    scaled_channel: LOGITS,
    no_antialias: "pixels: share, on average",
    ceil_pooling: LOGITS,
    four_bits: LOGITS,
    earlier_checkpoint: LOGITS,
}
"""Each, and the quantity of the gate that must have seen it."""


def exported(module: torch.nn.Module, example: torch.Tensor, **options: Any) -> ModelProto:
    with torch.no_grad():
        program = torch.onnx.export(
            module, (example,), dynamo=True, input_names=["images"], output_names=["logits"], verbose=False,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), **options,
        )  # fmt: skip
    assert program is not None
    graph: ModelProto = program.model_proto
    return graph


def unfolded(parts: Parts, run: Path) -> Parts:
    model = open_run(run)
    graph = exported(TensorGraph(model.module.eval(), model.preprocess).eval(), parts.graphs.example, optimize=False)
    assert any(node.op_type == "BatchNormalization" for node in graph.graph.node)
    return replace(parts, tensor=graph)


def folded_in_single_precision(parts: Parts, run: Path) -> Parts:
    state = open_run(run).module.state_dict()
    new: dict[str, NDArray[Any]] = {}
    for conv, norm in (("conv1", "bn1"), ("conv2", "bn2")):
        factor = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + 1e-5).sqrt()
        bias = state.get(f"{conv}.bias", torch.zeros(8))
        new[f"network.{conv}.weight"] = (state[f"{conv}.weight"] * factor.reshape(-1, 1, 1, 1)).numpy()
        new[f"network.{conv}.bias"] = ((bias - state[f"{norm}.running_mean"]) * factor + state[f"{norm}.bias"]).numpy()
    return parts.with_values(lambda name, _: new.get(name))


def other_batch(parts: Parts, run: Path) -> Parts:
    return replace(parts, tensor=exported(parts.graphs.tensor, parts.graphs.example[:1].repeat(7, 1, 1, 1)))


def not_optimised(parts: Parts, run: Path) -> Parts:
    return replace(parts, tensor=exported(parts.graphs.tensor, parts.graphs.example, optimize=False))


def other_opset(parts: Parts, run: Path) -> Parts:
    graph = onnx.version_converter.convert_version(parts.tensor, 21)
    assert graph.opset_import[0].version == 21 != parts.tensor.opset_import[0].version
    return replace(parts, tensor=graph, pixels=onnx.version_converter.convert_version(parts.pixels, 21))


def reordered(parts: Parts, run: Path) -> Parts:
    tensor = copied(parts.tensor)
    entries = list(tensor.graph.initializer)[::-1]
    del tensor.graph.initializer[:]
    tensor.graph.initializer.extend(entries)
    return replace(parts, tensor=tensor)


def renamed(parts: Parts, run: Path) -> Parts:
    """Nodes, tensors within and initializers."""
    tensor = copied(parts.tensor)
    del tensor.graph.value_info[:]
    names = {name: f"t{place}" for place, name in enumerate(name for node in tensor.graph.node for name in node.output)}
    names |= {entry.name: f"w{place}" for place, entry in enumerate(tensor.graph.initializer)} | {"logits": "logits"}
    for place, node in enumerate(tensor.graph.node):
        node.name = f"n{place}"
        for field in (node.input, node.output):
            field[:] = [names.get(name, name) for name in field]
    for entry in tensor.graph.initializer:
        entry.name = names[entry.name]
    return replace(parts, tensor=tensor)


def weights_as_nodes(parts: Parts, run: Path) -> Parts:
    tensor = copied(parts.tensor)
    constants = [onnx.helper.make_node("Constant", [], [entry.name], value=entry) for entry in tensor.graph.initializer]
    nodes = [*constants, *tensor.graph.node]
    del tensor.graph.node[:], tensor.graph.initializer[:]
    tensor.graph.node.extend(nodes)
    return replace(parts, tensor=tensor)


def simplified(parts: Parts, run: Path) -> Parts:
    """As ONNX Runtime fuses it: the activations become part of the convolutions."""
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(run.parent / "simplified.onnx")
    onnxruntime.InferenceSession(parts.tensor.SerializeToString(), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(run.parent / "simplified.onnx")
    assert len(graph.graph.node) < len(parts.tensor.graph.node)
    return replace(parts, tensor=graph)


def idle_nodes(parts: Parts, run: Path) -> Parts:
    """What exporters leave in: a node that does nothing behind every other one."""
    tensor = copied(parts.tensor)
    nodes = []
    for node in tensor.graph.node:
        node.output[0], made = f"{node.output[0]}_", node.output[0]
        nodes += [copied_node(node), onnx.helper.make_node("Identity", [f"{made}_"], [made])]
    del tensor.graph.node[:]
    tensor.graph.node.extend(nodes)
    return replace(parts, tensor=tensor)


def copied_node(node: NodeProto) -> NodeProto:
    result = NodeProto()
    result.CopyFrom(node)
    return result


GOOD = (
    unfolded, folded_in_single_precision, other_batch, not_optimised, other_opset, reordered, renamed, weights_as_nodes,
    simplified, idle_nodes,
)  # fmt: skip
"""Each changes nothing that matters."""
