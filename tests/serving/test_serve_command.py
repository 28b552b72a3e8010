"""`striate serve` from its command line."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from colours import START_S, encoded
from exported import export_fruit, write_fruit

from striate.prediction import load
from striate.serving.models import name_models
from striate.serving.server import Address, with_token


@pytest.mark.slow
def test_a_model_from_its_file_to_its_last_answer(tmp_path: Path) -> None:
    model = write_fruit(tmp_path)
    words = [sys.executable, "-m", "striate", "serve", f"berries={model}", "--port", "0", "--workers", "1", "--token", "secret"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline() + server.stdout.readline() + server.stdout.readline()
            assert "berries  3 classes  uint8 [N, 3, 28, 28]" in said
            assert "secret" not in said
            url = re.search(r"http://[\d.:]+", said)[0]  # type: ignore[index]
            picture = encoded("JPEG", 90, (60, 50))
            with httpx.Client(base_url=url, headers={"authorization": "Bearer secret"}, timeout=START_S) as client:
                first = client.post("/predict?top=3", content=picture).json()
                (expected,) = load(model).predict(picture)
                (prediction,) = first["predictions"]
                assert prediction["label"] == expected.label
                assert [row["probability"] for row in prediction["top"]] == pytest.approx([p for _, p in expected.top], abs=1e-5)
                model.write_bytes(b"no model")
                failed = client.post("/models/berries/reload")
                assert (failed.status_code, failed.json()["error"]["type"]) == (422, "reload_failed")
                assert client.post("/predict", content=picture).json()["version"] == 1
                write_fruit(tmp_path)
                assert client.post("/models/berries/reload").json()["version"] == 2
                assert client.post("/predict", content=picture).json()["predictions"][0]["label"] == expected.label
            server.send_signal(signal.SIGTERM)
            assert server.wait(START_S) == 0
            assert server.stderr is not None
            assert "Traceback" not in server.stderr.read()
        finally:
            server.kill()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["fruit.xml", "fruit.tensor.xml"])
def test_an_openvino_graph_is_served(form: str, tmp_path: Path) -> None:
    export_fruit(tmp_path, "openvino")
    words = [sys.executable, "-m", "striate", "serve", f"berries={tmp_path / form}", "--port", "0", "--workers", "1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = next(found[0] for line in server.stdout if (found := re.search(r"http://[\d.:]+", line)))
            with httpx.Client(base_url=url, timeout=START_S) as client:
                for size in ((60, 50), (28, 28), (90, 31)):
                    picture = encoded("PNG", 90, size)
                    (expected,) = load(tmp_path / "fruit.safetensors").predict(picture)
                    answer = client.post("/predict?top=3", content=picture).json()["predictions"][0]
                    assert answer["label"] == expected.label
                    found = {row["label"]: row["probability"] for row in answer["top"]}
                    assert found == pytest.approx(dict(expected.top), abs=1e-3)
            server.send_signal(signal.SIGTERM)
            assert server.wait(START_S) == 0
        finally:
            server.kill()


def test_command_lines_that_cannot_be_served(tmp_path: Path, striate_command: Callable[..., Any]) -> None:
    def refused(*words: object) -> str:
        done = striate_command("serve", *words)
        assert done.status == 2, done
        return str(done.err)

    assert "No model to serve" in refused()
    assert "No such model" in refused("nowhere.safetensors", "--port", 0) or "no such" in refused("nowhere.safetensors").lower()
    assert "--emit" in refused("a.safetensors", "--out", tmp_path)
    assert "too short" in refused("a.safetensors", "--max-queue", 3)
    assert "Two models are called a" in refused("x/a.safetensors", "y/a.onnx")
    assert "no name" in refused("a b=x.safetensors")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "Cannot listen" in refused("a.safetensors", "--port", taken.getsockname()[1])


def test_names_of_models() -> None:
    words = ["runs/flowers/model.safetensors", "cats.tensor.onnx", "my=x/model.onnx", "with/a=b/dogs.xml", "resnet18"]
    assert name_models(words) == {
        "flowers": words[0],
        "cats": words[1],
        "my": "x/model.onnx",
        "dogs": words[3],
        "resnet18": "resnet18",
    }


@pytest.mark.parametrize(
    ("host", "open_to_others"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("localhost", False),
        ("127.9.9.9", False),
        ("0.0.0.0", True),
        ("::", True),
        ("cats.example", True),
    ],
)
def test_a_token_where_others_can_ask(host: str, open_to_others: bool) -> None:
    address = with_token(Address(host, 0))
    assert (address.token is not None) == open_to_others
    assert with_token(Address(host, 0, "mine")).token == "mine"
    assert "mine" not in repr(Address(host, 0, "mine"))
    tokens = {with_token(Address("0.0.0.0")).token for _ in range(9)}
    assert len(tokens) == 9
    assert all(token is not None and len(token) >= 32 for token in tokens)


def test_nothing_of_it_imports_torch() -> None:
    code = "import sys, striate.serving.server, striate.serving.emitting; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
