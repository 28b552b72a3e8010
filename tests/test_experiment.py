"""From a folder of images to a run folder and back: what is written, what is refused, and who never sees the held-out images."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

import striate
from striate.data.source import ArraySource
from striate.errors import Refused, UsageError
from striate.experiment import train
from striate.probe import resolve
from striate.recipe import Recipe, average_over
from striate.recipes import get_recipe, recipe_for
from striate.runs import Run, claim_run_folder, free_run_folder, list_runs
from striate.tasks.classify import Classify

QUICK: dict[str, Any] = {"epochs": 2, "batch": 16, "probe": False, "cache": "off"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


class Watched(ArraySource):
    """Stripes of three directions in memory; notes which samples are read, and when."""

    def __init__(self, seed: int = 0, **changes: Any) -> None:
        draw = np.random.default_rng(seed)
        targets = np.arange(90, dtype=np.int64) % 3
        rows, columns = np.mgrid[:12, :12]
        waves = np.stack([rows, columns, rows + columns])[targets]
        clean = 120 + 80 * np.sin(waves + draw.uniform(0, 6, (90, 1, 1)))
        images = np.clip(clean + draw.normal(0, 20, clean.shape), 0, 255).astype(np.uint8)[..., None]
        given = np.repeat(np.array([1, 3], np.uint8), [60, 30])
        common: dict[str, Any] = {
            "name": "stripes", "location": "stripes", "kind": "label", "targets": targets, "given": given,
            "classes": ("across", "along", "askew"),
        }  # fmt: skip
        super().__init__(images, **(common | changes))
        self.taken: list[int] = []

    def read(self, i: int) -> NDArray[np.uint8]:
        self.taken.append(int(i))
        return super().read(i)


def small_network(num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, num_classes),
    )  # fmt: skip


def test_a_run_leaves_its_files_and_a_model_that_predicts(tmp_path: Path) -> None:
    run = train("demo:fashion", "fashion_cnn", out=tmp_path / "run", **(QUICK | {"epochs": 1, "batch": 256}))
    names = {path.name for path in run.path.iterdir()}
    assert names >= {
        "recipe.json",
        "metrics.jsonl",
        "split.json",
        "audit.json",
        "evaluation.json",
        "predictions.npz",
        "model.safetensors",
        "report.html",
    }
    assert run.status == "done"
    assert run.accuracy is not None
    assert run.accuracy > 0.2
    model = striate.load(run.path)
    assert model.classes[0] == "T-shirt/top"
    again = striate.evaluate(model, "demo:fashion")
    assert again.accuracy == run.accuracy
    assert again.split == "test"
    assert again.n == 600
    assert striate.evaluate(model, "demo:fashion", split="train").n == 2700, "what validates was not trained on"
    assert "striate.train('demo:fashion'" in run.text()
    assert [found.path for found in list_runs(tmp_path)] == [run.path]


def test_the_python_code_and_the_command_of_a_run_do_it_again(tmp_path: Path) -> None:
    fields = {"epochs": 1, "optimizer": {"lr": 0.02}, "augment": {"rotate": 5.0}, "ema": None}
    run = train("demo:letters", "letters_cnn", out=tmp_path / "run", **(QUICK | fields | {"batch": 512}))
    code = run.record["python"]
    namespace: dict[str, Any] = {}
    exec(code.replace("striate.train(", f"striate.train(out={str(tmp_path / 'again')!r}, cache='off', data=", 1), namespace)
    again = namespace["run"]
    assert again.record["recipe"] == run.record["recipe"]
    assert again.accuracy == run.accuracy
    words = run.record["command"]
    assert words[:3] == ["striate", "train", "demo:letters"]
    assert words[words.index("--optimizer.lr") + 1] == "0.02"
    assert words[words.index("--ema") + 1] == "none"


def test_training_never_sees_the_held_out_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels of the held-out split are made poisonous; every batch that fit is given is looked at."""
    import striate.experiment as experiment

    source, seen = Watched(), []
    real_fit = experiment.fit

    def watching_fit(task: Any, model: Any, batches: Any, recipe: Any, **rest: Any) -> Any:
        for epoch in range(2):
            seen.extend(np.concatenate([batch["index"].numpy() for batch in batches.train(epoch)]).tolist())
        seen.extend(np.concatenate([batch["index"].numpy() for batch in batches.validation()]).tolist())
        before = len(source.taken)
        fitted = real_fit(task, model, batches, recipe, **rest)
        assert not set(source.taken[before:]) & set(range(60, 90)), "fit read a held-out image"
        return fitted

    monkeypatch.setattr(experiment, "fit", watching_fit)
    run = train(source, small_network, out=tmp_path / "run", **QUICK)
    assert seen
    assert max(seen) < 60
    assert run.evaluation is not None
    assert run.evaluation["n"] == 30
    assert run.evaluation["split"] == "test"


def test_the_seed_decides_everything(tmp_path: Path) -> None:
    runs = [train(Watched(), small_network, out=tmp_path / str(k), seed=seed, **QUICK) for k, seed in enumerate((3, 3, 4))]
    first, same, other = (striate.load(run.path, arch=small_network).module.state_dict() for run in runs)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_run_that_stands_is_never_overwritten(tmp_path: Path) -> None:
    train(Watched(), small_network, out=tmp_path / "run", **QUICK)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    with pytest.raises(Refused, match="holds a run already"):
        train(Watched(), small_network, out=tmp_path / "run", **QUICK)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}


def test_a_folder_taken_meanwhile_gives_way_to_the_next(tmp_path: Path) -> None:
    first = free_run_folder(None, "a", tmp_path)
    assert claim_run_folder(first, None, "a") == tmp_path / "a-1"
    assert claim_run_folder(first, None, "a") == tmp_path / "a-2"


def test_changed_data_and_another_machine_refuse_to_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import striate.experiment as experiment

    run = train(Watched(), small_network, out=tmp_path / "run", **QUICK)
    run.model_path.unlink()
    stopped = Run(run.path)
    monkeypatch.setattr(experiment, "open_source", lambda location: Watched(seed=1))
    with pytest.raises(Refused, match="data are not those"):
        experiment.resume(stopped, arch=small_network)
    monkeypatch.setattr(experiment, "open_source", lambda location: Watched())
    record = json.loads((run.path / "recipe.json").read_text())
    record["environment"]["cpu"] = "Another Processor"
    (run.path / "recipe.json").write_text(json.dumps(record))
    with pytest.raises(Refused, match=r"processor was Another Processor[\s\S]*--allow-inexact"):
        experiment.resume(Run(run.path), arch=small_network)
    with pytest.raises(Refused, match="--arch"):
        experiment.resume(Run(run.path), allow_inexact=True)
    assert experiment.resume(Run(run.path), arch=small_network, allow_inexact=True).status == "done"


def test_numbers_and_several_labels_train_too(tmp_path: Path) -> None:
    numbers = Watched(kind="value", classes=(), targets=(np.arange(90) % 3).astype(np.float32))
    run = train(numbers, small_network, out=tmp_path / "numbers", **QUICK)
    assert run.evaluation is not None
    assert math.isfinite(run.evaluation["mae"])
    several = np.eye(3, dtype=np.float32)[np.arange(90) % 3]
    several[:, 0] = 1 - several[:, 2]
    run = train(Watched(kind="labels", targets=several), small_network, out=tmp_path / "several", balance="loss", **QUICK)
    assert run.evaluation is not None
    assert 0 <= run.evaluation["mean_average_precision"] <= 1
    with pytest.raises(UsageError, match="does not fit these targets"):
        train(Watched(kind="labels", targets=several), small_network, out=tmp_path / "no", balance="sampler", **QUICK)


@pytest.mark.parametrize("balance", ["auto", "sampler"])
def test_uneven_classes_are_balanced(tmp_path: Path, balance: str) -> None:
    targets = np.where(np.arange(90) % 9 < 7, 0, np.arange(90) % 9 - 6).astype(np.int64)
    run = train(Watched(targets=targets), small_network, out=tmp_path / "run", balance=balance, **QUICK)
    assert run.record["resolved"]["balance"] == ("loss" if balance == "auto" else "sampler")
    weights = run.record["task"]["class_weights"]
    assert (weights is not None and weights[1] > weights[0]) if balance == "auto" else weights is None


def test_a_networks_shape_mistakes_are_named_before_training(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"does not take images of 1 x 12 x 12"):
        train(Watched(), nn.Sequential(nn.Flatten(), nn.Linear(99, 3)), out=tmp_path / "a", **QUICK)
    with pytest.raises(Refused, match=r"the data needs \(2, 3\)"):
        train(Watched(), lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 5)), out=tmp_path / "b", **QUICK)
    assert not (tmp_path / "a").exists(), "nothing was begun"


def test_a_budget_fits_the_epochs(tmp_path: Path) -> None:
    run = train(Watched(), small_network, out=tmp_path / "run", budget="1s", **(QUICK | {"probe": True, "epochs": 10_000}))
    assert 1 <= run.record["resolved"]["epochs"] < 10_000
    assert any("budget" in note for note in run.record["resolved"]["notes"])
    with pytest.raises(UsageError, match="is not a time"):
        train(Watched(), small_network, out=tmp_path / "no", budget="soon", **QUICK)


def test_the_probe_asks_once_a_machine_and_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import striate.probe as probe

    task, model = Classify(("a", "b", "c")), small_network(3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    batch = {"image": torch.rand(32, 1, 12, 12), "label": torch.arange(32) % 3, "index": torch.arange(32)}
    recipe, answers = Recipe(batch=32), tmp_path / "probe.json"
    monkeypatch.setattr(probe.machine, "is_busy", lambda: False)
    first = resolve(task, model, batch, recipe, "cpu", cache=answers)
    assert first.precision in ("fp32", "bf16")
    assert first.step_seconds is not None
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items()), "trials are on copies"
    monkeypatch.setattr(probe, "_measure", lambda *_: pytest.fail("measured again"))
    assert resolve(task, model, batch, recipe, "cpu", cache=answers) == first
    monkeypatch.setattr(probe.machine, "is_busy", lambda: True)
    with pytest.raises(pytest.fail.Exception):
        resolve(task, model, batch, recipe, "cpu", cache=answers)
    monkeypatch.setattr(probe.machine, "is_busy", lambda: False)
    answers.write_text("torn {")
    with pytest.raises(pytest.fail.Exception):
        resolve(task, model, batch, recipe, "cpu", cache=answers)


def test_too_little_memory_gives_a_micro_batch_and_says_what_batch_norm_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is pretended: a step costs 1 MiB and 1 MiB more for each image; 40 MiB are there."""
    import striate.probe as probe

    monkeypatch.setattr(probe.machine, "available_memory", lambda: 40 << 20)
    monkeypatch.setattr(probe.machine, "resident_memory", lambda: 1 << 30)
    monkeypatch.setattr(probe, "_peak", lambda *arguments: (1 << 30) + ((1 + arguments[-1].micro_batch) << 20))
    batch = {"image": torch.rand(128, 1, 12, 12), "label": torch.arange(128) % 3, "index": torch.arange(128)}
    resolved = resolve(Classify(("a", "b", "c")), small_network(3), batch, Recipe(batch=128), "cpu")
    assert resolved.micro_batch == 16, "the largest power of two whose 17 MiB stay within 80 % of 40"
    assert any("batch norm sees 16 images" in note for note in resolved.notes)


def test_small_pictures_in_a_folder_keep_their_size(tmp_path: Path) -> None:
    for label in ("round", "square"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for k in range(12):
            pixels = np.random.default_rng(k).integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / label / f"{k}{label}.png")
    run = train(tmp_path / "data", "resnet20_cifar", out=tmp_path / "run", **(QUICK | {"epochs": 1, "batch": 4}))
    assert run.record["model"]["input_size"] == [20, 20]


def test_the_average_of_weights_spans_a_twentieth_of_a_run_at_most(tmp_path: Path) -> None:
    def kept(name: str, **fields: Any) -> float | None:
        ema: float | None = train("demo:fashion", "mlp", out=tmp_path / name, cache="off", **fields).record["recipe"]["ema"]
        return ema

    assert kept("short", epochs=2, probe=False) == average_over(0.998, 42)
    assert kept("own", epochs=2, probe=False, ema=0.9) == 0.9
    budget = train("demo:fashion", "mlp", out=tmp_path / "budget", cache="off", budget="0.5s")
    assert budget.record["recipe"]["ema"] == average_over(0.998, 21 * budget.record["resolved"]["epochs"])
    assert "ema" not in budget.record["python"]
    assert "--ema" not in budget.record["command"]
    assert average_over(0.998, 42) == pytest.approx(1 - 20 / 42, abs=1e-6)
    assert average_over(0.998, 9_999) == pytest.approx(0.998, abs=1e-6)
    assert average_over(0.998, 10_001) == 0.998
    assert average_over(0.9, 3) == 0.5
    assert average_over(None, 3) is None


def test_a_short_run_has_the_recipe_for_short_runs_unless_one_is_named(tmp_path: Path) -> None:
    def trained(name: str, **fields: Any) -> dict[str, Any]:
        record: dict[str, Any] = train("demo:fashion", "fashion_cnn", out=tmp_path / name, cache="off", **fields).record["recipe"]
        return record

    short = trained("short", epochs=1, probe=False)
    assert (short["name"], short["augment"]["shift"]) == ("fashion_cnn_short", 0)
    assert trained("named", recipe="fashion_cnn", epochs=1, probe=False)["augment"]["shift"] == 1
    assert trained("own", epochs=1, probe=False, label_smoothing=0.2)["label_smoothing"] == 0.2
    budget = trained("budget", budget="0.1s")
    assert (budget["name"], budget["augment"]["shift"]) == ("fashion_cnn_short", 0)
    assert recipe_for("fashion_cnn", 6) == get_recipe("fashion_cnn")
    assert recipe_for("fast", 1) == get_recipe("fast")
