"""`Model.fastest()`: what passes the gate is timed, the fastest is taken, and the answer is kept."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trained_run
from command_line import ROOT, Ended
from trained_run import ARCH, open_run

from striate import machine
from striate.errors import Refused, Undecided, UsageError
from striate.exporting import fastest as at_once
from striate.exporting.conversion import CONVERTERS, Order, Pair
from striate.exporting.fastest import ITSELF, Answer, fastest, is_remembered, kept_pair
from striate.prediction import Model, load


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "busy_seconds", lambda: 0.0)
    monkeypatch.setattr(machine, "is_busy", lambda: False)


@pytest.fixture
def conversions(onnx_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Conversions to ONNX give what was made before; how often that was is counted."""
    made: list[str] = []

    def convert(order: Order, pair: Pair) -> None:
        made.append(order.precision)
        for source, target in zip(onnx_pair.files, pair.files, strict=True):
            shutil.copy(source, target)

    monkeypatch.setitem(CONVERTERS, ("onnx", "fp32"), convert)
    monkeypatch.delitem(CONVERTERS, ("onnx", "int8"), raising=False)
    return made


def test_it_is_measured_once_and_then_opened_without_torch(
    run: Path, tmp_path: Path, conversions: list[str], striate_command: Callable[..., Ended]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    photo = next((run.parent / "data" / "banana").iterdir())
    assert not is_remembered(copy, "throughput", "onnx")
    first = striate_command("predict", copy, photo, "--arch", ARCH, "--backend", "onnx")
    assert first.status == 0, first.err
    assert "onnx fp32: fastest here" in first.err
    assert is_remembered(copy, "throughput", "onnx")
    code = (
        "import sys\nfrom striate.cli import main\nassert main(sys.argv[1:]) == 0\n"
        "assert not {'torch', 'onnx'} & sys.modules.keys()"
    )
    words = ["predict", copy, photo, "--backend", "onnx"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == first.out
    assert conversions == ["fp32"]


def test_another_goal_times_again_but_exports_nothing_again(run: Path, conversions: list[str]) -> None:
    model = open_run(run)
    chosen = model.fastest(backend="onnx")
    assert chosen.info["chosen"]["backend"] == "onnx"
    assert "batches of 32" in chosen.info["chosen"]["why"]
    assert "one image at a time" in model.fastest("latency", "onnx").info["chosen"]["why"]
    assert conversions == ["fp32"]
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 24, 24), dtype=np.uint8)
    assert np.allclose(chosen.raw(images), model.raw(images), atol=1e-4)


@pytest.mark.slow
def test_a_change_of_the_code_or_the_weights_exports_anew(
    run: Path, tmp_path: Path, conversions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, code = shutil.copytree(run, tmp_path / "run"), tmp_path / "mine.py"
    shutil.copy(Path(trained_run.__file__), code)
    arch = f"{code}:TinyNet"

    def ask(**options: Any) -> None:
        fastest(copy, backend="onnx", arch=arch, **options)

    ask()
    ask()
    assert conversions == ["fp32"]
    assert is_remembered(copy, "throughput", "onnx")
    assert not is_remembered(copy, "throughput", "onnx", ARCH)  # the same class from another file
    code.write_text(code.read_text() + "\n# looked at again\n")
    assert not is_remembered(copy, "throughput", "onnx")
    ask()
    assert conversions == ["fp32"] * 2

    model = load(copy, arch=arch)
    model.fastest(backend="onnx")
    assert conversions == ["fp32"] * 2
    with torch.no_grad():
        model.module.get_submodule("fc").bias.add_(1.0)  # type: ignore[operator,union-attr]
    with pytest.raises(Refused, match="gate"):  # what the fixture hands out is still the old one
        model.fastest(backend="onnx")


@pytest.mark.slow
def test_code_without_a_file_is_exported_by_every_process(model: Model, conversions: list[str]) -> None:
    made = type("Made", (type(model.module),), {"__module__": "nowhere"})
    network = made()
    network.load_state_dict(model.module.state_dict())
    unknown = Model.from_module(network.eval(), model.info, model.path)
    assert kept_pair(unknown, ("onnx", "fp32")) is None
    for _ in range(2):
        assert unknown.fastest(backend="onnx").info["chosen"]["backend"] == "onnx"
    assert conversions == ["fp32"] * 2


def test_the_fastest_of_what_passed_wins_and_the_rest_has_its_reason(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def network(_: Any, folder: Path, kind: tuple[str, str], *rest: Any) -> Any:
        if kind[1] == "bf16":
            raise Refused("the gate said no")
        return model.raw

    took = {("onnx", "fp32"): 0.02, ("openvino", "fp32"): 0.002, ("torch", "fp32"): 0.05}
    monkeypatch.setattr(at_once, "_network", network)
    monkeypatch.setattr(at_once, "_time", lambda networks, *rest: {kind: took.get(kind, 1.0) for kind in networks})
    monkeypatch.setattr(at_once, "open_artefact", lambda path: (model.raw, model.info))
    told = fastest(model).info["chosen"]
    assert (told["backend"], told["precision"]) == ("openvino", "fp32")
    assert "openvino bf16: the gate said no" in told["why"]
    assert told["why"].index("openvino fp32 2 ms") < told["why"].index("onnx fp32 20 ms") < told["why"].index("torch fp32 50 ms")
    took[ITSELF] = 0.001
    itself = fastest(model, "latency")
    assert itself is model
    assert itself.info["chosen"]["backend"] == "torch"
    only = fastest(model, "latency", "openvino").info["chosen"]
    assert (only["backend"], only["precision"]) == ("openvino", "fp32")


def test_without_labelled_images_nothing_can_pass(model: Model) -> None:
    alone = Model.from_module(model.module, model.info)
    with pytest.raises(Undecided, match="No images"):
        alone.fastest(backend="onnx")


def test_an_unknown_backend(model: Model) -> None:
    with pytest.raises(UsageError, match="tensorrt"):
        model.fastest(backend="tensorrt")


def test_an_answer_comes_back_from_json() -> None:
    answer = Answer(("onnx", "int8"), {("torch", "fp32"): 0.5, ("onnx", "int8"): 0.1}, {("openvino", "bf16"): "no bf16"})
    assert Answer.from_json(answer.to_json()) == answer
    assert answer.text("latency").startswith("onnx int8: fastest here")
