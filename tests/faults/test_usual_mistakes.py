"""The dozen usual mistakes: each message says what, where, why and what to do, and what it advises exists."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import small_models
import torch
from command_line import Ended
from PIL import Image
from safetensors.torch import save_file
from small_models import write_colour_model

from striate.cli import app
from striate.recipe import Recipe
from striate.recipe_fields import field_names
from striate.terminal import Terminal

Command = Callable[..., Ended]

QUICK = ("--model", "mlp", "--size", 16, "--epochs", 2, "--no-probe", "--cache", "off")


def photos(folder: Path, counts: dict[str, int], side: int = 24, seed: int = 0) -> Path:
    """A folder a class with that many pictures of noise, no two alike."""
    draw = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(draw.integers(0, 256, (side, side, 3), np.uint8)).save(folder / name / f"{i}.png")
    return folder


def advised_options(text: str) -> set[tuple[str, str]]:
    """(command, option) of every command line that a message quotes: `striate COMMAND ... --OPTION`."""
    quoted = re.findall(r"`striate (\w+)([^`]*)`", text)
    return {(command, option) for command, rest in quoted for option in re.findall(r"--[\w.-]+", rest)}


def told(ended: Ended, *parts: str) -> None:
    """The message has these parts, says what to do, and advises only what exists."""
    text = " ".join((ended.err + ended.out).split())
    assert [part for part in parts if part not in text] == [], text
    fields = {"--" + name.replace("_", "-") for name in field_names(Recipe())}
    known = {command.__name__: app._options(command.__name__) for command in app.COMMANDS}
    wrong = [(command, option) for command, option in advised_options(text) if option not in known[command] | fields]
    assert wrong == [], text


def refused(ended: Ended, status: int, *parts: str) -> None:
    """The command ended with this status and an error that has these parts and says what to do."""
    assert ended.status == status, ended.err
    assert "error: " in ended.err
    assert "  do:    " in ended.err
    assert "Traceback" not in ended.err
    told(ended, *parts)


def test_one_class(tmp_path: Path, striate_command: Command) -> None:
    data = photos(tmp_path / "data", {"cat": 4})
    refused(striate_command("train", data, *QUICK), 3, "only one class", "'cat'", str(data), "why:", "nothing to tell apart")


def test_empty_class(tmp_path: Path, striate_command: Command) -> None:
    data = photos(tmp_path / "data", {"cat": 4, "dog": 4, "emu": 0})
    refused(striate_command("train", data, *QUICK), 3, "'emu'", str(data / "emu"), "no pictures", "remove the folder")


def test_one_number(tmp_path: Path, striate_command: Command) -> None:
    photos(tmp_path / "data", {"cat": 4})
    table = tmp_path / "table.csv"
    table.write_text("path,value\n" + "".join(f"data/cat/{i}.png,2.5\n" for i in range(4)))
    refused(
        striate_command("train", table, *QUICK), 3, "only one number, 2.5", str(table), "nothing to tell apart", "other numbers"
    )
    table.write_text("path,value,split\n" + "".join(f"data/cat/{i}.png,{i // 3},{('train', 'test')[i // 3]}\n" for i in range(4)))
    refused(striate_command("train", table, *QUICK), 3, "Every training image has the same number, 0", "different numbers")


def test_a_table_into_a_folder_that_is_not_there(tmp_path: Path, striate_command: Command) -> None:
    model = write_colour_model(tmp_path / "model.safetensors")
    data = photos(tmp_path / "data", {"cat": 1})
    words = ("predict", model, data, "--arch", f"{Path(small_models.__file__)}:MeanColour")
    gone = tmp_path / "gone" / "table.csv"
    ended = striate_command(*words, "--csv", gone)
    refused(ended, 5, str(gone), "No such file or directory", "make its folder first")
    assert "space" not in ended.err


def test_corrupt_files(tmp_path: Path, striate_command: Command) -> None:
    data = photos(tmp_path / "data", {"cat": 12, "dog": 12})
    (data / "cat" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    (data / "dog" / "5.png").write_bytes(b"")
    refused(
        striate_command("train", data, *QUICK),
        3,
        *("1 of 12 files in class 'cat' cannot be read", str(data), "why:", "1 %", "cat/3.png", "striate check", "--bad-files"),
    )
    checked = striate_command("check", data, "--out", tmp_path / "checked")
    assert checked.status == 1
    told(checked, "2 of 24 files cannot be read", "empty", "never trained on", "Replace or remove them")


def test_corrupt_files_within_the_threshold_are_named_and_left_out(tmp_path: Path, striate_command: Command) -> None:
    data = photos(tmp_path / "data", {"cat": 12, "dog": 12})
    (data / "cat" / "3.png").write_bytes(b"")
    ended = striate_command("train", data, *QUICK, "--bad-files", 0.1, "--out", tmp_path / "run")
    assert ended.status == 0, ended.err
    told(ended, "cat/3.png")


def test_wrong_number_of_channels(tmp_path: Path, striate_command: Command) -> None:
    data = photos(tmp_path / "data", {"cat": 4, "dog": 4})
    network = tmp_path / "mine.py"
    network.write_text(
        "from torch import nn\n"
        "def make(num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))\n"
    )
    ended = striate_command("train", data, "--arch", f"{network}:make", "--channels", 1)
    refused(ended, 3, "make does not take images of 1 x 24 x 24", "why:", "3 channels", "--channels N")


def test_wrong_number_of_outputs(tmp_path: Path, striate_command: Command) -> None:
    data = photos(tmp_path / "data", {"cat": 4, "dog": 4})
    network = tmp_path / "mine.py"
    network.write_text("from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 7))\n")
    ended = striate_command("train", data, "--arch", f"{network}:make")
    refused(ended, 3, "(2, 7)", "needs (2, 2)", "why:", "num_classes")


def test_tiny_images(tmp_path: Path, striate_command: Command) -> None:
    data = photos(tmp_path / "data", {"cat": 4, "dog": 4}, side=4)
    ended = striate_command("train", data, "--model", "lenet5", "--size", 4)
    refused(ended, 2, "lenet5 cannot read images of 4 x 4", "why:", "at least", "take larger images")
    checked = striate_command("check", data, "--out", tmp_path / "checked")
    told(checked, "warning", "4 x 4")
    assert "Nothing stands in the way" not in checked.out


def test_duplicates_across_splits(tmp_path: Path, striate_command: Command) -> None:
    data = tmp_path / "data"
    photos(data / "train", {"cat": 10, "dog": 10})
    photos(data / "test", {"cat": 5, "dog": 5}, seed=1)
    for i in range(3):
        shutil.copy(data / "train" / "cat" / f"{i}.png", data / "test" / "cat" / f"{i}.png")
    found = ("3 of the 10 images in test/ are also in train/", "test/cat/0.png")
    told(striate_command("check", data, "--out", tmp_path / "checked"), *found[:1], "warning", "Remove the twins", "flatters")
    told(striate_command("train", data, *QUICK, "--out", tmp_path / "run"), *found)


def test_imbalance(tmp_path: Path, striate_command: Command) -> None:
    data = photos(tmp_path / "data", {"cat": 60, "dog": 12})
    checked = striate_command("check", data, "--out", tmp_path / "checked")
    told(checked, "uneven", "cat has 5 times the images of dog", "macro-F1", "balance")
    told(striate_command("train", data, *QUICK, "--out", tmp_path / "run"), "uneven", "balance")


def test_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, striate_command: Command) -> None:
    data, out = photos(tmp_path / "data", {"cat": 12, "dog": 12}), tmp_path / "run"

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    refused(striate_command("train", data, *QUICK, "--out", out), 5, str(out), "why:", "No space left", "free some space")
    assert [path for path in out.rglob("*") if path.is_file()] == []


def test_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, striate_command: Command) -> None:
    data, out = photos(tmp_path / "data", {"cat": 12, "dog": 12}), tmp_path / "run"
    shown = Terminal.epoch

    def interrupt(terminal: Terminal, row: dict[str, object]) -> None:
        shown(terminal, row)
        handler = signal.getsignal(signal.SIGINT)  # called, not sent: a signal could end the tests' process
        assert callable(handler)
        handler(signal.SIGINT, None)

    with monkeypatch.context() as patch:
        patch.setattr(Terminal, "epoch", interrupt)
        ended = striate_command("train", data, *QUICK, "--out", out)
    refused(ended, 130, "saved", f"striate resume {out}")
    finished = striate_command("resume", out)
    assert finished.status == 0, finished.err
    assert (out / "model.safetensors").exists()


def test_another_tools_checkpoint(tmp_path: Path, striate_command: Command) -> None:
    data = photos(tmp_path / "data", {"cat": 4, "dog": 4})
    pickled, foreign = tmp_path / "resnet.pt", tmp_path / "resnet.safetensors"
    torch.save({"state_dict": {"conv1.weight": torch.zeros(2)}}, pickled)
    save_file({"conv1.weight": torch.zeros(2)}, foreign)
    for path in (pickled, foreign):
        for words in (("predict", path, data), ("evaluate", path, data)):
            refused(striate_command(*words), 3, "Another tool's", str(path), "without network, classes and preprocessing")


def test_unknown_model(tmp_path: Path, striate_command: Command) -> None:
    data = photos(tmp_path / "data", {"cat": 4, "dog": 4})
    refused(striate_command("train", data, "--model", "resnet81"), 2, "'resnet81'", "Did you mean 'resnet18'?")
    refused(striate_command("train", data, "--model", "zzz"), 2, "'zzz'", "Known: ", "lenet5")


def test_unknown_option(striate_command: Command) -> None:
    refused(striate_command("train", "data", "--epoch", 3), 2, "Unknown option --epoch", "Did you mean '--epochs'?")
    wrong = striate_command("train", "data", "--optimizer.learning_rate", 3)
    refused(wrong, 2, "Unknown option --optimizer.learning_rate", "Did you mean")
    refused(striate_command("evaluate", "model", "data", "--jsn"), 2, "--jsn", "--json")


def test_no_such_data(tmp_path: Path, striate_command: Command) -> None:
    refused(striate_command("train", tmp_path / "phtos"), 2, "no such file or folder", str(tmp_path / "phtos"), "why:")
    refused(striate_command("train", "demo:fashon"), 2, "'fashon'", "Did you mean 'fashion'?")


def test_results_never_go_into_the_data(tmp_path: Path, striate_command: Command) -> None:
    data = photos(tmp_path / "data", {"cat": 4, "dog": 4})
    before = sorted(data.rglob("*"))
    for words in (("check", data), ("train", data, *QUICK)):
        refused(striate_command(*words, "--out", data / "run"), 2, "within the data", str(data / "run"), "--out")
    assert sorted(data.rglob("*")) == before


def test_no_gpu(tmp_path: Path, striate_command: Command) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    data = photos(tmp_path / "data", {"cat": 4, "dog": 4})
    refused(striate_command("train", data, *QUICK, "--device", "cuda"), 2, "No CUDA device", "--device cpu")
