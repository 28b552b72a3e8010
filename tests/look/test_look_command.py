"""``striate look`` as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_data import write_fashion_model

from striate.errors import UsageError
from striate.look.looking import find_class
from striate.prediction import load

ALIGNED = ("input", "grad_cam", "saliency", "integrated_gradients", "occlusion", "receptive_field")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = write_fashion_model(tmp_path_factory.mktemp("model") / "model.safetensors")
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "boot.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)).save(path)
    return path


def test_everything_is_drawn_and_told(striate_command: Callable[..., Any], model: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "seen"
    ended = striate_command("look", model, photo, "-o", out)
    assert (ended.status, ended.err) == (0, "")
    assert {path.name for path in out.iterdir()} == {f"{name}.png" for name in (*ALIGNED, "overview", "features", "filters")}
    for name in ALIGNED:
        assert Image.open(out / f"{name}.png").size == (28, 28)
    said = ended.out
    assert said.startswith("boot.png: ")
    assert all(name in said for name in ("ant", "bee", "cat", "conv1", "conv2", "overview.png", str(out)))
    pixels = load(model).preprocess(photo.read_bytes())
    assert np.array_equal(np.asarray(Image.open(out / "input.png"))[:, :, 0], pixels[:, :, 0])


def test_json_is_complete(striate_command: Callable[..., Any], model: Path, photo: Path, tmp_path: Path) -> None:
    command = ("look", model, photo, "-o", tmp_path, "--layer", "conv1", "--unit", "3,4,5", "--class", "Bee", "--json")
    told = json.loads(striate_command(*command).out)
    assert told["class"] == {"number": 1, "name": "bee"}
    assert told["unit"]["layer"] == "conv1"
    assert told["unit"]["unit"] == [3, 4, 5]
    assert told["unit"]["agrees"] is True
    assert set(told["files"]) == {*ALIGNED, "overview", "features", "filters"}
    assert all(Path(entry["path"]).exists() for entry in told["files"].values())
    assert sum(share for _, share in told["prediction"]["top"]) == pytest.approx(1)
    assert told["graph"]["nodes"][0]["id"] == "input"
    assert (told["notes"], told["sanity"]) == ([], None)


def test_class_changes_the_maps(striate_command: Callable[..., Any], model: Path, photo: Path, tmp_path: Path) -> None:
    shown = []
    for target in ("ant", 2):
        assert striate_command("look", model, photo, "-o", tmp_path / str(target), "--class", target).status == 0
        shown.append(np.asarray(Image.open(tmp_path / str(target) / "integrated_gradients.png")))
    assert (shown[0] != shown[1]).any()


def test_a_map_is_checked_against_random_weights(
    striate_command: Callable[..., Any], model: Path, photo: Path, tmp_path: Path
) -> None:
    command = ("look", model, photo, "-o", tmp_path, "--sanity", "saliency")
    said = striate_command(*command).out
    assert "Saliency as the weights are made random" in said
    assert "a rank correlation of" in said
    told = json.loads(striate_command(*command, "--json").out)["sanity"]
    assert (told["map"], told["layers"][-1]) == ("saliency", "conv1")
    assert f"{told['score']:.2f} is left" in said


def test_folder_is_named_after_the_picture(
    striate_command: Callable[..., Any], model: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert striate_command("look", model, photo).status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["look-boot"]


def test_a_number_is_explained_too(striate_command: Callable[..., Any], photo: Path, tmp_path: Path) -> None:
    path = write_fashion_model(tmp_path / "value.safetensors", "value")
    ended = striate_command("look", path, photo, "-o", tmp_path / "out")
    assert ended.status == 0
    assert ended.out.startswith("boot.png: ")
    assert "The maps explain the number." in ended.out
    refused = striate_command("look", path, photo, "-o", tmp_path / "out", "--class", "bee")
    assert (refused.status, "no classes" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--layer", "conv3"), "Did you mean 'conv"),
        (("--layer", "conv1", "--unit", "0,0,99"), "0..25"),
        (("--unit", "1,x"), "--unit CHANNEL,ROW,COLUMN"),
        (("--class", "bear"), "Did you mean"),
        (("--class", "3"), "its classes are 0 to 2"),
        (("--sanity", "salience"), "Did you mean 'saliency'"),
    ],
)
def test_mistakes_are_named(
    striate_command: Callable[..., Any], model: Path, photo: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    ended = striate_command("look", model, photo, "-o", tmp_path / "out", *words)
    assert ended.status == 2
    assert said in ended.err
    assert not (tmp_path / "out").exists()


def test_no_picture_no_folder(striate_command: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    for image in (tmp_path / "gone.png", tmp_path / "notes.txt"):
        ended = striate_command("look", model, image, "-o", tmp_path / "out")
        assert ended.status != 0
        assert "Traceback" not in ended.err
    assert not (tmp_path / "out").exists()


def test_classes_by_name_and_number(model: Path) -> None:
    opened = load(model)
    assert [find_class(opened, given) for given in ("cat", "CAT", 2, "2", "0")] == [2, 2, 2, 2, 0]
    for given in ("dog", 3, -1, "1.5"):
        with pytest.raises(UsageError, match="no class"):
            find_class(opened, given)
