"""Training from the page: the command line that is run, ways to break it, and a process that is held, ended and killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from studio_running import until
from torch import nn

from striate.data.formats import open_source
from striate.data.preprocess import Preprocess
from striate.data.split import make_split
from striate.errors import UsageError
from striate.recipes import get_recipe
from striate.runs import Run
from striate.studio.breaking import unnormalised, write_network, write_shuffled
from striate.studio.events import changes
from striate.studio.presets import TOO_FAST
from striate.studio.studio import Studio
from striate.studio.train_api import Asked, _words
from striate.studio.trainings import Trainings, holder_of
from striate.zoo import build, find_variant


def option(words: list[str], name: str) -> str | None:
    return next((word.partition("=")[2] for word in words if word.startswith(f"--{name}=")), None)


# The command line


def test_what_is_asked_becomes_a_command_line(studio: Studio, tmp_path: Path, patterns: Path) -> None:
    asked = Asked(data="patterns", network="lenet5", recipe="fast", epochs=3, rate=0.05, size=32)
    words = _words(asked, tmp_path, studio)
    assert words[0] == str(patterns)
    assert [option(words, name) for name in ("arch", "recipe", "epochs", "optimizer.lr", "size")] == [
        "lenet5",
        "fast",
        "3",
        "0.05",
        "32",
    ]
    assert option(words, "seed") is None


def test_a_hundred_times_the_rate_of_the_recipe(studio: Studio, tmp_path: Path) -> None:
    words = _words(Asked(data="patterns", network="mlp", preset="rate"), tmp_path, studio)
    assert float(option(words, "optimizer.lr") or 0) == pytest.approx(TOO_FAST * get_recipe("mlp").optimizer.lr)
    words = _words(Asked(data="patterns", preset="rate", rate=0.002), tmp_path, studio)
    assert float(option(words, "optimizer.lr") or 0) == pytest.approx(0.2)


def test_what_cannot_be_trained_leaves_no_folder(client: TestClient, studio: Studio) -> None:
    for body in ({"data": "patterns", "network": "own"}, {"data": "patterns", "network": "lenet", "preset": "normalisation"}):
        assert client.post("/api/train/start", json=body).status_code == 400
    assert client.post("/api/train/start", json={"data": "patterns", "epochs": 0}).status_code == 400
    assert [path.name for path in studio.opened.home.iterdir()] == ["stripes"]


def test_what_can_be_chosen(client: TestClient) -> None:
    choices = client.get("/api/train/choices").json()
    assert "patterns" in choices["data"]
    assert {"name", "about"} <= set(choices["recipes"][0])
    assert [each["name"] for each in choices["presets"]] == ["rate", "normalisation", "labels"]


# Breaking


def test_without_normalisation_a_network_reads_raw_pixels(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    torch.manual_seed(0)
    plain = build("lenet5", 4, 1, (32, 32)).eval()
    torch.manual_seed(0)
    raw = unnormalised("lenet5", 4, 1, (32, 32)).eval()
    normalized = Preprocess((32, 32), channels=1, mean=(0.5,), std=(0.25,)).normalize(images)
    with torch.no_grad():
        # (x / 255 - 0.5) / 0.25 and back, in float32: some units in the last place of 255.
        torch.testing.assert_close(raw(normalized), plain(images.float()), rtol=1e-4, atol=1e-3)


def test_without_normalisation_no_batch_norm_is_left() -> None:
    with torch.device("meta"):
        network = unnormalised("resnet20_cifar", 10, 3, (32, 32))
    assert not [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.device("meta"):
        assert [module for module in build("resnet20_cifar").modules() if isinstance(module, nn.BatchNorm2d)]


def test_the_file_of_such_a_network_can_be_read_and_run(tmp_path: Path) -> None:
    from striate.architecture_file import build_architecture, load_architecture

    made = write_network(tmp_path, "lenet5")
    network = build_architecture(load_architecture(made), 3, 1, (32, 32))
    assert network(torch.zeros(1, 1, 32, 32)).shape == (1, 3)
    assert find_variant("lenet5").name in (tmp_path / "unnormalised.py").read_text()
    with pytest.raises(UsageError):
        write_network(tmp_path, 'lenet5") or evil("')


@pytest.mark.parametrize("data", ["patterns", "fruit"])
def test_only_labels_that_train_are_shuffled(studio: Studio, tmp_path: Path, data: str) -> None:
    source = studio.opened.source(data)
    shuffled = open_source(write_shuffled(tmp_path, source, seed=3))
    split = make_split(source, seed=3)
    assert len(shuffled) == len(source)

    def labels(of: Any, code: int) -> list[str]:
        return [of.classes[k] for k in of.targets[of.given == code]]

    train, validation, held_out = (labels(shuffled, code) for code in (1, 2, 3))
    names = [source.classes[k] for k in source.targets]
    assert Counter(train) == Counter(names[i] for i in split.train)
    assert train != [names[i] for i in split.train]
    assert validation == [names[i] for i in split.validation]
    assert held_out == [names[i] for i in split.held_out]


# Looking into a run


def test_a_run_shows_its_pictures_and_what_it_says(client: TestClient, studio: Studio) -> None:
    pictures = client.get("/api/train/pictures?run=stripes").json()
    assert len(pictures) == studio.opened.run("stripes").record["data"]["num_validation"]
    assert all(each["uri"].startswith("data:image/png") for each in pictures)
    glimpse = studio.glimpses.of(studio.opened.run("stripes"))
    assert glimpse is not None
    assert glimpse["step"] is None
    assert glimpse["filters"] == []  # an mlp has no convolution
    right = [said["label"] == picture["label"] for said, picture in zip(glimpse["predictions"], pictures, strict=True)]
    assert right == [said["right"] for said in glimpse["predictions"]]
    assert studio.glimpses.of(studio.opened.run("stripes")) is glimpse


def test_pictures_of_data_that_are_not_open_stay_closed(client: TestClient, studio: Studio) -> None:
    del studio.opened.data["patterns"]
    assert client.get("/api/train/pictures?run=stripes").json() == []
    glimpse = studio.glimpses.of(studio.opened.run("stripes"))
    assert glimpse is not None
    assert glimpse["predictions"] == []


def test_changes_are_told_once() -> None:
    seen = iter([1, 1, 2, 2, 2, 3])

    async def take() -> list[int | None]:
        told = []
        async for value in changes(lambda: next(seen), 0.001):
            told.append(value)
            if value == 3:
                break
        return told

    assert asyncio.run(take()) == [1, 2, 3]


# A process


@pytest.mark.slow
def test_a_training_is_held_ended_killed_and_taken_up_again(client: TestClient, studio: Studio) -> None:
    asked = {"data": "demo-fashion", "network": "fashion_cnn", "epochs": 40, "preset": "labels"}
    name = client.post("/api/train/start", json=asked).json()["run"]
    folder = studio.opened.home / name
    trainings = studio.trainings

    def phase() -> str:
        return str(trainings.state(folder)["phase"])

    assert phase() == "starting"
    try:
        until(lambda: phase() == "running" and any((folder / "checkpoints").glob("step-*")))
        glimpse = studio.glimpses.of(Run(folder))
        assert glimpse is not None
        assert np.shape(glimpse["filters"])[1:] == (1, 3, 3)
        assert client.post("/api/runs/delete", json={"run": name}).status_code == 422

        assert client.post("/api/train/pause", json={"run": name}).status_code == 200
        until(lambda: phase() == "paused")
        assert client.post("/api/train/resume", json={"run": name}).status_code == 200
        until(lambda: phase() == "running")

        # Killed: the page says so, and what was saved is there.
        holder = holder_of(folder)
        assert holder is not None
        os.kill(holder, signal.SIGKILL)
        until(lambda: phase() == "stopped")
        state = trainings.state(folder)
        assert "SIGKILL" in state["why"]
        assert state["resumable"]
        assert client.post("/api/train/pause", json={"run": name}).status_code == 422

        # Another start of the studio finds it too, and takes it up.
        trainings = studio.trainings = Trainings()
        assert "not ended by this studio" in trainings.state(folder)["why"]
        assert client.post("/api/train/resume", json={"run": name}).status_code == 200
        until(lambda: phase() == "running")
        done = len(Run(folder).history)
        assert client.post("/api/train/stop", json={"run": name}).status_code == 200
        until(lambda: phase() == "stopped")
        assert "everything is saved" in trainings.state(folder)["why"]
        assert len(Run(folder).history) >= done
        assert json.loads((folder / "studio.json").read_text())["preset"] == "labels"
    finally:
        for process in [*trainings.processes.values(), *studio.trainings.processes.values()]:
            process.kill()


@pytest.mark.slow
def test_a_training_that_cannot_begin_says_why(client: TestClient, studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "empty" / "a").mkdir(parents=True)
    (tmp_path / "empty" / "a" / "x.png").write_bytes(b"no picture")
    (tmp_path / "empty" / "b").mkdir()
    (tmp_path / "empty" / "b" / "y.png").write_bytes(b"no picture")
    studio.opened.add(str(tmp_path / "empty"))
    name = client.post("/api/train/start", json={"data": "empty", "network": "mlp"}).json()["run"]
    folder = studio.opened.home / name
    until(lambda: studio.trainings.state(folder)["phase"] == "failed")
    state = studio.trainings.state(folder)
    assert "ended with an error" in state["why"]
    assert "error:" in state["log"]
    assert not state["resumable"]
