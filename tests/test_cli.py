"""The command line: what it takes, what it refuses and how, and that what it prints can be read by programs."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import Ended
from PIL import Image

from striate.cli import app, main
from striate.cli.options import take_fields
from striate.errors import UsageError
from striate.recipe import Recipe
from striate.recipe_fields import apply_fields, field_names

Command = Callable[..., Ended]

CONTRACT = {
    "check": ["--out", "--augmented", "--json"],
    "train": [
        *("--arch", "--model", "--recipe", "--epochs", "--size", "--batch", "--budget", "--seed", "--out", "--split"),
        *("--workers", "--device", "--precision", "--cache", "--json", "--weights", "--regime"),
    ],
    "resume": ["--arch", "--model", "--allow-inexact", "--workers", "--json"],
    "evaluate": ["--arch", "--model", "--split", "--json"],
    "predict": ["--arch", "--model", "--csv", "--json", "--top"],
    "runs": ["--json"],
    "report": [],
    "doctor": ["--json"],
    "convert": ["--arch", "--out"],
    "embed": ["--out", "--weights", "--batch", "--workers"],
    "search": ["--duplicates", "--threshold", "--map", "--model", "--json"],
    "shape": ["--strict", "--json"],
    "filter": ["--out", "--kernel", "--border", "--show", "--list"],
    "zoo": ["--json"],
    "summary": ["--size", "--channels", "--arch", "--json"],
    "transfer": ["--weights", "--arch", "--compare", "--budget", "--seeds", "--out"],
    "export": ["--to", "--precision", "--data", "--calibrate", "--arch", "-o"],
    "serve": ["--host", "--port", "--token", "--max-batch", "--max-delay-ms", "--workers", "--emit"],
    "look": ["--layer", "--unit", "--class", "--weights", "--arch", "-o"],
    "studio": ["--port", "--no-browser", "--arch"],
}
"""The options that others build on."""


@pytest.mark.parametrize("name", CONTRACT)
def test_help_names_every_option_of_the_contract(name: str, striate_command: Command) -> None:
    ended = striate_command(name, "--help")
    assert ended.status == 0
    assert [option for option in CONTRACT[name] if f"{option} " not in ended.out] == []


def test_help_lists_every_command(striate_command: Command) -> None:
    ended = striate_command("--help")
    assert ended.status == 0
    assert [command.__name__ for command in app.COMMANDS if f" {command.__name__} " not in ended.out] == []
    assert {command.__name__ for command in app.COMMANDS} == set(CONTRACT)


def test_train_help_names_every_field_of_the_recipe(striate_command: Command) -> None:
    shown = striate_command("train", "--help").out
    missing = {name for name in field_names(Recipe()) if f"--{name.replace('_', '-')}" not in shown}
    assert missing == {"name"}


@pytest.mark.parametrize("name", CONTRACT)
def test_an_unknown_option_is_refused_with_the_nearest(name: str, striate_command: Command) -> None:
    required = {"convert": ("--arch", "lenet5", "--out", "z"), "embed": ("--out", "z"), "export": ("--to", "onnx")}.get(name, ())
    ended = striate_command(name, "x", "y", *required, "--jsonn")
    assert ended.status == 2
    assert "--jsonn" in ended.err
    if "--json" in CONTRACT[name]:
        assert "--json" in ended.err.replace("--jsonn", "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian", "photos"], 'Did you mean "train"?'),
        (["train"], "DATA"),
        (["train", "photos", "more"], "Unexpected: more"),
        (["train", "photos", "--epochs", "many"], "--epochs"),
        (["train", "photos", "--epoch", "3"], "Did you mean '--epochs'?"),
        (["train", "photos", "--devise", "cpu"], "Did you mean '--device'?"),
        (["train", "photos", "--optimizer.lr"], "--optimizer.lr needs a value"),
        (["train", "photos", "--optimiser.lr", "0.1"], "Did you mean '--optimizer.lr'?"),
        (["train", "photos", "--precision", "fp16"], "fp32"),
        (["predict", "model"], "No images to look at"),
        (["predict", "model", "a.jpg", "--csv", "x.csv", "--json"], "give one of them"),
    ],
)
def test_usage_is_told_with_status_2(words: list[str], told: str, striate_command: Command) -> None:
    ended = striate_command(*words)
    assert ended.status == 2
    assert ended.err.startswith("error: ")
    assert told in ended.err
    assert "  do:    " in ended.err
    assert ended.out == ""


def test_fields_are_split_from_options() -> None:
    words = "photos --optimizer.lr 0.1 --epochs 3 --ema=none --no-probe --augment.crop-scale -0.1,1 --optimizer.no-nesterov"
    rest, fields = take_fields(words.split(), {"--epochs"})
    assert rest == ["photos", "--epochs", "3"]
    assert fields == {
        "optimizer.lr": "0.1",
        "ema": "none",
        "probe": "false",
        "augment.crop_scale": "-0.1,1",
        "optimizer.nesterov": "false",
    }


def test_a_flag_does_not_eat_the_word_after_it() -> None:
    assert take_fields(["--probe", "photos"], set()) == (["photos"], {"probe": "true"})
    assert take_fields(["--no-optimizer.nesterov", "photos"], set()) == (["photos"], {"optimizer.nesterov": "false"})


def test_words_after_two_dashes_are_left_alone() -> None:
    assert take_fields(["--", "--odd-name"], set()) == (["--", "--odd-name"], {})


@pytest.mark.parametrize("words", [["--no-ema"], ["--ema", "--probe"], ["--ema"], ["--optimizer", "sgd"]])
def test_a_field_without_its_value_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        take_fields(words, set())


def test_fields_on_the_command_line_and_in_python_are_the_same() -> None:
    _, fields = take_fields(["--optimizer.lr", "0.1", "--schedule.milestones=0.3,0.6"], set())
    in_python = apply_fields(Recipe(), {"optimizer": {"lr": 0.1}, "schedule": {"milestones": (0.3, 0.6)}})
    assert apply_fields(Recipe(), fields) == in_python


def test_an_unexpected_failure_is_short_and_debug_shows_all(monkeypatch: pytest.MonkeyPatch, striate_command: Command) -> None:
    def broken() -> None:
        raise KeyError("lost")

    monkeypatch.setattr("striate.doctor.examine", broken)
    short, full = striate_command("doctor"), striate_command("doctor", "--debug")
    assert short.status == full.status == 5
    assert "KeyError: 'lost'" in short.err
    assert "--debug" in short.err
    assert "Traceback" not in short.err
    assert "Traceback" in full.err


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch, striate_command: Command) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("striate.doctor.examine", interrupted)
    assert striate_command("doctor").status == 130


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="needs SIGPIPE")
def test_a_reader_that_goes_away_is_no_error() -> None:
    writing = subprocess.Popen(
        [sys.executable, "-m", "striate", "doctor", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert writing.stdout is not None
    writing.stdout.close()
    assert writing.wait(60) == 141
    assert writing.stderr is not None
    assert writing.stderr.read() == ""


def test_errors_are_plain_where_nobody_looks(striate_command: Command) -> None:
    assert "\x1b" not in striate_command("train", "nowhere/at/all").err


def test_doctor_says_what_is_here(striate_command: Command) -> None:
    ended = striate_command("doctor", "--json")
    found = json.loads(ended.out)
    assert ended.status == (1 if found["problems"] else 0)
    assert found["versions"]["torch"]
    assert found["cpu"]["cores"] >= 1
    assert "cpu" in found["devices"]
    assert set(found["extras"]) == {
        *("export", "openvino", "explain", "detect", "hub", "track", "tune", "keras", "parquet", "umap", "faiss")
    }
    for line in ("versions", "processor", "memory", "disk", "extras"):
        assert line in striate_command("doctor").out


def test_check_draws_the_augmentation_it_is_told(tmp_path: Path, striate_command: Command) -> None:
    plain = striate_command("check", "demo:letters", "--out", tmp_path / "plain", "--json")
    assert plain.status == 0
    assert {Path(file).name for file in json.loads(plain.out)["files"]} == {"check.html", "split.json", "audit.json"}
    sheets = []
    for degrees in (0, 40):
        folder = tmp_path / f"by-{degrees}"
        words = ("check", "demo:letters", "--recipe", "mlp", "--augmented", "--augment.rotate", degrees, "--out", folder)
        assert striate_command(*words).status == 0
        sheets.append((folder / "augmented.png").read_bytes())
    assert sheets[0] != sheets[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run on the embedded images, trained through the command line."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    words = ["train", "demo:fashion", "--arch", "mlp", "--epochs", "1", "--no-probe", "--out", str(folder), "--json"]
    assert main(words) == 0
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures and one file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for i, level in enumerate((10, 120, 240)):
        Image.fromarray(np.full((28, 28), level, np.uint8)).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return folder


@pytest.mark.slow
def test_train_json_is_json_alone(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "demo:fashion", "--arch", "mlp", "--epochs", "1", "--no-probe", "--out", f"{trained}-2", "--json"]) == 0
    out, err = capsys.readouterr()
    run = json.loads(out)
    assert run["status"] == "done"
    assert 0 <= run["accuracy"] <= 1
    assert Path(run["model_path"]).is_file()
    assert Path(run["report_path"]).is_file()
    assert "epoch" in err


@pytest.mark.slow
def test_evaluate_json_has_accuracy_at_the_top(trained: Path, striate_command: Command) -> None:
    evaluation = json.loads(striate_command("evaluate", trained, "demo:fashion", "--json").out)
    recorded = json.loads((trained / "evaluation.json").read_text())
    assert evaluation["accuracy"] == pytest.approx(recorded["accuracy"])
    assert evaluation["n"] == recorded["n"]


@pytest.mark.slow
def test_runs_lists_the_run(trained: Path, striate_command: Command) -> None:
    listed = json.loads(striate_command("runs", trained.parent, "--json").out)
    assert str(trained) in [run["path"] for run in listed]
    assert str(trained) in striate_command("runs", trained.parent).out


@pytest.mark.slow
def test_report_is_written_anew(trained: Path, striate_command: Command) -> None:
    (trained / "report.html").unlink()
    ended = striate_command("report", trained)
    assert ended.out.strip() == str(trained / "report.html")
    assert (trained / "report.html").stat().st_size > 0


@pytest.mark.slow
def test_predict_gives_every_row_and_status_1_for_a_bad_file(
    trained: Path, pictures: Path, striate_command: Command, tmp_path: Path
) -> None:
    ended = striate_command("predict", trained, pictures, "--json", "--top", 3)
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.status == 1
    assert [Path(row["path"]).name for row in rows] == ["0.png", "1.png", "2.png", "broken.png"]
    assert [len(row["top"]) for row in rows[:3]] == [3, 3, 3]
    assert set(rows[3]) == {"path", "error"}

    table = tmp_path / "answers.csv"
    assert striate_command("predict", trained, pictures, "--csv", table).status == 1
    in_file = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [row["label"] for row in in_file[:3]] == [row["label"] for row in rows[:3]]
    assert in_file[3]["error"]

    text = striate_command("predict", trained, pictures / "0.png", pictures / "broken.png")
    assert text.status == 1
    assert rows[0]["label"] in text.out
    assert "broken.png" in text.err


@pytest.mark.slow
def test_predict_reads_names_from_standard_input(trained: Path, pictures: Path) -> None:
    names = "".join(f"{pictures / name}\n" for name in ("1.png", "0.png"))
    done = subprocess.run(
        [sys.executable, "-m", "striate", "predict", str(trained), "-", "--csv", "-"],
        input=names,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert [Path(row["path"]).name for row in csv.DictReader(io.StringIO(done.stdout))] == ["1.png", "0.png"]
