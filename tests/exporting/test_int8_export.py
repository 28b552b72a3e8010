"""int8 from end to end: calibrated, judged and written by `export`, and refused where it was calibrated on the wrong images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trained_run import open_run, write_photos

import striate
from striate.errors import Refused
from striate.exporting.export import export
from striate.exporting.paired import loss_upper_bound

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs that the network has never seen, enough of them to decide."""
    assert loss_upper_bound(2, 1, 600) < 0.02
    return write_photos(tmp_path_factory.mktemp("judges") / "photos", 200, seed=1)


@pytest.fixture(scope="module")
def black(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("black") / "photos" / "nothing"
    folder.mkdir(parents=True)
    for number in range(16):
        Image.fromarray(np.zeros((40, 40 + number, 3), np.uint8)).save(folder / f"{number}.png")
    return folder.parent


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_int8_passes_the_gate_and_answers_as_the_model(to: str, run: Path, judges: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf" if to == "openvino" else "onnxruntime")
    model = open_run(run)
    exported = export(model, to, "int8", data=judges, out=tmp_path / "tiny")
    assert exported.status == "passed"
    assert exported.sizes[0] > 0
    opened = striate.load(exported.pair.tensor)
    said = opened.info["export"]
    assert said["precision"] == "int8"
    assert said["calibration"]["images"] == 150, "the run's training images"
    assert list(exported.float_layers) == said["float_layers"]
    photos = sorted(str(path) for path in judges.rglob("*.jpg"))[::10]
    same = [a.label == b.label for a, b in zip(opened.predict(photos), model.predict(photos), strict=True)]
    assert sum(same) >= len(same) - 3


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_calibrated_on_black_images_it_is_refused(to: str, run: Path, judges: Path, black: Path, tmp_path: Path) -> None:
    """These images look right to the quantiser whatever it does: only the gate's own tell."""
    pytest.importorskip("nncf" if to == "openvino" else "onnxruntime")
    with pytest.raises(Refused, match="rejected") as refused:
        export(open_run(run), to, "int8", data=judges, calibrate=black, out=tmp_path / "tiny")
    assert refused.value.why is not None
    assert "accuracy lost on the same images" in refused.value.why
    assert [path.suffix for path in tmp_path.iterdir() if path.is_file()] == [".rejected"] * (4 if to == "openvino" else 2)
