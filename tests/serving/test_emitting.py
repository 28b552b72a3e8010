"""What is written for other machines works as it stands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from colours import START_S, npy

from striate.errors import Refused, UsageError
from striate.prediction import load
from striate.serving.emitting import emit


@pytest.mark.slow
def test_the_folder_of_an_image_serves_by_itself_and_without_torch(onnx_fruit: Path, tmp_path: Path) -> None:
    emit("dockerfile", [f"berries={onnx_fruit}"], tmp_path / "image", max_batch=4)
    dockerfile = (tmp_path / "image" / "Dockerfile").read_text()
    names = {line.partition("==")[0] for line in (tmp_path / "image" / "requirements.txt").read_text().splitlines()}
    assert "onnxruntime" in names
    assert "torch" not in names
    command = json.loads(re.search(r"^CMD (\[.*\])$", dockerfile, re.MULTILINE)[1])  # type: ignore[index]
    assert command[:4] == ["python", "-m", "striate", "serve"]
    words = [{"0.0.0.0": "127.0.0.1"}.get(word, word) for word in command[3:]]
    words += ["--port", "0"]
    # In the image there is nothing but what is named and what that needs: of the rest these would be missed first.
    absent = ["torch", "jinja2", "scipy", "onnx", "onnxscript", "openvino", "httpx", "psutil"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent}))\n"
        "import striate; from pathlib import Path; assert Path(striate.__file__).is_relative_to(Path.cwd())\n"
        f"from striate.cli import main; sys.exit(main({words}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "image")}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path / "image", env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            said = ""
            while "serving at" not in said:
                line = server.stdout.readline()
                assert line, said
                said += line
            url = re.search(r"http://[\d.:]+", said)[0]  # type: ignore[index]
            images = np.random.default_rng(0).integers(0, 256, (3, 3, 28, 28), dtype=np.uint8)
            answer = httpx.post(f"{url}/models/berries/predict?top=1", content=npy(images), timeout=START_S).json()
            expected = load(onnx_fruit).probabilities(images).max(axis=1)
            assert [row["probability"] for row in answer["predictions"]] == pytest.approx(expected.tolist(), abs=1e-6)
        finally:
            server.kill()


def test_a_model_that_needs_torch_brings_it(fruit: Path, tmp_path: Path) -> None:
    emit("dockerfile", [str(fruit)], tmp_path / "image")
    requirements = (tmp_path / "image" / "requirements.txt").read_text()
    assert re.search(r"^torch==[\d.]+$", requirements, re.MULTILINE)
    assert (tmp_path / "image" / "models" / "fruit" / "fruit.safetensors").read_bytes() == fruit.read_bytes()
    assert not list((tmp_path / "image").rglob("__pycache__"))


def test_systemd_takes_the_unit(fruit: Path, tmp_path: Path) -> None:
    odd = tmp_path / 'a "dir" of 100%'
    odd.mkdir()
    shutil.copy(fruit, odd / "m.safetensors")
    (unit,) = emit("systemd", [str(odd / "m.safetensors")], tmp_path / "unit")
    text = unit.read_text()
    assert r"\"dir\" of 100%%" in text
    assert "ExecReload=/bin/kill -HUP $MAINPID" in text
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("needs systemd-analyze")
    done = subprocess.run([verify, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_triton_is_told_what_the_graph_is(onnx_fruit: Path, tmp_path: Path) -> None:
    import onnxruntime

    emit("triton", [f"berries={onnx_fruit}"], tmp_path / "repository", max_batch=16, max_delay_ms=2.5)
    folder = tmp_path / "repository" / "berries"
    config = (folder / "config.pbtxt").read_text()
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    (graph_input,), (graph_output,) = session.get_inputs(), session.get_outputs()

    def told(kind: str) -> tuple[str, str, list[int]]:
        name, type, dims = re.search(kind + r' \[ \{ name: "(\w+)" data_type: (\w+) dims: \[ ([\d, ]+) \]', config).groups()  # type: ignore[union-attr]
        return name, type, [int(number) for number in dims.split(",")]

    assert told("input") == (graph_input.name, "TYPE_UINT8", graph_input.shape[1:])
    assert told("output") == (graph_output.name, "TYPE_FP32", graph_output.shape[1:])
    assert graph_input.type == "tensor(uint8)"
    assert "max_batch_size: 16" in config
    assert "max_queue_delay_microseconds: 2500" in config
    assert (folder / "labels.txt").read_text().split() == ["apple", "banana", "cherry"]


def refused(kind: str, models: list[Any], out: Path, **options: Any) -> str:
    with pytest.raises((UsageError, Refused)) as error:
        emit(kind, [str(model) for model in models], out, **options)
    return str(error.value)


def test_what_cannot_be_written_is_refused(fruit: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "striate export" in refused("triton", [fruit], out)
    assert "striate export" in refused("html", [fruit], out)
    assert "No such model" in refused("systemd", ["resnet18"], out)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(fruit.read_bytes()[:-1] + b"\0")
    assert "amaged" in refused("systemd", [damaged], out)
    assert not out.exists()
    (tmp_path / "full" / "of").mkdir(parents=True)
    assert "not empty" in refused("systemd", [fruit], tmp_path / "full")


@pytest.mark.slow
def test_pages_that_cannot_be_written_are_refused(onnx_fruit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    assert "one model" in refused("html", [f"a={onnx_fruit}", f"b={onnx_fruit}"], out)
    alone = tmp_path / "alone.tensor.onnx"
    shutil.copy(onnx_fruit.with_name("fruit.tensor.onnx"), alone)
    assert "alone.onnx is not beside it" in refused("html", [alone], out)
    monkeypatch.chdir(tmp_path)
    assert "npm install onnxruntime-web" in refused("html", [onnx_fruit], out)
    assert "No ort.wasm" in refused("html", [onnx_fruit], out, ort_web=tmp_path)
    assert not out.exists()


def test_command_line(fruit: Path, tmp_path: Path, striate_command: Callable[..., Any]) -> None:
    done = striate_command("serve", fruit, "--emit", "systemd", "--out", tmp_path / "unit")
    assert (done.status, done.out.strip()) == (0, str(tmp_path / "unit" / "striate-fruit.service"))
    assert "--out" in striate_command("serve", fruit, "--emit", "systemd").err
    words = [
        "serve",
        fruit,
        "--emit",
        "systemd",
        "--out",
        tmp_path / "second",
        "--max-queue",
        256,
        "--timeout-s",
        9,
        "--host",
        "0.0.0.0",
    ]
    assert striate_command(*words).status == 0
    unit = (tmp_path / "second" / "striate-fruit.service").read_text()
    assert '"--host" "0.0.0.0" "--max-queue" "256" "--timeout-s" "9.0"\n' in unit
    assert "--token does nothing" in striate_command(*words[:4], "--out", tmp_path / "third", "--token", "x").err
    assert "--emit html" in striate_command("serve", fruit, "--emit", "systemd", "--out", tmp_path, "--ort-web", tmp_path).err
