"""The preprocessing within a graph makes the host's pixels: to the bit with bilinear weights, but for rounding with bicubic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_models import noise

from striate.data.channels import to_channels
from striate.data.formats import open_source
from striate.data.preprocess import Preprocess
from striate.exporting.pixels import Pixels

KINDS = {
    "shorter side, cropped": Preprocess((24, 24), resize=28),
    "outright": Preprocess((20, 31)),
    "not square": Preprocess((20, 32), resize=23, interpolation="bicubic"),
    "outright, bicubic": Preprocess((24, 24), interpolation="bicubic"),
    "black border": Preprocess((32, 32), resize=28),
    "border, not square": Preprocess((21, 40), resize=17),
    "grey": Preprocess((28, 28), channels=1),
    "four channels": Preprocess((24, 24), resize=26, channels=4),
}
SHAPES = [(1, 1), (1, 9), (24, 24), (28, 28), (23, 57), (90, 31), (61, 60), (3, 200), (300, 2), (45, 1000)]


def in_graph(preprocess: Preprocess, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[h, w, C], by the module itself."""
    pixels: torch.Tensor = Pixels(preprocess)(torch.from_numpy(picture[None].copy()))
    return pixels[0].permute(1, 2, 0).numpy()


def on_host(preprocess: Preprocess, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return preprocess.pixels(to_channels(picture, preprocess.channels))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_the_hosts(kind: str, shape: tuple[int, int]) -> None:
    preprocess = KINDS[kind]
    picture = noise(sum(shape), *shape, channels=max(3, preprocess.channels))
    graph, host = in_graph(preprocess, picture).astype(int), on_host(preprocess, picture).astype(int)
    if preprocess.interpolation == "bilinear":
        assert np.array_equal(graph, host)
    else:
        # The cubic weights are no fractions of small integers: float32 may hold one a unit of 2**-22 off, which turns ties.
        assert np.abs(graph - host).max() <= 1
        assert (graph != host).sum() <= max(2, 0.002 * host.size)


def test_flat_colours_stay_and_the_border_is_black() -> None:
    preprocess = KINDS["black border"]
    graph = in_graph(preprocess, np.full((50, 41, 3), (255, 1, 128), np.uint8))
    inner = graph[:, 2:-2]
    assert (inner == (255, 1, 128)).all()
    assert not graph[:, :2].any()
    assert not graph[:, -2:].any()


def test_a_batch_is_its_pictures() -> None:
    preprocess = KINDS["shorter side, cropped"]
    pictures = np.stack([noise(seed, 40, 67) for seed in range(3)])
    batch = Pixels(preprocess)(torch.from_numpy(pictures))
    assert batch.shape == (3, 3, 24, 24)
    assert batch.dtype == torch.uint8
    for alone, together in zip(pictures, batch, strict=True):
        assert np.array_equal(in_graph(preprocess, alone), together.permute(1, 2, 0).numpy())


def test_a_long_picture_keeps_its_place() -> None:
    """A position is a product of lengths: in float32, counted from a corner, the middle of 30,000 pixels would be off by some."""
    preprocess = Preprocess((16, 16), resize=64)
    picture = np.zeros((3, 30_000, 3), np.uint8)
    picture[:, 15_000:] = 255
    assert np.array_equal(in_graph(preprocess, picture), on_host(replace(preprocess, max_pixels=1 << 40), picture))


@pytest.mark.slow
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_photographs_within_the_bound_of_the_gate(shared_data: Path, interpolation: str) -> None:
    source = open_source(shared_data / "imagenet_samples", to_learn=False)
    preprocess = Preprocess((224, 224), resize=256, interpolation=interpolation)
    shares = []
    for i in np.linspace(0, len(source) - 1, 50).astype(int).tolist():
        picture = preprocess.picture(source.read(i))
        apart = np.abs(in_graph(preprocess, picture).astype(int) - preprocess.pixels(picture))
        assert apart.max() <= 1
        shares.append((apart > 0).mean())
    assert max(shares) <= 0.01
    assert sum(shares) / len(shares) <= (0.0 if interpolation == "bilinear" else 0.001)
