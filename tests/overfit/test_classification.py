"""Classify memorises noise: one label, several labels, a number; by cross-entropy and by the lecture's squared error."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from tiny import PLAIN, memorise
from torch import nn

from striate.tasks.base import Batch
from striate.tasks.classify import Classify

CLASSES = tuple("abcdefg")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def noise(label: torch.Tensor) -> Batch:
    """Images without any pattern, so that only memory can tell them apart."""
    return {"image": torch.randn(len(label), 1, 12, 12), "label": label, "index": torch.arange(len(label))}


def network(num_outputs: int) -> nn.Module:
    body = [nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(400, num_outputs))


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_one_label(loss: Literal["cross_entropy", "mse"]) -> None:
    task = Classify(CLASSES, loss=loss)
    run = memorise(task, network(task.num_outputs), noise(torch.arange(16) % 7), steps=80)
    assert run.before["accuracy"] < 0.5
    assert run.after["accuracy"] == run.after["top5"] == 1.0
    assert run.after["loss"] < 0.01


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_several_labels(loss: Literal["cross_entropy", "mse"]) -> None:
    task = Classify(CLASSES, "labels", loss=loss)
    run = memorise(task, network(task.num_outputs), noise((torch.rand(16, 7) < 0.4).float()), steps=150, lr=1e-3)
    assert run.before["mean_average_precision"] < 0.9
    assert run.before["exact_match"] < 0.2
    assert run.after["mean_average_precision"] == run.after["exact_match"] == 1.0


def test_number() -> None:
    """Targets far from 0 and wide: without standardising, neither would be reached."""
    label = torch.randn(16) * 300 + 5000
    task = Classify(kind="value", target_mean=float(label.mean()), target_std=float(label.std()))
    run = memorise(task, network(1), noise(label), steps=200)
    assert run.before["mae"] > 100
    assert run.after["mae"] < 3
    assert run.after["r2"] > 0.999


def test_average_of_weights_and_accumulation() -> None:
    """What is validated and returned under ``ema`` is the average, and it has memorised too."""
    task = Classify(CLASSES, label_smoothing=0.1, class_weights=(1.0, 2.0, 1.0, 1.0, 0.5, 1.0, 1.0))
    recipe = replace(PLAIN, ema=0.9, accumulate=2, clip=1.0)
    run = memorise(task, network(task.num_outputs), noise(torch.arange(16) % 7), steps=80, recipe=recipe)
    assert run.before["accuracy"] < 0.5
    assert run.after["accuracy"] == 1.0
