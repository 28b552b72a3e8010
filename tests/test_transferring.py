"""From weights of another task to a run: what is kept of them, what is said, which regime, and who never learns by mistake."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import striate
from striate import zoo
from striate.data.formats import open_source
from striate.data.source import ArraySource
from striate.errors import Interrupted, Refused, UsageError
from striate.experiment import resume, train
from striate.features import embed, find_head, read_features
from striate.fine_tuning import trainable_parameters
from striate.progress import Silent
from striate.recipe import Recipe
from striate.runs import Run
from striate.signals import StopRequest
from striate.starting_point import begin_from
from striate.subject import make_subject


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))


def stripes(num: int, num_classes: int = 3, channels: int = 3, held_out: int = 0) -> ArraySource:
    """Waves in as many directions as classes."""
    draw = np.random.default_rng(num)
    targets = np.arange(num, dtype=np.int64) % num_classes
    rows, columns = np.mgrid[:32, :32]
    angles = np.pi * np.arange(num_classes) / num_classes
    waves = np.stack([rows * np.sin(a) + columns * np.cos(a) for a in angles])[targets]
    images = 120 + 60 * np.sin(waves + draw.uniform(0, 6, (num, 1, 1))) + draw.normal(0, 25, waves.shape)
    pixels = np.repeat(np.clip(images, 0, 255).astype(np.uint8)[..., None], channels, axis=3)
    given = np.r_[np.full(num - held_out, 1), np.full(held_out, 3)].astype(np.uint8)
    classes = tuple(f"way {k}" for k in range(num_classes))
    return ArraySource(pixels, name="stripes", location="stripes", kind="label", classes=classes, targets=targets, given=given)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A CIFAR ResNet as another task left it, batch norms moved off their start."""
    torch.manual_seed(3)
    network = zoo.build("resnet20_cifar")
    with torch.no_grad():
        for _ in range(5):
            network.train()(torch.randn(16, 3, 32, 32))
    save_file(network.state_dict(), tmp_path / "source.safetensors")
    return tmp_path / "source.safetensors"


def moved(run: Run, weights: Path) -> set[str]:
    from safetensors.torch import load_file

    before, after = load_file(weights), striate.load(run.model_path).module.state_dict()
    return {name.split(".")[0] for name, value in before.items() if not torch.equal(after[name].cpu(), value)}


class Plan(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def plan(self, rows: list[tuple[str, str]]) -> None:
        self.lines = [f"{name} {text}" for name, text in rows]


def test_small_data_solves_the_head_and_touches_nothing_else(tmp_path: Path, weights: Path) -> None:
    plan = Plan()
    run = train(stripes(120, held_out=60), "resnet20_cifar", weights=weights, out=tmp_path / "run", progress=plan)
    assert moved(run, weights) == {"linear"}
    assert run.accuracy is not None
    assert run.accuracy > 0.5, "random features of convolutions tell directions apart, far better than one in three"
    text = "\n".join(plan.lines)
    for said in (
        "regime small: 18 images a class are too few",
        "the head alone",
        "mirror image",
        "begun anew for 3 outputs",
        str(weights),
    ):
        assert said in text, said
    assert run.record["begun_from"] == str(weights)
    assert "regime='small'" in run.record["python"]
    assert [row["epoch"] for row in run.history] == [1]
    again = train(stripes(120, held_out=60), "resnet20_cifar", weights=weights, regime="small", out=tmp_path / "again")
    for name, value in striate.load(run.model_path).module.state_dict().items():
        assert torch.equal(striate.load(again.model_path).module.state_dict()[name], value), name


def test_features_are_read_once_and_go_on_where_they_stopped(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from striate import features

    monkeypatch.setattr(features, "SAVE_SECONDS", 0.0)
    network = zoo.build("resnet20_cifar", weights=weights)
    head = network.get_submodule("linear")
    images = torch.randint(0, 256, (50, 3, 32, 32), dtype=torch.uint8)
    batches = [{"image": part} for part in images.split(16)]
    whole = read_features(network, head, batches, 50, torch.Tensor.float, mirrored=True).features
    assert whole.shape == (2, 50, 64)
    kept = tmp_path / "kept"

    def stop_at_32(done: int, total: int) -> None:
        if done >= 32:
            raise Interrupted("Stopped", 2)

    with pytest.raises(Interrupted):
        read_features(network, head, batches, 50, torch.Tensor.float, mirrored=True, kept=kept, progress=stop_at_32)
    seen: list[int] = []
    network.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    counted: list[int] = []
    conv = network.get_submodule("conv1")
    conv.register_forward_pre_hook(lambda _module, inputs: counted.append(len(inputs[0])))
    other_batches = [{"image": part} for part in images.split(20)]
    rest, seconds = read_features(network, head, other_batches, 50, torch.Tensor.float, mirrored=True, kept=kept)
    assert sum(counted) == 2 * (50 - 32), "what was kept is not read again, whatever the batches"
    np.testing.assert_allclose(rest, whole, atol=1e-5)
    counted.clear()
    again = read_features(network, head, other_batches, 50, torch.Tensor.float, mirrored=True, kept=kept)
    assert counted == []
    assert 0 < again.seconds <= seconds, "what they took then, not now"
    piece = sorted(kept.iterdir())[1]
    data = bytearray(piece.read_bytes())
    data[-3] ^= 1
    piece.write_bytes(data)
    np.testing.assert_allclose(
        read_features(network, head, other_batches, 50, torch.Tensor.float, mirrored=True, kept=kept).features, whole, atol=1e-5
    )
    assert sum(counted) == 2 * (50 - 16), "from the damaged piece on"


@pytest.mark.parametrize(("regime", "still"), [("mid", {"conv1", "bn1", "layer1", "layer2"}), ("enough", set())])
def test_regimes_move_what_they_say(tmp_path: Path, weights: Path, regime: Any, still: set[str]) -> None:
    run = train(
        stripes(96), "resnet20_cifar", weights=weights, regime=regime, out=tmp_path / "run",
        epochs=1, batch=32, probe=False, validate_start=False,
    )  # fmt: skip
    assert moved(run, weights) == {"conv1", "bn1", "layer1", "layer2", "layer3", "linear"} - still
    assert run.record["recipe"]["name"] == f"transfer_{regime}"


def test_a_fine_tuning_that_collapses_leaves_the_solved_head(tmp_path: Path, weights: Path) -> None:
    run = train(
        stripes(150, held_out=60), "resnet20_cifar", weights=weights, regime="enough", out=tmp_path / "run",
        epochs=2, batch=16, probe=False, ema=None, clip=None, optimizer={"lr": 30.0}, nonfinite_limit=10_000,
    )  # fmt: skip
    assert moved(run, weights) == {"linear"}
    assert run.accuracy is not None
    assert run.accuracy > 0.5


@pytest.mark.slow
def test_auto_goes_by_images_a_class_and_by_time(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from striate import transferring

    monkeypatch.setattr(transferring, "MID", 10)
    monkeypatch.setattr(transferring, "KNOWN", 2.0)
    settings: dict[str, Any] = {"weights": weights, "epochs": 1, "batch": 32, "probe": False}
    run = train(stripes(96), "resnet20_cifar", out=tmp_path / "mid", **settings)
    assert run.record["recipe"]["name"] == "transfer_mid"
    monkeypatch.setattr(transferring, "ENOUGH", 10)
    run = train(stripes(96), "resnet20_cifar", out=tmp_path / "enough", **settings)
    assert run.record["recipe"]["name"] == "transfer_enough"
    run = train(stripes(96), "resnet20_cifar", out=tmp_path / "hurry", budget=1e-3, **settings)
    assert run.record["recipe"]["name"] == "transfer_small"
    assert any("more than the budget" in note for note in run.record["resolved"]["notes"])
    run = train(stripes(96), "resnet20_cifar", out=tmp_path / "scratch", regime="scratch", **settings)
    assert run.record["begun_from"] is None
    assert run.record["recipe"]["name"] == "resnet_cifar"


def test_a_stopped_fine_tuning_resumes_without_its_weights_file(tmp_path: Path, weights: Path) -> None:
    source = stripes(96)
    settings: dict[str, Any] = {"weights": weights, "regime": "mid", "epochs": 3, "batch": 32, "probe": False}
    whole = train(source, "resnet20_cifar", out=tmp_path / "whole", **settings)
    np.savez(tmp_path / "stripes.npz", images=source.images, labels=source.targets)
    request = StopRequest()

    class After(Silent):
        def epoch(self, row: dict[str, Any]) -> None:
            request.stop()

    again = open_source(tmp_path / "stripes.npz")
    with pytest.raises(Interrupted):
        train(again, "resnet20_cifar", out=tmp_path / "cut", progress=After(), stop=request, **settings)
    weights.unlink()
    done = resume(tmp_path / "cut")
    assert done.status == "done"
    assert len(done.history) == len(whole.history) == 3
    for path in (tmp_path / "cut" / "checkpoints").glob("step-*"):
        path.unlink()
    (tmp_path / "cut" / "evaluation.json").unlink()
    with pytest.raises(Refused, match="before its first checkpoint"):
        resume(tmp_path / "cut")


# ---- what is kept of the weights


def subject_of(source: ArraySource, **fields: Any) -> Any:
    return make_subject("resnet20_cifar", source, Recipe(**fields), begun=True)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_are_summed_or_extended(weights: Path, channels: int) -> None:
    """Grey answers as the source does to the grey picture in three channels; a fourth channel at first changes nothing."""
    subject = subject_of(stripes(6, 10, channels), channels=channels)
    start = begin_from(subject, weights)
    source = zoo.build("resnet20_cifar", weights=weights).eval()
    picture = torch.randn(2, 1, 32, 32)
    given = picture if channels == 1 else torch.cat((picture.expand(-1, 3, -1, -1), torch.randn(2, 1, 32, 32)), 1)
    torch.testing.assert_close(
        subject.module.eval().embed(given), source.embed(picture.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4
    )
    assert any(("summed to 1" if channels == 1 else "begin at zero") in note for note in start.notes)
    assert start.preprocess.channels == channels


def test_classes_that_the_source_knows_keep_their_rows(tmp_path: Path) -> None:
    first = train(stripes(90), "resnet20_cifar", out=tmp_path / "first", epochs=1, batch=16, probe=False)
    model = striate.load(first.model_path)
    wider = stripes(60, 4)
    subject = subject_of(wider)
    start = begin_from(subject, first.model_path, ("way 2", "new", "way 0", "other"))
    rows, old = subject.module.get_parameter("linear.weight"), model.module.get_parameter("linear.weight")
    assert torch.equal(rows[0], old[2])
    assert torch.equal(rows[2], old[0])
    assert not any(torch.equal(rows[1], row) for row in old)
    assert any("rows of 2 classes" in note and "2 begun anew" in note for note in start.notes)
    assert start.classes == ("way 0", "way 1", "way 2")
    same = subject_of(stripes(9))
    assert begin_from(same, first.model_path, ("way 0", "way 1", "way 2")).notes == ()
    assert torch.equal(same.module.get_parameter("linear.weight"), old)


def test_weights_of_another_network_are_refused_tensor_by_tensor(tmp_path: Path, weights: Path) -> None:
    subject = make_subject("resnet32_cifar", stripes(6), Recipe(), begun=True)
    before = {name: value.clone() for name, value in subject.module.state_dict().items()}
    with pytest.raises(Refused, match="do not fit") as caught:
        begin_from(subject, weights)
    assert "layer1.3.conv1.weight: file has none, network (16, 16, 3, 3)" in str(caught.value)
    for name, value in subject.module.state_dict().items():
        assert torch.equal(value, before[name]), "nothing was changed"
    with pytest.raises(UsageError):
        begin_from(subject, tmp_path / "nowhere.pth")


def test_a_network_of_ones_own_with_its_own_state_dict(tmp_path: Path) -> None:
    def make(num_classes: int) -> nn.Module:
        maps = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        return nn.Sequential(maps, nn.Flatten(), nn.Linear(16, num_classes))

    torch.manual_seed(5)
    old = make(10)
    save_file(old.state_dict(), tmp_path / "own.safetensors")
    run = train(stripes(90, held_out=30), make, weights=tmp_path / "own.safetensors", out=tmp_path / "run")
    state = striate.load(run.model_path, module=make(3)).module.state_dict()
    assert torch.equal(state["0.2.weight"], old.state_dict()["0.2.weight"])
    assert run.record["recipe"]["name"] == "transfer_small"
    run = train(
        stripes(90, held_out=30), make, weights=tmp_path / "own.safetensors", regime="mid", out=tmp_path / "mid",
        epochs=1, batch=30, probe=False, validate_start=False,
    )  # fmt: skip
    state = striate.load(run.model_path, module=make(3)).module.state_dict()
    assert torch.equal(state["0.2.weight"], old.state_dict()["0.2.weight"]), "the first of its two parts is the early one"


def test_heads_that_cannot_be_solved_alone_are_not_guessed() -> None:
    for name, solvable in (("resnet20_cifar", True), ("vgg11", True), ("squeezenet1_1", False), ("lenet5_1998", False)):
        with torch.device("meta"):
            head = find_head(zoo.build(name), (3, 64, 64))
        assert (head is not None) == solvable, name


class Odd(nn.Module):
    """Its answer is the first dense layer's, though others are listed after it; or something made of that."""

    def __init__(self, after: nn.Module, bias: bool = True) -> None:
        super().__init__()
        self.answer = nn.Linear(4, 2, bias=bias)
        self.gate, self.after = nn.Linear(4, 4), after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = x.mean((2, 3)).repeat(1, 2)[:, :4]
        result: torch.Tensor = self.after(self.answer(pooled * self.gate(pooled).sigmoid()))
        return result


def test_the_head_is_the_layer_that_answers_not_the_one_listed_last() -> None:
    image = (3, 8, 8)
    odd = Odd(nn.Identity())
    assert find_head(odd, image) is odd.answer
    pictures = torch.randn(5, 3, 8, 8)
    torch.testing.assert_close(odd.answer(embed(odd, odd.answer, pictures)), odd(pictures))
    assert find_head(Odd(nn.Softmax(1)), image) is None
    assert find_head(Odd(nn.Identity(), bias=False), image) is None, "a solved head has a bias"
    assert find_head(nn.Sequential(nn.Linear(8, 2)), image) is None, "one vector a pixel is none a picture"
    assert find_head(nn.Conv2d(3, 3, 1), image) is None


def test_settings_that_would_do_nothing_are_refused(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(UsageError, match="one of transfer"):
        train(stripes(60), "resnet20_cifar", regime="small", out=tmp_path / "run")
    for fields in ({"epochs": 5}, {"optimizer": {"lr": 0.1}}, {"optimizer.lr": 0.1}, {"augment": {"rotate": 5.0}}):
        with pytest.raises(UsageError, match="does nothing in the regime small"):
            train(stripes(60), "resnet20_cifar", weights=weights, regime="small", out=tmp_path / "run", **fields)
    assert not (tmp_path / "run").exists()


def test_uneven_classes_count_alike_in_a_solved_head(tmp_path: Path, weights: Path) -> None:
    even = stripes(400, 2, held_out=100)
    few = np.flatnonzero((even.targets == 1) & (even.given == 1))[20:]
    keep = np.setdiff1d(np.arange(400), few)
    source = ArraySource(
        even.images[keep], name="uneven", location="uneven", kind="label", classes=even.classes,
        targets=even.targets[keep], given=even.given[keep],
    )  # fmt: skip
    heads = []
    for balance in ("auto", "none"):
        run = train(source, "resnet20_cifar", weights=weights, regime="small", balance=balance, out=tmp_path / balance)
        assert run.record["resolved"]["balance"] == ("loss" if balance == "auto" else "none")
        heads.append(striate.load(run.model_path).module.get_parameter("linear.bias").detach())
    weighed, plain = (head[1] - head[0] for head in heads)
    assert not torch.isclose(weighed, plain), "the weights of the classes reach the solved head"


def test_photos_begin_at_the_networks_own_size(tmp_path: Path) -> None:
    for label in ("dark", "light"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for k in range(4):
            pixels: NDArray[np.uint8] = np.random.default_rng(k).integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / label / f"{k}{label}.png")
    source = open_source(tmp_path / "data")
    assert make_subject("mobilenet_v2", source, Recipe(), begun=True).input_size == (224, 224)
    assert make_subject("mobilenet_v2", source, Recipe()).input_size == (20, 20)
    assert trainable_parameters(make_subject("resnet20_cifar", source, Recipe()).module)


def test_kept_features_make_room_for_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from striate import features

    network = zoo.build("resnet20_cifar")
    images = [{"image": torch.zeros(8, 3, 32, 32, dtype=torch.uint8)}]
    monkeypatch.setattr(features, "LIMIT", 3 * 8 * 64 * 4 + 2000)  # three sets of 8 x 64 floats, and their headers
    for place, name in enumerate(("first", "second", "third", "fourth")):
        read_features(
            network, network.get_submodule("linear"), images, 8, torch.Tensor.float, mirrored=False, kept=tmp_path / name
        )
        os.utime(tmp_path / name, (place, place))
    assert sorted(folder.name for folder in tmp_path.iterdir() if (folder / "000000000.safetensors").exists()) == [
        "fourth", "second", "third",
    ]  # fmt: skip
