"""Embeddings of a data set: the network's own numbers, once for each picture, whatever stops the work."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import FRUIT, MeanColour, card, colour_card, noise, plain
from torch import nn

from striate import embedding
from striate.bundle import write_bundle
from striate.data.preprocess import Preprocess
from striate.embedder import Embedder
from striate.embedding import embed, find_similar, origin_of, reopen
from striate.errors import Failed, Interrupted, Refused, UsageError
from striate.index import are_unit, read_index
from striate.prediction import Model, load
from striate.progress import Silent
from striate.search import nearest
from striate.signals import StopRequest
from striate.tasks.classify import Classify
from striate.zoo import build


class Colour(MeanColour):
    """Its embedding is the mean red, green and blue: the network whose neighbours are known."""

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] -> [N, 3]"""
        return x.mean(dim=(2, 3))


def raw_card(**more: Any) -> dict[str, Any]:
    """Pixels as they come, 0..1, so that black is zeros."""
    return {**colour_card(), "preprocess": Preprocess((8, 8), channels=3).to_json(), **more}


@pytest.fixture
def colours() -> Model:
    return Model.from_module(Colour(), raw_card())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for k, name in enumerate(FRUIT):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(7):
            plain(tuple(40 + 30 * i if c == k else 10 * i for c in range(3))).save(  # type: ignore[arg-type]
                tmp_path / "photos" / name / f"{i}.png"
            )
    return tmp_path / "photos"


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    preprocess = Preprocess((28, 28), None, channels=3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    path = tmp_path / "model.safetensors"
    write_bundle(path, build("fashion_cnn", num_classes=3, in_channels=3).state_dict(), card(Classify(FRUIT), preprocess))
    return path


class StopAfter(Silent):
    """Asks for a stop at the n-th word of progress."""

    def __init__(self, request: StopRequest, n: int) -> None:
        self.request, self.n = request, n
        self.heard: list[int] = []

    def stage(self, name: str, done: int, total: int) -> None:
        self.heard.append(done)
        if len(self.heard) == self.n:
            self.request.stop()


# The numbers


def test_an_embedding_is_what_the_last_layer_reads(fashion: Path) -> None:
    model = load(fashion)
    images = np.stack([noise(i, 28, 28) for i in range(5)]).transpose(0, 3, 1, 2)
    read: list[torch.Tensor] = []
    network: Any = model.module
    hook = network.get_submodule(network.head_path).register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    model.raw(images)
    hook.remove()
    want = torch.nn.functional.normalize(read[0], dim=1)
    # Each number is below 1, from float32 sums of about 1,000 terms in another order at most.
    np.testing.assert_allclose(Embedder(model)(images), want.numpy(), rtol=0, atol=1e-6)
    assert Embedder(model).width == network.embedding_dim


def test_an_index_holds_each_picture_in_the_order_of_the_data(photos: Path, tmp_path: Path, colours: Model) -> None:
    made = embed(colours, photos, tmp_path / "index.npz", batch=4)
    index = read_index(tmp_path / "index.npz")
    assert list(index.keys) == [f"{name}/{i}.png" for name in FRUIT for i in range(7)]
    assert [index.label(i) for i in (0, 7, 20)] == list(FRUIT)
    want = np.array([[40 + 30 * i if c == k else 10 * i for c in range(3)] for k in range(3) for i in range(7)], np.float64)
    np.testing.assert_allclose(index.vectors, want / np.linalg.norm(want, axis=1, keepdims=True), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(made.index.vectors, index.vectors)
    assert (made.bad, made.num_kept) == ([], 0)
    assert list(tmp_path.glob("*.partial")) == []
    assert Path(index.path(3) or "").samefile(photos / "apple" / "3.png")


@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (5, 3), (64, None)])
def test_batches_and_threads_change_nothing(
    photos: Path, tmp_path: Path, colours: Model, batch: int, workers: int | None
) -> None:
    want = embed(colours, photos, tmp_path / "a.npz", batch=7, workers=2).index
    made = embed(colours, photos, tmp_path / "b.npz", batch=batch, workers=workers).index
    assert made.keys == want.keys
    np.testing.assert_allclose(made.vectors, want.vectors, rtol=0, atol=1e-6)


def test_a_folder_that_nothing_sorts(photos: Path, tmp_path: Path, colours: Model) -> None:
    (photos / "apple" / "notes.txt").touch()
    index = embed(colours, photos / "apple", tmp_path / "index.npz").index
    assert index.keys == tuple(f"{i}.png" for i in range(7))
    assert index.label(0) == ""
    assert index.path(0) == str(photos / "apple" / "0.png")


def test_decoded_pictures_have_no_file(tmp_path: Path, colours: Model) -> None:
    pictures = np.stack([noise(i, 8, 8) for i in range(4)])
    np.savez(tmp_path / "data.npz", images=pictures, labels=np.array([0, 1, 0, 1]))
    index = embed(colours, tmp_path / "data.npz", tmp_path / "index.npz").index
    assert index.root is None
    np.testing.assert_allclose(index.vectors[2], _unit(pictures[2].mean(axis=(0, 1))), rtol=0, atol=1e-6)


def _unit(vector: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return vector / np.linalg.norm(vector)  # type: ignore[no-any-return]


def test_black_is_like_nothing(photos: Path, tmp_path: Path, colours: Model) -> None:
    for name in ("black", "white"):
        plain(name).save(photos / "apple" / f"{name}.png")
    index = embed(colours, photos / "apple", tmp_path / "index.npz").index
    assert not index.vectors[index.keys.index("black.png")].any()
    found = find_similar(index, plain("white"), 9, colours)
    assert [(match.key, match.similarity) for match in (found[0], found[-1])] == [
        ("white.png", pytest.approx(1)),
        ("black.png", 0),
    ]


# What cannot be read


def test_a_bad_file_is_named_and_left_out(photos: Path, tmp_path: Path, colours: Model) -> None:
    (photos / "banana" / "3.png").write_bytes(b"no picture")
    made = embed(colours, photos, tmp_path / "index.npz", batch=4)
    assert [key for key, _ in made.bad] == ["banana/3.png"]
    assert len(made.index) == 20
    assert "banana/3.png" not in made.index.keys
    assert made.index.label(made.index.keys.index("banana/4.png")) == "banana"


def test_only_bad_files(tmp_path: Path, colours: Model) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_bytes(b"no picture")
    with pytest.raises(Refused, match=r"No picture to embed[\s\S]*the first: 1\.png"):
        embed(colours, tmp_path / "photos", tmp_path / "index.npz")
    assert not (tmp_path / "index.npz").exists()


# Networks that have no embedding


def test_a_network_that_says_no_embedding(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"MeanColour does not say[\s\S]*do: .*a method embed\(x\)"):
        embed(Model.from_module(MeanColour(), raw_card()), photos, tmp_path / "index.npz")


class Plain(torch.nn.Module):
    """It says nothing of an embedding, but ends in a dense layer."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.answer = torch.nn.Linear(3, num_classes)
        self.gate = torch.nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        colour = x.mean(dim=(2, 3))
        result: torch.Tensor = self.answer(colour * self.gate(colour).sigmoid())
        return result


def test_a_network_of_ones_own_is_embedded_before_its_last_layer(
    photos: Path, tmp_path: Path, striate_command: Callable[..., Any]
) -> None:
    torch.manual_seed(0)
    network = Plain()
    read: list[torch.Tensor] = []
    pixels = np.stack([np.asarray(plain((40 + 30 * i, 10 * i, 10 * i))) for i in range(7)])
    network.answer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].detach()))
    network(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)
    want = torch.nn.functional.normalize(read[0], dim=1).numpy()
    write_bundle(tmp_path / "own.safetensors", network.state_dict(), raw_card())
    ended = striate_command(
        "embed", tmp_path / "own.safetensors", photos, "-o", tmp_path / "index.npz", "--arch", f"{__file__}:Plain"
    )
    assert ended.status == 0, ended.err
    # Three numbers below 1 each, means of 64 pixels.
    np.testing.assert_allclose(read_index(tmp_path / "index.npz").vectors[:7], want, rtol=0, atol=1e-6)


def test_an_embedding_of_maps(photos: Path, tmp_path: Path) -> None:
    class Maps(Colour):
        def embed(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with pytest.raises(Refused, match=r"returns \[1, 3, 8, 8\] for one picture"):
        embed(Model.from_module(Maps(), raw_card()), photos, tmp_path / "index.npz")


def test_numbers_that_are_not_finite_are_named(photos: Path, tmp_path: Path) -> None:
    class Logarithm(Colour):
        def embed(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(dim=(2, 3)).log()  # of banana/0: log 0

    with pytest.raises(Failed, match=r"not finite[\s\S]*apple/0\.png"):
        embed(Model.from_module(Logarithm(), raw_card()), photos, tmp_path / "index.npz", batch=3)


def test_an_exported_graph_has_no_embedding(photos: Path, tmp_path: Path) -> None:
    graph = Model(lambda images: images.mean((2, 3), dtype=np.float32), raw_card())
    with pytest.raises(UsageError, match="exported graph"):
        embed(graph, photos, tmp_path / "index.npz")


@pytest.mark.parametrize(
    ("name", "told"), [("index.pt", r"\.npz or a \.parquet"), ("no/index.npz", "no folder"), ("photos", r"\.npz or")]
)
def test_a_file_that_cannot_be_written_is_told_at_once(
    photos: Path, tmp_path: Path, colours: Model, name: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "Embedder", None)  # nothing has run
    with pytest.raises((UsageError, Failed), match=told):
        embed(colours, photos, tmp_path / name)


# Stopping and going on


def test_what_was_stopped_goes_on(photos: Path, tmp_path: Path, colours: Model) -> None:
    out, request = tmp_path / "index.npz", StopRequest()
    with pytest.raises(Interrupted, match=r"Stopped at 8 of 21 pictures[\s\S]*where: .*index\.npz\.partial\n"):
        embed(colours, photos, out, batch=4, progress=StopAfter(request, 2), stop=request)
    assert not out.exists()
    listener = StopAfter(StopRequest(), 99)
    made = embed(colours, photos, out, batch=4, progress=listener)
    assert made.num_kept == 8
    assert listener.heard == [12, 16, 20, 21]
    fresh = embed(colours, photos, tmp_path / "fresh.npz", batch=4).index
    np.testing.assert_array_equal(made.index.vectors, fresh.vectors)
    assert list(tmp_path.glob("*.partial")) == []


def test_a_stop_with_the_last_picture_comes_too_late(photos: Path, tmp_path: Path, colours: Model) -> None:
    request = StopRequest()
    embed(colours, photos, tmp_path / "index.npz", batch=21, progress=StopAfter(request, 1), stop=request)
    assert len(read_index(tmp_path / "index.npz")) == 21


def test_a_torn_row_is_made_again(photos: Path, tmp_path: Path, colours: Model) -> None:
    out, request = tmp_path / "index.npz", StopRequest()
    with pytest.raises(Interrupted):
        embed(colours, photos, out, batch=4, progress=StopAfter(request, 3), stop=request)
    partial = tmp_path / "index.npz.partial"
    data = bytearray(partial.read_bytes())
    data[4096 + 5 * 12 + 4 : 4096 + 6 * 12] = bytes(8)  # of the sixth vector only the first number reached the disk
    partial.write_bytes(data)
    made = embed(colours, photos, out, batch=4)
    assert made.num_kept == 11
    assert are_unit(made.index.vectors).all()


def test_a_bad_file_is_tried_again(photos: Path, tmp_path: Path, colours: Model) -> None:
    (photos / "apple" / "1.png").write_bytes(b"no picture")
    request = StopRequest()
    with pytest.raises(Interrupted):
        embed(colours, photos, tmp_path / "index.npz", batch=4, progress=StopAfter(request, 2), stop=request)
    made = embed(colours, photos, tmp_path / "index.npz")
    assert made.num_kept == 7
    assert [key for key, _ in made.bad] == ["apple/1.png"]


def test_what_was_begun_with_another_model_or_data_is_not_gone_on_with(photos: Path, tmp_path: Path, colours: Model) -> None:
    request = StopRequest()
    with pytest.raises(Interrupted):
        embed(colours, photos, tmp_path / "index.npz", batch=4, progress=StopAfter(request, 2), stop=request)
    other = Model.from_module(Colour(), raw_card(preprocess=Preprocess((9, 9), channels=3).to_json()))
    with pytest.raises(Refused, match=r"Another index was begun here[\s\S]*delete this file"):
        embed(other, photos, tmp_path / "index.npz")
    plain("white").save(photos / "apple" / "new.png")
    with pytest.raises(Refused, match="Another index was begun here"):
        embed(colours, photos, tmp_path / "index.npz")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_command_goes_on(fashion: Path, tmp_path: Path, number: signal.Signals) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3000, 28, 28, 3), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=pictures, labels=np.arange(3000) % 2)
    out, partial = tmp_path / "index.npz", tmp_path / "index.npz.partial"
    command = [sys.executable, "-m", "striate", "embed", fashion, tmp_path / "data.npz", "-o", out, "--batch", "8"]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (partial.exists() and partial.stat().st_size and _any_row(partial)):
        time.sleep(0.01)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert not out.exists(), "it was too fast to be stopped"
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number), told
    made = embed(load(fashion), tmp_path / "data.npz", out)
    assert 0 < made.num_kept < 3000
    fresh = embed(load(fashion), tmp_path / "data.npz", tmp_path / "fresh.npz").index
    np.testing.assert_allclose(made.index.vectors, fresh.vectors, rtol=0, atol=1e-6)


def _any_row(partial: Path) -> bool:
    with open(partial, "rb") as file:
        file.seek(4096)
        return any(file.read(4096))


# Searching with a picture


def test_the_nearest_pictures_are_of_its_colour(photos: Path, tmp_path: Path, colours: Model) -> None:
    index = embed(colours, photos, tmp_path / "index.npz").index
    for query in (photos / "cherry" / "4.png", str(photos / "cherry" / "4.png"), plain((40, 40, 160))):
        found = find_similar(index, query, 3, colours)
        assert found[0].key == "cherry/4.png"
        assert found[0].similarity == pytest.approx(1, abs=1e-6)
        assert {match.label for match in found} == {"cherry"}
    with pytest.raises(UsageError, match="k is 0"):
        find_similar(index, plain("red"), 0, colours)


def test_an_index_of_another_model_is_refused(photos: Path, tmp_path: Path, colours: Model, fashion: Path) -> None:
    index = embed(colours, photos, tmp_path / "index.npz").index
    tuned = Colour()
    nn.init.constant_(tuned.scale, 9.0)
    cropped = Preprocess((8, 8), resize=9, channels=3).to_json()
    others = [
        (load(fashion), "another network: fashion_cnn, not MeanColour"),
        (Model.from_module(tuned, raw_card()), "other weights"),
        (Model.from_module(Colour(), raw_card(preprocess=cropped)), "another preprocessing"),
    ]
    for other, told in others:
        with pytest.raises(Refused, match=rf"of another model[\s\S]*{told}[\s\S]*do: "):
            find_similar(index, plain("red"), 1, other)


def test_another_head_is_the_same_model(fashion: Path) -> None:
    """No embedding follows from the last layer: vectors of a network and of its fine-tuned head compare."""
    first, second = load(fashion), load(fashion)
    network: Any = second.module
    network.reset_head(7)
    assert origin_of(first) == origin_of(second)
    with torch.no_grad():
        next(network.parameters()).add_(1e-3)
    assert origin_of(first).digest != origin_of(second).digest


def test_the_model_is_opened_where_it_was(photos: Path, tmp_path: Path, fashion: Path) -> None:
    embed(load(fashion), photos, tmp_path / "index.npz")
    index = read_index(tmp_path / "index.npz")
    assert find_similar(index, photos / "apple" / "2.png", 1)[0].key == "apple/2.png"
    fashion.rename(tmp_path / "moved.safetensors")
    with pytest.raises(UsageError, match=r"not there[\s\S]*model\.safetensors[\s\S]*--model"):
        reopen(index)
    assert find_similar(index, photos / "apple" / "2.png", 1, load(tmp_path / "moved.safetensors"))[0].key == "apple/2.png"


def test_a_network_with_anothers_weights_is_opened_again(photos: Path, tmp_path: Path) -> None:
    torch.save(build("fashion_cnn", num_classes=10, in_channels=1).state_dict(), tmp_path / "weights.pth")
    index = embed(load("fashion_cnn", weights=tmp_path / "weights.pth"), photos, tmp_path / "index.npz").index
    assert (index.origin.given, index.origin.weights) == ("fashion_cnn", str(tmp_path / "weights.pth"))
    assert find_similar(index, photos / "apple" / "2.png", 1)[0].key == "apple/2.png"


def test_ones_own_code_is_not_run_unasked(photos: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "own.safetensors", Colour().state_dict(), raw_card())
    index = embed(load(tmp_path / "own.safetensors", arch=Colour), photos, tmp_path / "index.npz").index
    with pytest.raises(Refused, match="nothing named inside a file is ever run"):
        reopen(index)
    assert find_similar(index, photos / "apple" / "0.png", 1, reopen(index, f"{__file__}:Colour"))[0].key == "apple/0.png"
    in_memory = embed(Model.from_module(Colour(), raw_card()), photos, tmp_path / "index.npz").index
    with pytest.raises(UsageError, match="not there"):
        reopen(in_memory)


@pytest.mark.slow
def test_real_photos_have_kindred_neighbours(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven photos and MobileNet v2: fish are next to fish, and finches to finches."""
    monkeypatch.setenv("STRIATE_WEIGHTS", str(shared_data / "weights"))
    names = ("great_white_shark", "tiger_shark", "hammerhead", "brambling", "goldfinch", "house_finch", "junco")
    (tmp_path / "photos").mkdir()
    for name in names:
        (photo,) = (shared_data / "imagenet_samples").glob(f"*_{name}.jpg")
        (tmp_path / "photos" / photo.name).symlink_to(photo)
    model = load("mobilenet_v2", weights="imagenet")
    index = embed(model, tmp_path / "photos", tmp_path / "index.npz").index
    assert len(index) == len(names)
    fish = [index.label(i) in ("great white shark", "tiger shark", "hammerhead") for i in range(len(index))]
    assert sum(fish) == 3
    second = nearest(index.vectors, index.vectors, 1, exclude=np.arange(len(index))).positions[:, 0]
    assert [fish[i] for i in second.tolist()] == fish
