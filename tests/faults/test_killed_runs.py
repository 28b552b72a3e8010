"""Runs that are killed at a random moment and resumed come to the very weights of the run that was left alone.

Decoding threads, augmentation with a resample, the average of weights, batch norm, dropout and bf16 are all on.
Three are killed; with `make test-all` twenty.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.runs import RECIPE_FILE, Run
from striate.sealed import read_sealed_arrays

pytestmark = pytest.mark.slow

KILLS = 20 if os.environ.get("STRIATE_TEST_ALL") else 3
NETWORK = """
from torch import nn

def make(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, num_classes),
    )
"""
OPTIONS = [
    "--size",
    "24",
    "--epochs",
    "12",
    "--batch",
    "16",
    "--precision",
    "bf16",
    "--no-probe",
    "--workers",
    "2",
    "--ema",
    "0.9",
    "--checkpoint-seconds",
    "0.02",
    "--clip",
    "1",
    "--augment.rotate",
    "15",
    "--augment.zoom",
    "0.1",
    "--augment.flip-horizontal",
    "0.5",
    "--augment.mixup",
    "0.2",
    "--augment.brightness",
    "0.2",
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of 40 noisy JPEG pictures of several sizes, and the network beside them."""
    root = tmp_path_factory.mktemp("kills")
    draw = np.random.default_rng(0)
    for label in range(4):
        folder = root / "pictures" / f"class{label}"
        folder.mkdir(parents=True)
        for number in range(40):
            size = (int(draw.integers(24, 48)), int(draw.integers(24, 48)), 3)
            pixels = np.clip(draw.normal(60 * label + 30, 40, size), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.jpg")
    (root / "network.py").write_text(NETWORK)
    return root


def start(root: Path, *words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "STRIATE_CACHE": str(root / "cache")}
    with (root / "log.txt").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "striate", *words], env=environment, stdout=log, stderr=log)


def train(root: Path, out: Path) -> subprocess.Popen[bytes]:
    return start(root, "train", str(root / "pictures"), "--arch", f"{root / 'network.py'}:make", "--out", str(out), *OPTIONS)


def wait_for_plan(process: subprocess.Popen[bytes], out: Path) -> None:
    deadline = time.monotonic() + 120
    while not (out / RECIPE_FILE).exists():
        assert process.poll() is None, "the run ended before it began"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def resumed(root: Path, out: Path) -> dict[str, np.ndarray]:
    process = start(root, "resume", str(out), "--arch", f"{root / 'network.py'}:make")
    assert process.wait(300) == 0, (root / "log.txt").read_text()[-3000:]
    return read_sealed_arrays(Run(out).model_path)[1]


@pytest.fixture(scope="module")
def undisturbed(pictures: Path) -> tuple[dict[str, np.ndarray], float]:
    """Weights of the run that nobody kills, and its seconds from plan to model."""
    out = pictures / "undisturbed"
    process = train(pictures, out)
    wait_for_plan(process, out)
    begun = time.monotonic()
    assert process.wait(300) == 0, (pictures / "log.txt").read_text()[-3000:]
    return read_sealed_arrays(Run(out).model_path)[1], time.monotonic() - begun


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_killed_run_comes_to_the_same_weights(
    pictures: Path, undisturbed: tuple[dict[str, np.ndarray], float], kill: int
) -> None:
    weights, seconds = undisturbed
    out = pictures / f"killed{kill}"
    process = train(pictures, out)
    wait_for_plan(process, out)
    time.sleep(random.uniform(0.02, 0.85) * seconds * (kill + 1) / KILLS)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = resumed(pictures, out)
    assert weights.keys() == again.keys()
    assert all(np.array_equal(weights[name], again[name]) for name in weights)
    assert [row["epoch"] for row in Run(out).history] == list(range(1, 13))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_stops(
    pictures: Path, undisturbed: tuple[dict[str, np.ndarray], float], number: signal.Signals, status: int
) -> None:
    out = pictures / f"stopped{number}"
    process = train(pictures, out)
    wait_for_plan(process, out)
    while not list((out / "checkpoints").glob("step-*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(60) == status
    assert Run(out).status.startswith("stopped at")
    assert f"striate resume {out}" in (pictures / "log.txt").read_text()
    assert all(np.array_equal(undisturbed[0][name], tensor) for name, tensor in resumed(pictures, out).items())
