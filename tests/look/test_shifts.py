"""Shifted and subsampled pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small_data import CLASSES, model_of, pictures_of
from torch import Tensor, nn

from striate.errors import Refused, UsageError
from striate.look.shifts import shift_response, shifted
from striate.look.subsampling import subsample, subsampling_accuracy, subsampling_text
from striate.metrics import wilson_interval


@given(st.integers(-4, 4), st.integers(-4, 4))
@settings(max_examples=30, deadline=None)
def test_shifting_moves_every_pixel(rows: int, columns: int) -> None:
    image = torch.arange(35.0).view(1, 1, 5, 7)
    moved = shifted(image, rows, columns)[0, 0]
    for row in range(5):
        for column in range(7):
            came = (min(max(row - rows, 0), 4), min(max(column - columns, 0), 6))
            assert moved[row, column] == image[0, 0, came[0], came[1]]


def smooth_picture(seed: int, side: int = 32) -> Tensor:
    noise = torch.randn(1, 3, side + 8, side + 8, generator=torch.Generator().manual_seed(seed))
    return F.avg_pool2d(noise, 5, stride=1)[:, :, :side, :side] * 5


def network(seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_pooling_makes_shifts_matter_less(seed: int) -> None:
    """The lecture's claim."""
    found = shift_response(network(seed), torch.cat([smooth_picture(seed), smooth_picture(seed + 10)]), (1, 2, 3))
    of = dict(zip(found.layers, found.distances, strict=True))
    assert list(found.layers) == ["input", *map(str, range(9))]
    assert found.descriptions[1:4] == ("Conv2d 3x3", "ReLU", "MaxPool2d 2x2 /2")
    assert (of["2"] < of["1"]).all()
    assert (of["5"] < of["4"]).all()
    assert (of["6"] < 0.5 * of["5"]).all()
    assert (np.diff(of["input"]) > 0).all()
    assert "MaxPool2d 2x2 /2" in found.text()


def test_distances_are_what_they_are_said_to_be() -> None:
    image = smooth_picture(0)
    found = shift_response(network(0), image, (2,), ["2"])
    wanted = {"input": [], "2": []}
    part = network(0)[:3]
    with torch.no_grad():
        for rows, columns in ((0, 2), (0, -2), (2, 0), (-2, 0)):
            for name, run in (("input", lambda x: x), ("2", part)):
                a, b = run(image).double(), run(shifted(image, rows, columns)).double()
                wanted[name].append(float((b - a).norm() / (a.square().sum() + b.square().sum()).sqrt()))
    assert found.layers == ("input", "2")
    assert found.distances[:, 0].tolist() == pytest.approx([np.mean(wanted["input"]), np.mean(wanted["2"])])


def test_means_over_the_map_do_not_see_a_thing_move() -> None:
    """Far from the border a convolution only moves its map."""
    image = torch.zeros(1, 3, 32, 32)
    image[:, :, 12:18, 13:19] = smooth_picture(1, 6)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    found = shift_response(net, image, (0, 1, 4))
    assert found.distances[:, 0].tolist() == [0] * 4
    assert (found.distances[1, 1:] > 0.2).all()
    assert (found.distances[3] < 1e-6).all()


def test_a_layer_that_does_not_run() -> None:
    net = network(0)
    net.forward = lambda x: x  # type: ignore[method-assign]
    with pytest.raises(Refused, match="no output"):
        shift_response(net, smooth_picture(0), (1,), ["2"])
    with pytest.raises(UsageError, match="no layer"):
        shift_response(net, smooth_picture(0), (1,), ["conv"])


@pytest.mark.parametrize("shifts", [(), (-1,), (32,)])
def test_impossible_shifts(shifts: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="give 0 to 31"):
        shift_response(network(0), smooth_picture(0), shifts)


@given(height=st.integers(1, 40), width=st.integers(1, 40), share=st.floats(0, 0.99))
@settings(max_examples=60, deadline=None)
def test_subsampling_keeps_pixels_as_they_are(height: int, width: int, share: float) -> None:
    picture = np.arange(height * width, dtype=np.int64).reshape(1, 1, height, width)
    found, (rows, columns) = subsample(picture, share)  # type: ignore[arg-type]
    assert found.shape == picture.shape
    assert len(np.unique(found)) == rows * columns
    assert (rows, columns) == tuple(max(1, round(side * np.sqrt(1 - share))) for side in (height, width))
    # No pixel comes from farther away than the lines that were left out.
    down, across = np.divmod(found[0, 0], width)
    assert np.abs(down - np.arange(height)[:, None]).max() <= -(-height // rows)
    assert np.abs(across - np.arange(width)).max() <= -(-width // columns)
    assert (np.diff(down, axis=0) >= 0).all()


def test_subsampling_nothing_and_three_quarters() -> None:
    picture = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    assert np.array_equal(subsample(picture, 0)[0], picture)
    assert subsample(picture, 0.75)[0][0, 0].tolist() == [[5, 5, 7, 7], [5, 5, 7, 7], [13, 13, 15, 15], [13, 13, 15, 15]]
    with pytest.raises(UsageError, match="less than 1"):
        subsample(picture, 1.0)


class Mean(nn.Module):
    """Logits are the mean colours: what no subsampling of a plain picture changes."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class Fine(nn.Module):
    """Says the first class of a picture of fine stripes, the second of a plain one."""

    def forward(self, x: Tensor) -> Tensor:
        stripes = x.diff(dim=3).abs().mean(dim=(1, 2, 3))
        return torch.stack([stripes, 0.3 - stripes, stripes - 9], dim=1)


def test_accuracy_as_pixels_go() -> None:
    plain = np.zeros((30, 8, 8, 3), np.uint8)
    targets = [i % 3 for i in range(30)]
    for i, k in enumerate(targets):
        plain[i, :, :, k] = 100 + i
    found = subsampling_accuracy(model_of(Mean(), (8, 8)), pictures_of(plain, targets), batch=7)
    assert [each.share for each in found] == [0, 0.1, 0.2, 0.5, 0.75]
    assert [(each.correct, each.total, each.accuracy) for each in found] == [(30, 30, 1.0)] * 5
    assert found[-1].kept == (4, 4)
    assert found[0].interval == wilson_interval(30, 30)
    stripes = np.zeros((4, 8, 8, 3), np.uint8)
    stripes[:, :, ::2] = 255
    found = subsampling_accuracy(model_of(Fine(), (8, 8)), pictures_of(stripes, [0] * 4), (0, 0.75))
    assert [each.accuracy for each in found] == [1, 0]
    lines = subsampling_text(found).splitlines()
    assert lines[0].split() == ["thrown", "away", "kept", "accuracy", "95", "%", "interval", "images"]
    assert "75 %" in lines[-1]
    assert "4 x 4" in lines[-1]


def test_part_of_the_data_and_what_does_not_fit() -> None:
    images = np.zeros((5, 8, 8, 3), np.uint8)
    images[:, :, :, 1] = 200
    source, told = pictures_of(images, [1, 0, 1, 0, 0]), []
    found = subsampling_accuracy(
        model_of(Mean(), (8, 8)), source, (0.5,), indices=np.array([0, 1, 2]), batch=2,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert (found[0].correct, found[0].total) == (2, 3)
    assert told == [(2, 3), (3, 3)]
    other = model_of(Mean(), (8, 8), ("cat", "bee", "dog"))  # the data's classes by name; those that occur have to be known
    bees = subsampling_accuracy(other, source, (0.5,), indices=np.array([0, 2]))
    assert (bees[0].correct, bees[0].total) == (2, 2)
    with pytest.raises(Refused, match="does not know 'ant'"):
        subsampling_accuracy(other, source)
    with pytest.raises(Refused, match="no picture"):
        subsampling_accuracy(model_of(Mean(), (8, 8)), source, indices=np.zeros(0, np.int64))
    assert tuple(source.classes) == CLASSES
