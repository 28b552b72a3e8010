"""The gate lets the model's own artefact through, and nothing else: by what was measured of the files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from trained_run import TinyNet, open_run

from striate.backends.artefact import CARD
from striate.exporting.blame import compare_layers, culprit
from striate.exporting.conversion import Pair
from striate.exporting.gate import Verdict, _paired, agreement, judge, relative_difference
from striate.exporting.images import gate_images
from striate.exporting.onnx_file import write_onnx
from striate.prediction import Model
from striate.scoring import Evaluation
from striate.tasks.decoding import Decoder


def failed(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.checks if check.passed is not True}


def judged(model: Model, pair: Pair, precision: str = "fp32") -> Verdict:
    return judge(model, pair, gate_images(model, None), precision)


def changed(pair: Pair, folder: Path, change: Callable[[onnx.ModelProto, dict[str, Any]], None]) -> Pair:
    """A copy of both files in which graph and card were changed; sealed again, so that only a measurement can tell."""
    result = Pair(folder / pair.tensor.name, folder / pair.images.name)
    for source, target in zip(pair.files, result.files, strict=True):
        graph = onnx.load(source)
        card = json.loads(next(entry.value for entry in graph.metadata_props if entry.key == CARD))
        del graph.metadata_props[:]
        change(graph, card)
        write_onnx(target, graph, card)
    return result


def initializer(graph: onnx.ModelProto, ending: str) -> Any:
    (found,) = [tensor for tensor in graph.graph.initializer if tensor.name.endswith(ending)]
    return found


def test_the_models_own_passes(model: Model, onnx_pair: Pair) -> None:
    verdict = judged(model, onnx_pair)
    assert verdict.status == "passed"
    assert failed(verdict) == set()
    assert verdict.before.n == verdict.after.n == 30
    assert verdict.before.accuracy == verdict.after.accuracy
    assert verdict.before.accuracy is not None
    assert verdict.before.accuracy > 0.8, "the small network has learnt nothing: the gate proves little"


def test_class_names_in_another_order(model: Model, onnx_pair: Pair, tmp_path: Path) -> None:
    def swap(graph: onnx.ModelProto, card: dict[str, Any]) -> None:
        card["classes"] = card["classes"][::-1]

    verdict = judged(model, changed(onnx_pair, tmp_path, swap))
    assert verdict.status == "rejected"
    assert failed(verdict) == {"tensor graph: class names", "image graph: class names"}


def test_an_artefact_of_an_earlier_checkpoint(run: Path, onnx_pair: Pair) -> None:
    later = TinyNet()
    later.load_state_dict(open_run(run).module.state_dict())
    with torch.no_grad():
        later.fc.weight += 0.01 * torch.randn(later.fc.weight.shape, generator=torch.Generator().manual_seed(0))
    other = open_run(run)
    other.module.load_state_dict(later.state_dict())
    assert "logits against the model" in failed(judged(other, onnx_pair))


def test_a_wrong_layer_is_named(model: Model, onnx_pair: Pair, tmp_path: Path) -> None:
    def scale(graph: onnx.ModelProto, card: dict[str, Any]) -> None:
        weight = initializer(graph, "conv2.weight")
        values = onnx.numpy_helper.to_array(weight).copy()
        values[2] *= 4
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))

    pair = changed(onnx_pair, tmp_path, scale)
    assert judged(model, pair).status == "rejected"
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 24, 24), dtype=np.uint8)
    errors = compare_layers(model, pair.tensor, images, "fp32")
    assert [row.path for row in errors][:3] == ["bn1", "act1", "pool"]
    found = culprit(errors)
    assert found is not None
    assert found.path == "bn2", "the convolution's output is compared behind the batch norm that is part of it"
    assert culprit(compare_layers(model, onnx_pair.tensor, images, "fp32")) is None


def test_pixels_that_are_others(model: Model, onnx_pair: Pair, tmp_path: Path) -> None:
    def blur(graph: onnx.ModelProto, card: dict[str, Any]) -> None:
        """Half a pixel off: the sampling places of the first product."""
        for node in graph.graph.node:
            for position, name in enumerate(node.input):
                if name == "images" and node.op_type == "Transpose":
                    node.input[position] = "darker"
        graph.graph.node.insert(0, onnx.helper.make_node("Max", ["dark", "images"], ["darker"]))
        graph.graph.initializer.append(onnx.helper.make_tensor("dark", onnx.TensorProto.UINT8, [1], [60]))

    result = Pair(tmp_path / onnx_pair.tensor.name, changed(onnx_pair, tmp_path, blur).images)
    shutil.copy(onnx_pair.tensor, result.tensor)
    assert {"pixels: levels apart", "pixels: share, on average"} <= failed(judged(model, result))


def test_too_few_images_for_int8_is_undecided(model: Model, onnx_pair: Pair) -> None:
    verdict = judged(model, onnx_pair, "int8")
    assert verdict.status == "undecided"
    assert verdict.needed is not None
    assert verdict.needed > 150
    (open_question,) = [row for row in verdict.checks if row.passed is None]
    assert "exact, paired" in open_question.name


@pytest.mark.parametrize(
    ("n", "lost", "gained", "status"),
    [
        (1000, 0, 0, "passed"),
        (1000, 8, 6, "passed"),
        (1000, 15, 4, "rejected"),  # 1.1 points
        (1000, 30, 25, "undecided"),  # half a point, but 55 images changed sides
        (30, 1, 0, "undecided"),  # 3 points, of which nobody knows
        (30, 15, 0, "rejected"),  # certainly more than one point
    ],
)
def test_paired_accuracy(n: int, lost: int, gained: int, status: str) -> None:
    right = np.arange(n) >= n // 2
    after = right.copy()
    after[n // 2 : n // 2 + lost] = False
    after[:gained] = True

    def scores(correct: np.ndarray) -> Evaluation:
        """Of samples of class 0, said to be of class 0 where that is to be correct."""
        return Evaluation.from_probabilities(np.stack([correct, ~correct], 1).astype(float), np.zeros(n, np.int64), ("a", "b"))

    checks, needed = _paired(scores(right), scores(after))
    assert Verdict(tuple(checks), scores(right), scores(after), "all", needed).status == status
    assert (needed is not None) == (status == "undecided")
    assert needed is None or needed > n


def test_relative_difference_lets_nothing_through() -> None:
    logits = np.array([[1.0, -4.0]], np.float32)
    assert relative_difference(logits, logits) == 0
    assert relative_difference(logits, logits + np.float32(0.4)) == pytest.approx(0.1, rel=1e-6)
    assert relative_difference(logits, np.full_like(logits, np.nan)) == float("inf")
    assert relative_difference(logits, logits[:, :1]) == float("inf")
    assert relative_difference(0 * logits, logits) == float("inf")


def test_ties_are_the_same_answer_only_within_rounding() -> None:
    decoder = Decoder("label", ("a", "b"))
    own = np.array([[10.0, 9.9999], [10.0, 9.0], [1.0, 2.0]], np.float32)
    other = own[:, ::-1].copy()
    assert agreement(decoder, own, other, 1e-4) == (1, 1)
    assert agreement(decoder, own, other, 0.0) == (0, 0)
    assert agreement(decoder, own, own, 0.0) == (3, 0)
    labels = replace(decoder, kind="labels", threshold=0.5)
    assert agreement(labels, np.array([[1e-5, 5.0]], np.float32), np.array([[-1e-5, 5.0]], np.float32), 1e-4) == (1, 1)
    assert agreement(labels, np.array([[0.5, 5.0]], np.float32), np.array([[-0.5, 5.0]], np.float32), 1e-4) == (0, 0)
    number = Decoder("value")
    assert agreement(number, np.array([[0.0], [1.0]], np.float32), np.array([[0.01], [1.2]], np.float32), 0.0) == (1, 0)
