"""A first signal is heard in every part of a run, also before there is anything to save; the probe on real memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from striate import probe
from striate.errors import Interrupted, Refused, UsageError
from striate.experiment import resume, train
from striate.locking import locked
from striate.progress import Silent
from striate.recipe import Recipe, Schedule
from striate.runs import Run
from striate.signals import StopRequest
from striate.subject import make_subject
from striate.tasks.classify import Classify


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for label in ("dark", "light"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for k in range(40):
            pixels = np.random.default_rng(k).integers(
                *((0, 100) if label == "dark" else (150, 255)), (14, 14, 3), dtype=np.uint8
            )
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{k}{label}.png")
    return tmp_path / "photos"


def tiny_net(num_classes: int, in_channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))


class StopAtStage(Silent):
    """Asks for a stop when the named stage is first heard of."""

    def __init__(self, request: StopRequest, stage: str) -> None:
        self.request, self.wanted, self.heard = request, stage, 0

    def stage(self, name: str, done: int, total: int) -> None:
        if name == self.wanted:
            self.heard += 1
            self.request.stop()


@pytest.mark.parametrize("stage", ["reading the data", "decoding"])
def test_a_signal_before_training_stops_at_once_and_leaves_nothing(photos: Path, tmp_path: Path, stage: str) -> None:
    request = StopRequest()
    listener = StopAtStage(request, stage)
    with pytest.raises(Interrupted, match="Stopped"):
        train(photos, tiny_net, out=tmp_path / "run", epochs=1, progress=listener, stop=request, workers=1)
    assert listener.heard == 1, "the next picture is not waited for"
    assert not (tmp_path / "run").exists()


def test_a_signal_during_the_probe_stops_before_the_next_timing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, timed = StopRequest(), []

    def seconds(*_arguments: object) -> float:
        timed.append(1)
        request.stop()
        return 1.0

    monkeypatch.setattr(probe, "_seconds", seconds)
    with pytest.raises(Interrupted):
        train(photos, tiny_net, out=tmp_path / "run", epochs=1, stop=request)
    assert len(timed) == 1


def test_a_run_in_training_is_neither_resumed_nor_called_stopped(photos: Path, tmp_path: Path) -> None:
    request = StopRequest()

    class AfterOne(Silent):
        def epoch(self, row: dict[str, object]) -> None:
            assert Run(tmp_path / "run").status.startswith("running")
            request.stop()

    with pytest.raises(Interrupted):
        train(photos, tiny_net, out=tmp_path / "run", epochs=3, probe=False, progress=AfterOne(), stop=request)
    assert Run(tmp_path / "run").status == "stopped at 1/3"
    with locked(tmp_path / "run"):
        assert Run(tmp_path / "run").status == "running, 1/3"
        with pytest.raises(Refused, match="being trained"):
            resume(tmp_path / "run", arch=tiny_net)
    assert resume(tmp_path / "run", arch=tiny_net).status == "done"


def test_the_users_function_is_called_in_training_as_it_will_be_in_loading(photos: Path) -> None:
    from striate.data.formats import open_source

    calls: list[tuple[int, int, tuple[int, int]]] = []

    def make(num_classes: int, in_channels: int, input_size: tuple[int, int]) -> nn.Module:
        calls.append((num_classes, in_channels, input_size))
        return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * input_size[0] * input_size[1], num_classes))

    subject = make_subject(make, open_source(photos), Recipe(size=9, channels=1))
    assert calls == [(2, 1, (9, 9))]
    assert (subject.in_channels, subject.input_size) == (1, (9, 9))


def test_the_micro_batch_follows_from_what_steps_really_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of known size: 64 images, each leaving 32 maps of 64 x 64 floats (0.5 MB) to the backward pass, twice."""
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.Sigmoid(), nn.Conv2d(32, 32, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(32, 2),
    )  # fmt: skip
    batch = {"image": torch.rand(64, 1, 64, 64), "label": torch.arange(64) % 2, "index": torch.arange(64)}
    least = 64 * 2 * 32 * 64 * 64 * 4
    slack = [torch.ones(1 << 15) for _ in range(800)]  # 100 MB that go back to the allocator, as in a long-lived process
    slack.clear()

    def micro_batch(available: int) -> int:
        monkeypatch.setattr(probe.machine, "available_memory", lambda: available)
        monkeypatch.setattr(probe, "_measure", lambda task, model, batch, recipe, plain, *rest: plain)
        return probe.resolve(Classify(("a", "b")), model, batch, Recipe(batch=64), "cpu").micro_batch

    assert micro_batch(20 * least) == 64
    assert micro_batch(least) in (8, 16, 32), "the whole batch's maps alone take all of it, and a step may use 80 %"


@pytest.mark.parametrize(
    "wrong", [{"warmup": 3.0}, {"final": -1.0}, {"milestones": (0.5, 2.0)}, {"gamma": 0.0}, {"patience": -1}]
)
def test_schedules_that_no_run_can_have_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError) as caught:
        Schedule(**wrong)  # type: ignore[arg-type]
    assert next(iter(wrong)) in str(caught.value)


@pytest.mark.parametrize("wrong", [{"ema": 1.0}, {"ema": 0.0}, {"label_smoothing": 1.0}, {"bad_files": 1.5}, {"clip": 0.0}])
def test_recipes_that_no_run_can_have_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Recipe(**wrong)  # type: ignore[arg-type]
    Recipe(ema=0.5, bad_files=1.0)
