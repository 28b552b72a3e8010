"""Every recipe runs two steps with the network it is for, shrunk in data alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from striate.experiment import train
from striate.recipes import RECIPES
from striate.zoo import MODELS

SUBJECTS = {
    name: next((variant.name for variant in MODELS.values() if variant.recipe == name), "fashion_cnn") for name in RECIPES
}


def test_every_variant_names_a_recipe_that_exists() -> None:
    assert {variant.recipe for variant in MODELS.values()} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))
    size = 32 if SUBJECTS[name].startswith("resnet") else None
    data = "demo:letters" if SUBJECTS[name] == "letters_cnn" else "demo:fashion"
    run = train(data, SUBJECTS[name], name, out=tmp_path / "run", size=size, epochs=1, batch=1024, accumulate=8, probe=False)
    row = run.history[-1]
    assert row["step"] == run.record["data"]["num_train"] // 1024
    assert row["skipped"] == 0
    assert row["validation"]["loss"] > 0
