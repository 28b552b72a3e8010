"""`striate embed` and `striate search`: what a user types and reads."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Ended
from PIL import Image
from small_models import FRUIT, card, noise, write_colour_model

from striate.bundle import write_bundle
from striate.data.preprocess import Preprocess
from striate.index import read_index
from striate.tasks.classify import Classify
from striate.zoo import build

Command = Callable[..., Ended]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    preprocess = Preprocess((28, 28), None, channels=3, mean=(0.5,), std=(0.25,))
    path = tmp_path / "model.safetensors"
    write_bundle(path, build("fashion_cnn", num_classes=3, in_channels=3).state_dict(), card(Classify(FRUIT), preprocess))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four pictures a class; the first banana is the last apple's very copy, and the last cherry nearly its first."""
    for k, name in enumerate(FRUIT):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(4):
            coarse = Image.fromarray(noise(10 * k + i, 4, 4))
            coarse.resize((40, 40), Image.Resampling.NEAREST).save(tmp_path / "photos" / name / f"{i}.png")
    folder = tmp_path / "photos"
    (folder / "banana" / "0.png").write_bytes((folder / "apple" / "3.png").read_bytes())
    with Image.open(folder / "cherry" / "0.png") as picture:
        picture.save(folder / "cherry" / "3.jpg", quality=100, subsampling=0)
    (folder / "cherry" / "3.png").unlink()
    return folder


@pytest.fixture
def index(model: Path, photos: Path, tmp_path: Path, striate_command: Command) -> Path:
    ended = striate_command("embed", model, photos, "-o", tmp_path / "index.npz")
    assert ended.status == 0, ended.err
    return tmp_path / "index.npz"


def test_embed_says_what_it_made(model: Path, photos: Path, tmp_path: Path, striate_command: Command) -> None:
    ended = striate_command("embed", model, photos, "--out", tmp_path / "index.npz", "--batch", 5, "--workers", 1)
    width = read_index(tmp_path / "index.npz").vectors.shape[1]
    assert ended.out.startswith(f"{tmp_path / 'index.npz'}: 12 pictures, {width:,} numbers each, by fashion_cnn\n")
    record = json.loads(striate_command("embed", model, photos, "-o", tmp_path / "index.npz", "--json").out)
    assert (record["pictures"], record["dimensions"], record["kept"], record["bad"]) == (12, width, 0, [])


def test_embed_names_what_it_cannot_read(model: Path, photos: Path, tmp_path: Path, striate_command: Command) -> None:
    (photos / "apple" / "2.png").write_bytes(b"no picture")
    ended = striate_command("embed", model, photos, "-o", tmp_path / "index.npz")
    assert ended.status == 1
    assert "apple/2.png: error: " in ended.err
    assert ": 11 pictures, " in ended.out


def test_search_names_the_most_similar_pictures(index: Path, photos: Path, striate_command: Command) -> None:
    query = photos / "cherry" / "0.png"
    lines = striate_command("search", index, query, "-k", 2).out.splitlines()
    assert lines[0] == f"{query}: the 2 most similar of 12 pictures"
    assert lines[1].split() == ["1.000", "cherry/0.png", "cherry"]
    assert lines[2].split()[1:] == ["cherry/3.jpg", "cherry"]
    record = json.loads(striate_command("search", index, query, "--json").out)
    assert [match["key"] for match in record["matches"]][:2] == ["cherry/0.png", "cherry/3.jpg"]
    assert len(record["matches"]) == 5
    assert Path(record["matches"][1]["path"]).samefile(photos / "cherry" / "3.jpg")
    similarities = [match["similarity"] for match in record["matches"]]
    assert similarities == sorted(similarities, reverse=True)


def test_search_with_the_model_named_anew(
    index: Path, model: Path, photos: Path, tmp_path: Path, striate_command: Command
) -> None:
    moved = model.rename(tmp_path / "moved.safetensors")
    query = photos / "apple" / "1.png"
    ended = striate_command("search", index, query)
    assert (ended.status, ended.out) == (2, "")
    assert "The model of the index is not there" in ended.err
    assert "--model" in ended.err
    assert "apple/1.png" in striate_command("search", index, query, "--model", moved).out.splitlines()[1]
    other = write_colour_model(tmp_path / "other.safetensors")
    code = f"{Path(__file__).with_name('small_models.py')}:MeanColour"
    ended = striate_command("search", index, query, "--model", other, "--arch", code)
    assert ended.status == 3
    assert "another network: MeanColour, not fashion_cnn" in ended.err


def test_search_with_weights_named_anew(photos: Path, tmp_path: Path, striate_command: Command) -> None:
    torch.save(build("fashion_cnn", num_classes=10, in_channels=1).state_dict(), tmp_path / "weights.pth")
    weights = ("--weights", tmp_path / "weights.pth")
    assert striate_command("embed", "fashion_cnn", photos, *weights, "-o", tmp_path / "index.npz").status == 0
    plain = striate_command("search", tmp_path / "index.npz", photos / "apple" / "1.png")
    (tmp_path / "weights.pth").rename(tmp_path / "moved.pth")
    anew = striate_command("search", tmp_path / "index.npz", photos / "apple" / "1.png", "--weights", tmp_path / "moved.pth")
    assert plain.out.splitlines()[1].split() == ["1.000", "apple/1.png", "apple"]
    assert anew.out == plain.out


def test_clusters_of_near_duplicates(index: Path, striate_command: Command) -> None:
    ended = striate_command("search", index, "--duplicates", "--threshold", 0.999)
    assert ended.out.splitlines() == [
        "2 clusters of near-duplicates with 4 of 12 pictures: similarity 0.999 or more",
        "",
        "2 pictures, labelled differently: apple, banana",
        "  1.000  apple/3.png   apple",
        "  1.000  banana/0.png  banana",
        "",
        "2 pictures",
        "  1.000  cherry/0.png  cherry",
        "  1.000  cherry/3.jpg  cherry",
    ]
    record = json.loads(striate_command("search", index, "--duplicates", "--threshold", 0.999, "--json").out)
    assert [[member["key"] for member in cluster] for cluster in record["clusters"]] == [
        ["apple/3.png", "banana/0.png"],
        ["cherry/0.png", "cherry/3.jpg"],
    ]


def test_no_duplicates(model: Path, photos: Path, tmp_path: Path, striate_command: Command) -> None:
    (photos / "banana" / "0.png").unlink()
    striate_command("embed", model, photos, "-o", tmp_path / "index.npz")
    ended = striate_command("search", tmp_path / "index.npz", "--duplicates", "--threshold", 1)
    assert ended.out == "No near-duplicates among 11 pictures: no two are similar by 1 or more\n"


def test_a_map(index: Path, tmp_path: Path, striate_command: Command) -> None:
    assert striate_command("search", index, "--map", tmp_path / "map.csv").out == f"{tmp_path / 'map.csv'}\n"
    with open(tmp_path / "map.csv", encoding="utf-8", newline="") as file:
        assert [row["key"] for row in csv.DictReader(file)] == list(read_index(index).keys)
    assert striate_command("search", index, "--map", tmp_path / "map.png").status == 0
    with Image.open(tmp_path / "map.png") as picture:
        assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 3


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ((), 2, "an image, --duplicates, --map FILE"),
        (("x.png", "--duplicates"), 2, "an image, --duplicates, --map FILE"),
        (("--duplicates", "--map", "map.png"), 2, "an image, --duplicates, --map FILE"),
        (("--duplicates", "--threshold", 0), 2, "more than 0 and at most 1"),
        (("--map", "map.svg"), 2, ".csv or a .png"),
        (("--map", "map.png", "--method", "tsne"), 2, '"pca", "umap"'),
        (("no/such.png",), 1, "no/such.png"),
        (("no/such.png", "-k", 0), 2, "Must be >= 1"),
        (("no/such.png", "--colour"), 2, "--colour"),
    ],
)
def test_what_search_cannot_do(index: Path, words: tuple[object, ...], status: int, told: str, striate_command: Command) -> None:
    ended = striate_command("search", index, *words)
    assert ended.status == status, ended.err
    assert told in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "--out"),
        (("-o", "index.txt"), ".npz or a .parquet"),
        (("-o", "index.npz", "--batch", 0), "Must be >= 1"),
    ],
)
def test_what_embed_cannot_do(photos: Path, words: tuple[object, ...], told: str, striate_command: Command) -> None:
    ended = striate_command("embed", "no/such/model", photos, *words)
    assert ended.status == 2
    assert told in ended.err
    assert "no/such/model" not in ended.err, "the command line is looked at first"


def test_an_index_is_looked_through_without_torch(index: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from striate.cli import main\n"
        f"assert main(['search', {str(index)!r}, '--duplicates']) == 0\n"
        f"assert main(['search', {str(index)!r}, '--map', {str(tmp_path / 'map.csv')!r}]) == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
