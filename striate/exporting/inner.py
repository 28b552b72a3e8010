"""Any tensor within an artefact, computed by what will run the artefact: the preprocessing alone, or layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.backends.artefact import file_bytes, num_threads
from striate.backends.openvino_ir import HINTS, import_openvino

Inner = Callable[[NDArray[np.uint8]], list[NDArray[Any]]]
"""Images as the artefact takes them -> the tensors asked for, in order."""


def inner_tensors(path: Path, names: Sequence[str], precision: str) -> Inner:
    """The artefact cut off after the tensors ``names``; what is not needed for them is not run.

    Args:
        path: of the artefact; its file has been opened before, so its seal holds.
        names: of tensors of the graph.
        precision: that the artefact is run in.

    Raises:
        KeyError: the graph has no such tensor.
    """
    return _OPENERS[path.suffix](path, list(names), precision)


def _of_onnx(path: Path, names: list[str], precision: str) -> Inner:
    import onnx
    import onnxruntime  # type: ignore[import-untyped]

    model = onnx.load_model_from_string(file_bytes(path))
    made = {name: node for node in model.graph.node for name in node.output}
    _check(names, made)
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(names))
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, num_threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(images: NDArray[np.uint8]) -> list[NDArray[Any]]:
        return list(session.run(names, {"images": np.ascontiguousarray(images)}))

    return run


def _of_openvino(path: Path, names: list[str], precision: str) -> Inner:
    openvino = import_openvino()
    core = openvino.Core()
    model = core.read_model(path)
    outputs = {name: output for node in model.get_ordered_ops() for output in node.outputs() for name in output.get_names()}
    _check(names, outputs)
    cut = openvino.Model([outputs[name] for name in names], model.get_parameters(), "inner")
    settings = {"INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": num_threads()}
    compiled = core.compile_model(cut, "CPU", settings)

    def run(images: NDArray[np.uint8]) -> list[NDArray[Any]]:
        results = compiled([np.ascontiguousarray(images)])
        return [np.array(results[position]) for position in range(len(names))]

    return run


def _of_torch(path: Path, names: list[str], precision: str) -> Inner:
    import torch

    module = torch.export.load(path).module()
    graph = module.graph
    nodes = {node.name: node for node in graph.nodes}
    nodes["pixels"] = next((node for node in reversed(graph.nodes) if _is_of(node, "pixels")), None)
    _check(names, nodes)
    (output,) = [node for node in graph.nodes if node.op == "output"]
    output.args = (tuple(nodes[name] for name in names),)
    graph.set_codegen(torch.fx.graph.CodeGen())  # the original one knows how many outputs there were
    graph.eliminate_dead_code()
    module.recompile()

    def run(images: NDArray[np.uint8]) -> list[NDArray[Any]]:
        with torch.inference_mode():
            return [tensor.float().numpy() for tensor in module(torch.from_numpy(np.ascontiguousarray(images)))]

    return run


def _is_of(node: Any, part: str) -> bool:
    """Whether a node of a program belongs to the module ``part`` (or one in it); the last such node is its output."""
    return any(path.split(".")[-1] == part for path, _ in node.meta.get("nn_module_stack", {}).values())


def _check(names: Sequence[str], known: Mapping[str, Any]) -> None:
    if missing := [name for name in names if known.get(name) is None]:
        raise KeyError(f"the graph has no tensor {', '.join(missing)}")


_OPENERS: dict[str, Callable[[Path, list[str], str], Inner]] = {".onnx": _of_onnx, ".xml": _of_openvino, ".pt2": _of_torch}
