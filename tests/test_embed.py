"""Embed: what a task owes the training loop, its figures, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from tiny import PLAIN, TinyBatches
from torch import nn

from striate import losses
from striate.errors import Refused, UsageError
from striate.recipe import Resolved
from striate.retrieval_metrics import recall_at_k, retrieval_average_precision
from striate.tasks.base import Batch
from striate.tasks.embed import Embed
from striate.training import fit
from striate.validation import validate

LABELS = torch.arange(24) % 5


def batch() -> Batch:
    image = torch.randn(24, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    return {"image": image, "label": LABELS, "index": torch.arange(24)}


def network(dimension: int = 8) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, dimension))


@pytest.mark.parametrize("loss", ["supervised_contrastive", "triplet"])
def test_the_loss_is_the_one_named_over_the_models_outputs(loss: Literal["supervised_contrastive", "triplet"]) -> None:
    model, task = network(), Embed(8, loss, temperature=0.3, margin=None)
    found = task.losses(model, batch(), "model")
    raw = model(batch()["image"])
    expected = (
        losses.supervised_contrastive(raw, LABELS, 0.3)
        if loss == "supervised_contrastive"
        else losses.batch_hard_triplet(raw, LABELS, None)
    )
    assert list(found) == [loss]
    torch.testing.assert_close(found[loss], expected)


def test_validation_gathers_the_figures_over_all_batches() -> None:
    """Not the mean of each batch's own: neighbours lie in other batches too."""
    model, whole, task = network(), batch(), Embed(8)
    parts = [{key: value[start : start + 10] for key, value in whole.items()} for start in (0, 10, 20)]
    figures = validate(task, model, parts)
    with torch.no_grad():
        rows = model(whole["image"]).numpy()
    assert figures["recall_at_1"] == recall_at_k(rows, LABELS.numpy(), 1)
    assert figures["recall_at_5"] == recall_at_k(rows, LABELS.numpy(), 5)
    assert figures["mean_average_precision"] == pytest.approx(retrieval_average_precision(rows, LABELS.numpy()))
    assert task.monitor in figures
    assert task.monitor_mode == "max"


def test_a_collapse_is_told() -> None:
    """Two bundles a right angle apart: the mean has length sqrt(1/2). One bundle: nearly 1."""
    said = []
    for angle in (np.pi / 2, 0.01):
        meter = Embed(2).meter()
        for turn in (0.0, angle):
            meter.update(np.array([[np.cos(turn), np.sin(turn)]] * 4), {"label": torch.arange(4)})
        figures = meter.compute()
        assert figures["spread"] == pytest.approx(np.sin(angle / 2) ** 2)
        said.append(Embed(2).concern(figures))
    assert said[0] is None
    assert said[1] is not None
    assert "collapsed" in said[1]


def test_decoded_embeddings_have_length_1() -> None:
    raw = np.random.default_rng(0).normal(size=(7, 8)).astype(np.float32)
    decoded = Embed(8).decode(raw)
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(decoded * np.linalg.norm(raw, axis=1, keepdims=True), raw, rtol=1e-5, atol=1e-6)


def test_reading_embeddings_imports_no_torch() -> None:
    code = "import striate.retrieval_metrics, sys; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_micro_batch_is_refused() -> None:
    with pytest.raises(Refused, match="would change this loss"):
        fit(Embed(8), network(), TinyBatches(batch(), 1), replace(PLAIN, batch=24), resolved=Resolved(micro_batch=12, epochs=1))


def test_written_and_read_back() -> None:
    task = Embed(32, "triplet", 0.07, None)
    assert Embed.from_json(task.to_json()) == task
    assert task.to_json()["name"] == "embed"


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"loss": "tripplet"}, "Unknown loss 'tripplet'"),
        ({"dimension": 1}, "An embedding of 1 numbers"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"margin": -0.1}, "margin is -0.1"),
        ({"margin": float("nan")}, "margin is nan"),
    ],
)
def test_what_has_no_meaning_is_refused(fields: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        Embed(**fields)


def test_a_network_of_another_width_is_named() -> None:
    with pytest.raises(UsageError, match=r"returns \[24, 8\], but this task needs \[24, 16\]"):
        Embed(16).forward(network(8), batch())
