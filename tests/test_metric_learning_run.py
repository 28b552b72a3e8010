"""`striate train --recipe metric_learning`: distances first, then a head, and a run folder like any other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from striate.data.formats import open_source
from striate.data.source import ArraySource
from striate.errors import Interrupted, UsageError
from striate.experiment import resume, train
from striate.prediction import load
from striate.signals import StopRequest

OPTIONS = {"epochs": 2, "batch": 32, "probe": False, "embedding": {"images_per_class": 4, "dimension": 16}}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))


def letters(num_train: int = 260, num_test: int = 52) -> ArraySource:
    source = open_source("demo:letters")
    assert isinstance(source, ArraySource)
    kept = np.concatenate([np.flatnonzero(source.given == 1)[:num_train], np.flatnonzero(source.given == 3)[:num_test]])
    return ArraySource(
        source.images[kept], name="some", location="demo:letters", kind="label", classes=source.classes,
        targets=source.targets[kept], given=source.given[kept],
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["supervised_contrastive", "triplet"])
def test_a_run_ends_in_a_classifier_on_features_that_were_learnt_by_distance(tmp_path: Path, loss: str) -> None:
    run = train(letters(), "fashion_cnn", "metric_learning", out=tmp_path / "run", loss=loss, **OPTIONS)
    row = run.history[-1]
    assert 0 < row["validation"]["mean_average_precision"] < 1
    assert 0 <= row["validation"]["recall_at_1"] <= row["validation"]["recall_at_5"] <= 1
    assert row["monitor"] == "mean_average_precision"
    assert run.report_path.exists()
    assert run.evaluation is not None
    assert run.evaluation["accuracy"] > 5 / 26
    model = load(run.path)
    assert model.raw(np.zeros((3, 1, 28, 28), np.uint8)).shape == (3, 26)
    assert run.record["recipe"]["loss"] == loss
    assert run.record["task"]["name"] == "classify"


@pytest.mark.slow
def test_a_stopped_run_comes_to_the_same_weights(tmp_path: Path) -> None:
    whole = train("demo:letters", "fashion_cnn", "metric_learning", out=tmp_path / "whole", **OPTIONS)

    class StopsLater(StopRequest):
        asked = 0

        def __bool__(self) -> bool:
            self.asked += 1
            return (tmp_path / "cut" / "recipe.json").exists() and self.asked > 60

    with pytest.raises(Interrupted):
        train("demo:letters", "fashion_cnn", "metric_learning", out=tmp_path / "cut", stop=StopsLater(), **OPTIONS)
    cut = resume(tmp_path / "cut")
    first, second = (load(run.path).module.state_dict() for run in (whole, cut))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert json.loads((whole.path / "evaluation.json").read_text()) == json.loads((cut.path / "evaluation.json").read_text())


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    for fields, what in (
        ({"balance": "sampler"}, "does not fit --loss supervised_contrastive"),
        ({"batch": 8}, "A batch of 8 has no two classes of 8"),
        ({"augment": {"mixup": 0.2}}, "mixup and CutMix blend classes"),
    ):
        with pytest.raises(UsageError, match=what):
            train(letters(), "fashion_cnn", "metric_learning", out=tmp_path / "run", epochs=1, probe=False, **fields)
    with pytest.raises(UsageError, match="does not end in one dense layer"):
        train(letters(), "squeezenet1_1", "metric_learning", out=tmp_path / "run", epochs=1, probe=False, size=32)
