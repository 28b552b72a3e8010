"""Classify: what it refuses, what it returns, what it measures, and that reading its outputs needs no torch."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from striate import losses
from striate.errors import UsageError
from striate.tasks.base import Meter
from striate.tasks.classify import Classify
from striate.tasks.decoding import Decoder, sigmoid, softmax

CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")


class Fixed(nn.Module):
    """Returns the same outputs whatever it is shown, and counts how often it is asked."""

    def __init__(self, outputs: Any) -> None:
        super().__init__()
        self.outputs, self.calls = torch.as_tensor(outputs, dtype=torch.float32), 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.outputs


def measured(meter: Meter, prediction: Any, label: Any, pieces: int = 3) -> dict[str, float]:
    """Figures after the samples arrived in several uneven batches."""
    for part in np.array_split(np.arange(len(label)), pieces):
        meter.update(prediction[part], {"label": label[part]})
    return meter.compute()


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("label", {"classes": ("ant",)}, "1 classes leave nothing to tell apart\n  where: classes"),
        ("labels", {"classes": ()}, "0 classes leave nothing to tell apart"),
        ("label", {"classes": CLASSES, "class_weights": (1.0,)}, "1 class weights for 7 classes"),
        ("label", {"classes": CLASSES, "label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ("label", {"classes": CLASSES, "loss": "hinge"}, "Unknown loss 'hinge'"),
        ("labels", {"classes": CLASSES, "threshold": 1.0}, "threshold is 1.0"),
        ("value", {"loss": "cross_entropy"}, "Loss 'cross_entropy' does not compare numbers"),
        ("value", {"classes": CLASSES}, "Numbers have no classes"),
        ("value", {"class_weights": (1.0,)}, "Numbers have no class weights"),
        ("value", {"label_smoothing": 0.1}, "Numbers cannot be smoothed over classes"),
        ("value", {"target_std": 0.0}, "standard deviation is 0.0"),
        ("value", {"target_std": math.nan}, "standard deviation is nan"),
        ("number", {}, "Unknown kind of target 'number'"),
    ],
)
def test_contradictions_are_refused(kind: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        Classify(kind=kind, **fields)
    assert message in str(error.value)
    assert "do:" in str(error.value)


def test_a_model_of_another_width_is_refused_by_both_numbers() -> None:
    task = Classify(CLASSES)
    with pytest.raises(UsageError, match=r"returns \[2, 10\].* needs \[2, 7\](.|\n)*num_classes=7"):
        task.forward(Fixed(torch.zeros(2, 10)), {"image": torch.zeros(2, 1, 4, 4)})
    with pytest.raises(UsageError, match=r"returns \[2, 7, 1, 1\]"):
        task.forward(Fixed(torch.zeros(2, 7, 1, 1)), {"image": torch.zeros(2, 1, 4, 4)})


LABEL = torch.tensor([1, 0])
MANY = torch.tensor([[1.0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1]])
WEIGHTS = (1.0, 2.0, 3.0, 1.0, 1.0, 1.0, 0.5)


@pytest.mark.parametrize(
    ("kind", "loss", "label", "function"),
    [
        ("label", "auto", LABEL, losses.cross_entropy),
        ("label", "cross_entropy", LABEL, losses.cross_entropy),
        ("label", "mse", LABEL, losses.squared_error),
        ("labels", "auto", MANY, losses.binary_cross_entropy),
        ("labels", "cross_entropy", MANY, losses.binary_cross_entropy),
        ("labels", "mse", MANY, losses.binary_squared_error),
    ],
)
def test_each_kind_has_its_loss(kind: Any, loss: Any, label: torch.Tensor, function: Any) -> None:
    """Smoothing and weights included; the validation loss is the same, from outputs already computed."""
    task = Classify(CLASSES, kind, loss, label_smoothing=0.1, class_weights=WEIGHTS)
    model, batch = Fixed(torch.randn(2, 7)), {"image": torch.zeros(2, 1, 4, 4), "label": label}
    expected = function(model.outputs, label, 0.1, torch.tensor(WEIGHTS))
    assert sum(task.losses(model, batch, "model").values()) == expected
    raw = task.forward(model, batch)
    model.calls = 0
    assert sum(task.validation_losses(model, batch, raw).values()) == expected
    assert model.calls == 0


def test_a_number_is_learnt_in_standard_units_and_told_in_its_own() -> None:
    task = Classify(kind="value", target_mean=100.0, target_std=20.0)
    batch = {"image": torch.zeros(2, 1, 4, 4), "label": torch.tensor([120.0, 60.0])}
    model = Fixed([[1.0], [-1.0]])
    raw = task.forward(model, batch)
    assert sum(task.losses(model, batch, "model").values()) == (0 + 1) / 2
    assert task.decode(raw.numpy()).tolist() == [120.0, 80.0]
    assert measured(task.meter(), task.decode(raw.numpy()), batch["label"].numpy(), 2) == {"mae": 10.0, "r2": 1 - 400 / 1800}


def test_meter_of_one_label() -> None:
    """Targets first, second, sixth and last among seven."""
    probabilities = np.tile(softmax(-np.arange(7.0)), (4, 1))
    figures = measured(Classify(CLASSES).meter(), probabilities, np.array([0, 1, 5, 6]))
    assert figures == {"accuracy": 0.25, "top5": 0.5}
    soft = np.eye(7)[[0, 1, 5, 6]] * 0.8 + 0.2 / 7
    assert measured(Classify(CLASSES).meter(), probabilities, soft) == figures
    assert measured(Classify(CLASSES[:5]).meter(), probabilities[:, :5], np.array([0, 1, 2, 3])) == {"accuracy": 0.25}


def test_a_model_of_nans_is_never_right() -> None:
    nothing = Classify(CLASSES).decode(np.full((4, 7), np.nan, np.float32))
    assert measured(Classify(CLASSES).meter(), nothing, np.array([0, 1, 5, 6])) == {"accuracy": 0.0, "top5": 0.0}


def test_meter_of_several_labels() -> None:
    """Class 0: the positive ranks second of four (1/2); class 1: first (1); class 2 has no positive. One row exact."""
    targets = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]])
    probabilities = np.array([[0.6, 0.1, 0.1], [0.7, 0.9, 0.1], [0.2, 0.6, 0.1], [0.1, 0.2, 0.5]])
    figures = measured(Classify(CLASSES[:3], "labels").meter(), probabilities, targets)
    assert figures == {"mean_average_precision": 0.75, "exact_match": 0.25}


def test_the_threshold_decides_what_counts_as_right() -> None:
    probabilities, targets = np.array([[0.4, 0.2], [0.35, 0.9]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    for threshold, share in ((0.1, 0.0), (0.38, 1.0), (0.4, 1.0), (0.5, 0.5)):
        figures = measured(Classify(CLASSES[:2], "labels", threshold=threshold).meter(), probabilities, targets)
        assert figures["exact_match"] == share, threshold


@pytest.mark.parametrize(
    ("kind", "monitor", "mode"),
    [("label", "accuracy", "max"), ("labels", "mean_average_precision", "max"), ("value", "mae", "min")],
)
def test_what_is_monitored_is_measured(kind: Any, monitor: str, mode: str) -> None:
    task = Classify(() if kind == "value" else CLASSES, kind)
    assert (task.monitor, task.monitor_mode) == (monitor, mode)
    label = {"label": LABEL, "labels": MANY, "value": LABEL.float()}[kind].numpy()
    assert monitor in measured(task.meter(), task.decode(np.zeros((2, task.num_outputs), np.float32)), label, 1)


@pytest.mark.parametrize(
    "task",
    [
        Classify(CLASSES, label_smoothing=0.1, class_weights=WEIGHTS, loss="mse"),
        Classify(CLASSES[:1], "labels"),
        Classify(CLASSES[:3], "labels", threshold=0.3),
        Classify(kind="value", target_mean=-3.5, target_std=0.25),
    ],
)
def test_a_bundle_gives_the_same_task_back(task: Classify) -> None:
    stored = json.loads(json.dumps(task.to_json()))
    assert stored["name"] == "classify"
    assert Classify.from_json(stored, list(task.classes)) == task
    assert Decoder.from_json(stored, list(task.classes)) == task.decoder


def test_softmax_and_sigmoid_are_torchs_and_do_not_overflow() -> None:
    logits = np.array([[1e4, 0, -1e4], [88.8, 89, -1], [0, 0, 0], [-200, -201, -200]], np.float32)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        ours = softmax(logits), sigmoid(logits)
    for mine, theirs in zip(ours, (torch.softmax(torch.tensor(logits), 1), torch.sigmoid(torch.tensor(logits))), strict=True):
        assert mine.dtype == np.float32
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=2e-6, atol=1e-38)


def test_predictions_of_one_label() -> None:
    decoder = Decoder("label", CLASSES)
    scores = decoder.scores(np.log(np.array([[1, 4, 1, 2, 1, 1, 0.5]])))
    (prediction,) = decoder.predictions(scores, ["a.png"], top=3)
    assert prediction.source == "a.png"
    assert [name for name, _ in prediction.top] == ["bee", "dog", "ant"], "equal ones come in class order"
    assert (prediction.label, prediction.labels) == ("bee", ("bee",))
    assert prediction.probability == pytest.approx(4 / 10.5)
    assert len(decoder.predictions(scores, ["a.png"], top=100)[0].top) == 7


def test_predictions_of_several_labels_and_of_a_number() -> None:
    decoder = Decoder("labels", CLASSES[:3])
    scores = decoder.scores(np.array([[0.0, -1.0, 2.0], [-1.0, -2.0, -3.0]]))
    both, none = decoder.predictions(scores, ["a", "b"], top=1)
    assert (both.labels, both.label, none.labels, none.label) == (("ant", "cat"), "cat", (), "ant")
    number = Decoder("value", target_mean=10.0, target_std=2.0)
    (prediction,) = number.predictions(number.scores(np.array([[-1.0]])), ["c"])
    assert (prediction.value, prediction.label, prediction.probability, prediction.top) == (8.0, None, None, ())


def test_reading_outputs_imports_no_torch() -> None:
    """So that a server with an exported model needs none."""
    code = "import sys, striate.metrics, striate.tasks.decoding; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
