"""int8: which layers go back to float is found by measurement, and the graphs are what their cards say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession, SessionOptions  # type: ignore[import-untyped]

from striate.backends.openvino_ir import import_openvino
from striate.exporting.activations import BINS, Seen
from striate.exporting.conversion import Pair
from striate.exporting.images import calibration_images
from striate.exporting.onnx_int8 import OnnxQuantiser, mean_output, runner
from striate.exporting.onnx_qdq import activation_scale, round_weights
from striate.exporting.quantising import Choice, Raw, Run, changed, choose, describe_choice, nearest_to, spread
from striate.prediction import Model
from striate.progress import Silent
from striate.tasks.decoding import Decoder, softmax

LABEL = Decoder("label", ("a", "b"))
MARGINS = np.linspace(0.001, 1, 200, dtype=np.float32)
"""Of the first class above the second, image by image."""


class Noted(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


class Margins:
    """Each layer takes something off the margin of every image while it is in int8."""

    def __init__(self, costs: dict[str, float]) -> None:
        self.layers = tuple(costs)
        self.costs = costs
        self.tried: list[frozenset[str]] = []

    def quantised(self, in_float: frozenset[str]) -> frozenset[str]:
        return in_float

    def run(self, in_float: frozenset[str]) -> Run:
        self.tried.append(in_float)
        return answering(sum(cost for layer, cost in self.costs.items() if layer not in in_float))


def answering(cost: float) -> Run:
    def run(images: NDArray[np.uint8]) -> Raw:
        margin = MARGINS[images[:, 0, 0, 0]] - np.float32(cost)
        return np.stack([margin, np.zeros_like(margin)], 1)

    return run


def numbered(batch: int = 64) -> Sequence[NDArray[np.uint8]]:
    every = np.arange(len(MARGINS), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return [every[start : start + batch] for start in range(0, len(every), batch)]


def test_nothing_goes_back_where_nothing_changes() -> None:
    quantiser, told = Margins({"first": 0.0, "last": 0.0}), Noted()
    choice = choose(quantiser, answering(0), numbered(), LABEL, told)
    assert choice == Choice((), 200, ((0, 0),))
    assert quantiser.tried == [frozenset()]
    assert told.messages == ["int8 in all layers: 0 of 200 calibration images are answered otherwise (2 may be)"]


def test_the_costliest_layers_go_back_and_no_more() -> None:
    costs = {"stem": 0.001, "a": 0.2, "b": 0.001, "c": 0.3, "d": 0.001, "e": 0.002, "f": 0.001, "head": 0.001}
    told = Noted()
    choice = choose(Margins(costs), answering(0), numbered(), LABEL, told)
    assert choice.in_float == ("c", "a"), "first the one that costs most, wherever it lies"
    assert [count for count, _ in choice.steps] == [0, 1, 2]
    assert [different for _, different in choice.steps] == sorted((different for _, different in choice.steps), reverse=True)
    assert choice.steps[-1][1] <= 2
    assert len(told.messages) == 3
    assert "with 2 of 8 layers in float" in told.messages[-1]


def test_without_fallback_nothing_goes_back() -> None:
    choice = choose(Margins(dict.fromkeys("abcdefgh", 0.1)), answering(0), numbered(), LABEL, Silent(), fallback=False)
    assert choice.in_float == ()
    assert len(choice.steps) == 1


def test_where_no_step_is_enough_the_best_one_is_taken() -> None:
    choice = choose(Margins(dict.fromkeys("abcdefgh", 0.1)), answering(0), numbered(), LABEL, Silent())
    assert len(choice.in_float) == 4, "never more than half of them"
    assert [count for count, _ in choice.steps] == [0, 1, 2, 4]
    single = choose(Margins({"only": 0.5}), answering(0), numbered(), LABEL, Silent())
    assert single.in_float == ()


def test_another_answer() -> None:
    own = np.array([[1.0, 2.0], [3.0, 0.0], [1.0, 0.0]], np.float32)
    other = np.array([[1.0, 1.9], [0.0, 3.0], [np.nan, 0.0]], np.float32)
    assert changed(LABEL, own, other) == 2
    assert changed(Decoder("labels", ("a", "b")), np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([[2.0, -2.0], [1.0, -1.0]])) == 1
    assert changed(Decoder("value"), np.array([[0.0], [1.0]]), np.array([[0.04], [1.06]])) == 1


def test_the_card_names_modules_of_the_model() -> None:
    choice = Choice(("n7", "n3"), 300, ((0, 9), (1, 4), (2, 1)))
    layers = [("bn1", "t3"), ("act", "t4"), ("fc", "t7")]
    said = describe_choice(choice, ["t7", "t3"], layers, {"conv1": "bn1"})
    assert said["float_layers"] == ["fc", "conv1"], "the layer itself, not the batch norm that is part of it"
    assert said["calibration"]["steps"][-1] == {"layers_in_float": 2, "answers_changed": 1}


@pytest.fixture(scope="module")
def images(model: Model) -> list[NDArray[np.uint8]]:
    return [calibration_images(model, None).tensors(model)]


@pytest.fixture(scope="module")
def graph(onnx_pair: Pair) -> onnx.ModelProto:
    return bare(onnx_pair.tensor)


def bare(path: Path) -> onnx.ModelProto:
    loaded = onnx.load(path)
    loaded.ClearField("metadata_props")
    return loaded


def values(graph: onnx.ModelProto, kind: int) -> list[tuple[int, ...]]:
    return [tuple(entry.dims) for entry in graph.graph.initializer if entry.data_type == kind and len(entry.dims) > 1]


def test_onnx_weights_are_int8_but_where_a_layer_stays(graph: onnx.ModelProto, images: list[NDArray[np.uint8]]) -> None:
    quantiser = OnnxQuantiser(graph, images)
    assert len(quantiser.layers) == 3
    whole, part = quantiser.quantised(frozenset()), quantiser.quantised(frozenset(quantiser.layers[1:2]))
    assert len(values(whole, onnx.TensorProto.INT8)) == 3
    assert (8, 8, 3, 3) in values(part, onnx.TensorProto.FLOAT)
    assert len(values(part, onnx.TensorProto.INT8)) == 2
    constants = {entry.name: tuple(entry.dims) for entry in whole.graph.initializer}
    assert constants[f"{quantiser.layers[0]}_weight_scale"] == (8,), "a scale a channel"
    readers = {name: node.op_type for node in whole.graph.node for name in node.input}
    assert readers["images"] == "Cast", "the normalisation stays in float"
    few = spread(images, 16)
    own, exact = runner(whole)(few), runner(graph)(few)
    apart = np.abs(own - exact).max() / np.abs(exact).max()
    assert 0 < apart < 0.1
    assert set(graph.graph.initializer[0].dims) == {8, 3, 2}, "the float graph is as it was"
    onnx.checker.check_model(whole)


def test_a_layer_in_float_is_run_in_float(graph: onnx.ModelProto, images: list[NDArray[np.uint8]], tmp_path: Path) -> None:
    """ONNX Runtime would round the weights of a layer between two that are in int8 by itself, with one scale for all of them."""
    quantiser = OnnxQuantiser(graph, images)
    made = quantiser.quantised(frozenset(quantiser.layers[1:2]))
    options = SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "run.onnx")
    InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    run = [node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node]
    assert run.count("QLinearConv") == 1
    assert "Conv" in {kind.removeprefix("Fused") for kind in run}
    none = quantiser.run(frozenset(quantiser.layers))
    few = spread(images, 16)
    assert np.array_equal(none(few), runner(graph)(few)), "without a layer in int8 nothing at all is rounded"


def test_weights_are_rounded_with_least_error_and_their_mean_effect_is_known() -> None:
    drawn = np.random.default_rng(0).normal(0, 1, (4, 4000)).astype(np.float32)
    rounded = round_weights(drawn, 0)
    assert np.abs(rounded.values).max() == 64
    step = np.abs(drawn).max(1, keepdims=True) / 64
    widest = np.rint(drawn / step) * step
    errors, usual = np.square(rounded.floats() - drawn).sum(1), np.square(widest - drawn).sum(1)
    assert (errors <= usual * 1.0001).all()
    assert errors.sum() < 0.97 * usual.sum()
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], group=2)
    weights = np.arange(24, dtype=np.float32).reshape(4, 2, 3, 1)
    means = np.array([1.0, 10.0, 100.0, 1000.0])
    found = mean_output(node, weights, means)
    own = torch.nn.functional.conv2d(
        torch.tensor(means).reshape(1, 4, 1, 1).expand(1, 4, 3, 1), torch.from_numpy(weights).double(), groups=2
    )
    assert np.allclose(found, own.flatten())


def test_ranges_of_least_error() -> None:
    numbers = np.random.default_rng(0).laplace(0, 1, (1, 4, 100, 100)).astype(np.float32)
    seen = Seen(float(numbers.min()), float(numbers.max()), 40.0, np.zeros(BINS))
    seen.add(numbers, 0)
    assert np.allclose(seen.mean, numbers.mean((0, 2, 3)), atol=1e-6)
    assert np.allclose(seen.square, np.square(numbers).mean((0, 2, 3)), rtol=1e-5)

    def error(low: float, high: float) -> float:
        step = (high - low) / 31
        return float(np.square(np.rint(numbers.clip(low, high) / step) * step - numbers).mean())

    found = error(*seen.range_of_least_error(31))
    assert found < 0.7 * error(seen.least, seen.largest)
    assert found < 1.05 * min(error(-end, end) for end in np.linspace(2, 10, 17).tolist())
    step, zero = activation_scale(0.5, 6.0)
    assert (float(step), int(zero)) == (pytest.approx(6 / 255), 0), "zero itself is always exact"


@pytest.mark.slow
def test_openvino_computes_int8_and_the_image_graph_holds_the_same_network(
    model: Model, onnx_pair: Pair, graph: onnx.ModelProto, images: list[NDArray[np.uint8]], capsys: pytest.CaptureFixture[str]
) -> None:
    from striate.exporting import openvino_int8
    from striate.exporting.openvino_file import from_onnx

    quantiser = openvino_int8.OpenVinoQuantiser(from_onnx(graph), images)
    assert len(quantiser.layers) == 3
    assert set(quantiser.tensors.values()) <= {name for node in graph.graph.node for name in node.output}
    few, own = spread(images, 16), openvino_int8.runner(from_onnx(graph))
    whole = nearest_to(own, [quantiser], images).quantised(frozenset())
    exact, found = own(few), openvino_int8.runner(whole)(few)
    assert 0 < np.abs(found - exact).max() / np.abs(exact).max() < 0.1
    alone = [np.square(quantiser.run(frozenset({name}))(few) - exact).mean() for name in quantiser.layers]
    assert len(set(alone)) == 3, "each layer has its own share in the error"
    joined = openvino_int8.replaced(from_onnx(bare(onnx_pair.images)), whole.clone())
    assert [next(iter(output.get_names())) for output in joined.outputs] == ["logits", "probabilities"]
    compiled = import_openvino().Core().compile_model(joined, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    pictures = np.ascontiguousarray(few.transpose(0, 2, 3, 1))
    logits, probabilities = (compiled([pictures])[place] for place in (0, 1))
    pixels = np.stack([model.preprocess.pixels(picture) for picture in pictures]).transpose(0, 3, 1, 2)
    expected = openvino_int8.runner(whole)(pixels)
    assert np.abs(logits - expected).max() < 1e-2 * np.abs(expected).max()
    assert np.abs(softmax(logits) - probabilities).max() < 1e-5, "the float network is not in it any more"
    assert capsys.readouterr().out == "", "nncf's bars are not ours"
