"""Every recipe runs two steps with the smallest network it is for, on a few real images, in a small batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from striate.catalogue import catalogue
from striate.data.formats import open_source
from striate.data.source import ArraySource
from striate.experiment import train
from striate.recipes import RECIPES
from striate.zoo import MODELS

COSTS = {name: entry.macs for name, entry in catalogue().items()}
SUBJECTS = {
    name: min(
        (variant.name for variant in MODELS.values() if variant.recipe == name),
        key=lambda subject: (max(MODELS[subject].min_size), COSTS.get(subject, 0)),
        default="fashion_cnn",
    )
    for name in RECIPES
}
NAMES = [pytest.param(name, marks=pytest.mark.slow) if max(MODELS[SUBJECTS[name]].input_size) > 32 else name for name in RECIPES]


def some_of(data: str, num_train: int, num_test: int) -> ArraySource:
    """The first images of each split of an embedded data set."""
    source = open_source(data)
    assert isinstance(source, ArraySource)
    kept = np.concatenate([np.flatnonzero(source.given == 1)[:num_train], np.flatnonzero(source.given == 3)[:num_test]])
    return ArraySource(
        source.images[kept], name="some", location=data, kind="label", classes=source.classes,
        targets=source.targets[kept], given=source.given[kept],
    )  # fmt: skip


def test_every_variant_names_a_recipe_that_exists() -> None:
    assert {variant.recipe for variant in MODELS.values()} <= set(RECIPES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))
    source = some_of("demo:letters" if SUBJECTS[name] == "letters_cnn" else "demo:fashion", 48, 12)
    run = train(source, SUBJECTS[name], name, out=tmp_path / "run", epochs=1, batch=16, probe=False)
    row = run.history[-1]
    assert row["step"] == run.record["data"]["num_train"] // 16 == 2
    assert row["skipped"] == 0
    assert row["validation"]["loss"] > 0 or name == "metric_learning"  # too few to validate on: no two of one class
