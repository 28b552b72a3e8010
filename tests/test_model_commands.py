"""`striate predict` and `striate evaluate` on models whose answers are known."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Ended
from small_models import FRUIT, MeanColour, colour_card, plain, write_colour_model

from striate.errors import UsageError
from striate.experiment import train
from striate.prediction import load

Command = Callable[..., Ended]

NETWORK = Path(__file__).with_name("small_models.py")
ARCH = ("--arch", f"{NETWORK}:MeanColour")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A picture of each fruit in its class's folder, and one of red and green."""
    for name, colour in zip(FRUIT, ("red", "lime", "blue"), strict=True):
        (tmp_path / "photos" / name).mkdir(parents=True)
        plain(colour).save(tmp_path / "photos" / name / "1.png")
    plain("yellow").save(tmp_path / "yellow.png")
    plain("black").save(tmp_path / "black.png")
    return tmp_path / "photos"


def test_labels_that_are_not_present_stand_in_brackets(photos: Path, tmp_path: Path, striate_command: Command) -> None:
    model = write_colour_model(tmp_path / "model.safetensors", "labels")
    yellow, black = str(tmp_path / "yellow.png"), str(tmp_path / "black.png")
    ended = striate_command("predict", model, yellow, black, *ARCH)
    assert ended.out.splitlines() == [
        f"{yellow}: apple 100.0 %  banana 100.0 %  (cherry 0.0 %)",
        f"{black}: none  (apple 0.0 %)  (banana 0.0 %)  (cherry 0.0 %)",
    ]
    assert striate_command("predict", model, yellow, *ARCH, "--top", 1).out == f"{yellow}: apple 100.0 %  and banana\n"


def test_one_label_is_named_plainly(photos: Path, tmp_path: Path, striate_command: Command) -> None:
    model = write_colour_model(tmp_path / "model.safetensors")
    ended = striate_command("predict", model, photos / "cherry", *ARCH, "--top", 2)
    assert ended.out == f"{photos / 'cherry' / '1.png'}: cherry 100.0 %  apple 0.0 %\n"


@pytest.mark.parametrize(
    ("command", "option", "value", "told"),
    [
        ("predict", "--top", 0, "Must be >= 1"),
        *((command, "--batch", 0, "Must be >= 1") for command in ("predict", "evaluate")),
        *((command, "--workers", -1, "Must be >= 0") for command in ("predict", "evaluate")),
        *((command, "--device", "tpu", '"cpu", "cuda"') for command in ("predict", "evaluate")),
    ],
)
def test_impossible_values_are_refused(
    command: str, option: str, value: object, told: str, photos: Path, tmp_path: Path, striate_command: Command
) -> None:
    model = write_colour_model(tmp_path / "model.safetensors")
    ended = striate_command(command, model, photos, *ARCH, option, value)
    assert ended.status == 2
    assert all(part in ended.err for part in (str(value), option, told, "  do:    ")), ended.err
    assert ended.out == ""


def test_impossible_values_are_refused_in_python_too(tmp_path: Path) -> None:
    path = write_colour_model(tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="Unknown device 'tpu'"):
        load(path, arch=MeanColour, device="tpu")
    model = load(path, arch=MeanColour)
    wrong: list[tuple[dict[str, int], str]] = [
        ({"top": 0}, "top is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"workers": -1}, "workers is -1"),
    ]
    for options, told in wrong:
        with pytest.raises(UsageError, match=f"{told}[\\s\\S]*do:"):
            model.predict(plain("red"), **options)
    with pytest.raises(UsageError, match="workers is -1"):
        train("demo:letters", "mlp", out=tmp_path / "run", epochs=1, workers=-1)


@pytest.mark.parametrize(("option", "value"), [("--workers", -1), ("--device", "tpu"), ("--name", "mine")])
def test_train_refuses_them_before_it_reads_the_data(option: str, value: object, striate_command: Command) -> None:
    ended = striate_command("train", "no/such/data", option, value)
    assert ended.status == 2
    assert option in ended.err
    assert "  do:    " in ended.err
    assert "no/such/data" not in ended.err
    assert "'--name'" not in striate_command("train", "no/such/data", "--nam", "x").err


def test_pillows_remarks_on_damaged_files_stay_inside(tmp_path: Path, striate_command: Command) -> None:
    model = write_colour_model(tmp_path / "model.safetensors")
    file = io.BytesIO()
    plain("red").save(file, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0")  # five entries are promised
    (tmp_path / "red.jpg").write_bytes(file.getvalue())
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        ended = striate_command("predict", model, tmp_path / "red.jpg", *ARCH)
    assert [str(remark.message) for remark in remarks if "PIL" in remark.filename] == []
    assert ended.status == 0
    assert "apple 100.0 %" in ended.out


def test_an_exported_graph_answers_without_torch(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(json.dumps(colour_card()))
    code = """
import json, sys
from striate import prediction
from striate.cli import main

def load(path, **options):
    return prediction.Model(lambda images: images.mean((2, 3), dtype="float32"), json.load(open(path)))

prediction.load = load
status = [main(["predict", sys.argv[1], sys.argv[2]]), main(["evaluate", sys.argv[1], sys.argv[2]])]
print(status, "torch" in sys.modules)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "card.json"), str(photos)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[0, 0] False", done.stderr
