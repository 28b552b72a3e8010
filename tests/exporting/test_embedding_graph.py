"""Embedding by a graph: only one that says what the network says is taken, and it is made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_models import FRUIT, card, noise
from torch import Tensor, nn

from striate.data.preprocess import Preprocess
from striate.embedder import Embedder
from striate.embedding import embed
from striate.errors import Refused, UsageError
from striate.exporting import embedding_graph
from striate.prediction import Model
from striate.progress import Silent
from striate.tasks.classify import Classify

LOOK = Preprocess((16, 16), None, channels=3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


class Small(nn.Module):
    """Batch norm to be folded, and a head that no embedding has."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, num_classes]"""
        return self.head(self.maps(x).flatten(1))  # type: ignore[no-any-return]


class Branching(Small):
    """Asks its numbers which way to go: nothing that a graph could say."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, num_classes]"""
        return super().forward(x if float(x.mean()) > 0 else -x)


class Words(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(embedding_graph.Moment, "disturbed", lambda moment: False)


def model_of(network: nn.Module) -> Model:
    return Model.from_module(network, card(Classify(FRUIT), LOOK, type(network).__name__, in_zoo=False))


def small(network: type[nn.Module] = Small) -> Model:
    torch.manual_seed(0)
    module = network()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return model_of(module)


def pictures(count: int = 12) -> NDArray[np.uint8]:
    return np.stack([noise(i, 16, 16) for i in range(count)]).transpose(0, 3, 1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_graph_embeds_as_the_network_does_and_is_made_once(backend: Any) -> None:
    model, images, words = small(), pictures(), Words()
    plain = Embedder(model)(images)
    embedder = Embedder(model)
    embedder.hasten(images, backend, words)
    # Unit vectors: sums of 27 products, folded and in another order, in float32.
    np.testing.assert_allclose(embedder(images), plain, rtol=0, atol=27 * 2**-22)
    assert [text.partition(":")[0] for text in words.said] == [f"making the graph for {backend}", f"embedded by {backend} fp32"]
    again = Words()
    Embedder(model).hasten(images, backend, again)
    assert [text.partition(":")[0] for text in again.said] == [f"embedded by {backend} fp32"]


@pytest.mark.slow
def test_the_fastest_is_taken_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, words = small(), pictures(), Words()
    monkeypatch.setattr(
        embedding_graph, "_times", lambda networks, _: {(name, "fp32"): 1 + (name != "onnx") for name in networks}
    )
    Embedder(model).hasten(images, "auto", words)
    assert "onnx fp32" in words.said[-1].partition(":")[0]
    monkeypatch.setattr(embedding_graph, "_times", None)  # not asked again
    Embedder(model).hasten(images, "auto", words)
    assert words.said[-1] == words.said[-2]


@pytest.mark.slow
def test_a_graph_that_disagrees_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the graph is of a network whose first filter is another."""
    whole = embedding_graph._write

    def other(name: str, path: Path, module: nn.Module, *rest: Any) -> None:
        with torch.no_grad():
            weight = next(module.parameters())
            weight[0] *= 1.5
            whole(name, path, module, *rest)
            weight[0] /= 1.5

    monkeypatch.setattr(embedding_graph, "_write", other)
    model, images, words = small(), pictures(), Words()
    with pytest.raises(Refused, match="does not embed as the network does") as caught:
        Embedder(model).hasten(images, "onnx", words)
    assert "of the largest apart" in str(caught.value.why)
    embedder = Embedder(model)
    embedder.hasten(images, "auto", words)
    assert words.said[-1].startswith("embedded by torch fp32")
    assert "not timed: onnx fp32: its numbers are" in words.said[-1]


@pytest.mark.slow
def test_a_kept_graph_of_other_code_under_the_same_weights_is_made_anew() -> None:
    class Changed(Small):
        def forward(self, x: Tensor) -> Tensor:
            """[N, 3, H, W] -> [N, num_classes]"""
            return super().forward(x.flip(3) * 2)

    images, words = pictures(), Words()
    Embedder(small()).hasten(images, "onnx", words)
    changed = Embedder(small(Changed))
    plain = changed(images)
    changed.hasten(images, "onnx", words)
    np.testing.assert_allclose(changed(images), plain, rtol=0, atol=27 * 2**-22)
    assert sum(text.startswith("making the graph") for text in words.said) == 2


@pytest.mark.slow
def test_a_network_that_cannot_be_exported_is_embedded_by_torch() -> None:
    words = Words()
    Embedder(small(Branching)).hasten(pictures(), "auto", words)
    assert words.said[-1].startswith("embedded by torch fp32")
    assert "cannot be exported" in words.said[-1]


def test_backends_that_are_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="Unknown backend 'onx'"):
        embed(small(), tmp_path, tmp_path / "index.npz", backend="onx")  # type: ignore[arg-type]
    monkeypatch.setattr(embedding_graph, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="openvino needs onnx, onnxscript, openvino"):
        embed(small(), tmp_path, tmp_path / "index.npz", backend="openvino")
