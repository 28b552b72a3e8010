"""Feature maps, filters, the images that excite a unit, and the pictures made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from striate.data.preprocess import Preprocess
from striate.errors import Failed, Refused, UsageError
from striate.look.maps import feature_maps, feature_sheet, filters_picture, strongest
from striate.look.maximisation import maximize
from striate.look.pictures import (
    HEAT,
    SIGNED,
    Scale,
    Tile,
    bound_of,
    color_heat,
    color_signed,
    draw_box,
    draw_sheet,
    lay_heat,
    lay_signed,
    write_png,
)
from striate.look.target import Unit


def net() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 9, 4)).eval()


def image() -> torch.Tensor:
    return torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_feature_maps_are_those_of_the_layer() -> None:
    network, x = net(), image()
    with torch.no_grad():
        convolved = network[0](x[None])[0]
        pooled = network[2](convolved.relu())
    assert torch.equal(feature_maps(network, x, "0"), convolved)  # and not what the ReLU made of it in place
    assert torch.equal(feature_maps(network, x, "2"), pooled)
    assert feature_maps(network, x, "4").shape == (4,)
    with pytest.raises(UsageError, match="no layer"):
        feature_maps(network, x, "7")


def luminance(color: tuple[int, int, int]) -> float:
    """Relative luminance of sRGB."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_palettes_are_told_apart_without_colour() -> None:
    """By lightness alone more is more; and the signs by blue against red, which every colour-blind eye can tell."""
    heat = [luminance(color) for color in HEAT]
    assert heat == sorted(heat)
    below, above = [luminance(c) for c in SIGNED[: len(SIGNED) // 2 + 1]], [luminance(c) for c in SIGNED[len(SIGNED) // 2 :]]
    assert below == sorted(below)
    assert above == sorted(above, reverse=True)
    middle = SIGNED[len(SIGNED) // 2]
    assert max(middle) - min(middle) < 8
    assert all(red > blue for red, _, blue in SIGNED[:3])
    assert all(blue > red for red, _, blue in SIGNED[4:])


def test_colours_of_values() -> None:
    values = np.array([[-9.0, -2.0, 0.0, 1.0, 2.0, np.nan]])
    colored = color_signed(values, 2.0)[0].tolist()
    assert colored[0] == colored[1] == list(SIGNED[0])
    assert colored[2] == list(SIGNED[len(SIGNED) // 2]) == colored[5]
    assert colored[4] == list(SIGNED[-1])
    assert color_heat(np.array([-1.0, 0.0, 5.0, 7.0]), 5.0).tolist() == [list(HEAT[0])] * 2 + [list(HEAT[-1])] * 2
    assert bound_of(np.zeros((3, 3))) == 1.0
    assert bound_of(np.array([np.nan, -3.0])) == 3.0
    outlier = np.full(1000, 2.0)
    outlier[0] = 1e6
    assert bound_of(outlier) == 2.0


def test_heat_lies_on_the_photo_pixel_by_pixel() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    heat = np.zeros((9, 7))
    heat[2, 5] = 1.0
    laid, signed = lay_heat(photo, heat, 1.0), lay_signed(photo, -heat, 1.0)
    without = lay_heat(photo, np.zeros((9, 7)), 1.0)
    changed = (laid != without).any(axis=2)
    assert np.argwhere(changed).tolist() == [[2, 5]]
    assert laid.shape == signed.shape == (9, 7, 3)
    assert int(signed[2, 5, 0]) > int(signed[2, 5, 2])  # below zero: orange
    grey = lay_heat(photo[:, :, :1], heat, 1.0)
    assert grey.shape == (9, 7, 3)


def test_box_is_drawn_where_it_is() -> None:
    photo = np.zeros((20, 30, 3), np.uint8)
    drawn = draw_box(photo, (5, 11), (7, 20))
    for ring in (drawn[4, 6:21], drawn[11, 6:21], drawn[4:12, 6], drawn[4:12, 20]):
        assert (ring == 255).all()
    assert not drawn[5:11, 7:20].any()
    assert int((drawn == 255).all(axis=2).sum()) == 2 * 15 + 2 * 6
    assert not (photo == 255).any()


def test_sheet_shows_every_number_as_its_own_square() -> None:
    values = np.array([[-1.0, 0.0], [0.5, 1.0]])
    sheet = np.asarray(
        draw_sheet([Tile(color_signed(values, 1.0), "a")], side=40, columns=3, title="two by two", scale=Scale(1.0))
    )
    for color in color_signed(values, 1.0).reshape(-1, 3):
        assert int((sheet == color).all(axis=2).sum()) >= 400


def test_feature_sheet_names_the_channels_that_it_shows() -> None:
    values = torch.zeros(100, 5, 5)
    values[17], values[93] = 3.0, -2.0
    assert strongest(values, 2) == [17, 93]
    assert strongest(torch.ones(3, 2, 2), 2) == [0, 1]
    many, few = feature_sheet(values, "layer"), feature_sheet(values[:8], "layer")
    assert many.size[1] > few.size[1]
    assert feature_sheet(torch.randn(1000), "dense").size[0] >= 512
    assert feature_sheet(torch.zeros(1), "one").size[0] > 0
    with pytest.raises(Refused, match="no picture"):
        feature_sheet(torch.zeros(2, 3, 4, 5), "volumes")


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_filters_of_the_first_convolution(channels: int) -> None:
    network = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Conv2d(4, 2, 5))
    nn.init.zeros_(network[0].weight)
    flat = np.asarray(filters_picture(network))
    with torch.no_grad():
        network[0].weight[2, 0, 1, 1] = 1.0
    spiked = np.asarray(filters_picture(network))
    assert flat.shape[0] > 60
    assert (flat[: spiked.shape[0]] != spiked[: flat.shape[0]]).any()


def test_without_convolution_there_are_no_filters() -> None:
    with pytest.raises(Refused, match="no convolution"):
        filters_picture(nn.Linear(3, 2))


def test_png_is_whole_or_not_there(tmp_path: Path) -> None:
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert np.array_equal(np.asarray(Image.open(write_png(tmp_path / "a.png", picture))), picture)
    with pytest.raises(Failed):
        write_png(tmp_path / "nowhere" / "a.png", picture)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def grey(size: tuple[int, int] = (8, 8)) -> Preprocess:
    return Preprocess(size, channels=1, mean=(0.5,), std=(0.5,))


def test_the_image_that_excites_a_filter_looks_like_it() -> None:
    """A kernel as large as the image: bright where its weights are positive, dark where they are negative."""
    kernel = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    network = nn.Sequential(nn.Conv2d(1, 1, 8, bias=False), nn.Flatten())
    network[0].weight.data = kernel
    made = maximize(network, grey(), 0, steps=200, rate=0.1, jitter=0)
    bright = torch.from_numpy(made.image[:, :, 0].astype(np.float32)) > 127
    assert float((bright == (kernel[0, 0] > 0)).float().mean()) > 0.95
    most = float(kernel.abs().sum())  # every pixel normalised to -1 or 1
    assert made.before < 0.3 * most < 0.8 * most < made.after <= most
    assert len(made.values) == 200


def test_maximising_is_a_function_of_its_seed_alone() -> None:
    preprocess = Preprocess((12, 12), channels=3, mean=(0.5,), std=(0.25,))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    state = torch.random.get_rng_state()
    first, again, other = (maximize(network, preprocess, Unit("0", 2), steps=10, jitter=2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, other.image)
    assert first.image.shape == (12, 12, 3)
    assert first.after > first.before
    assert network.training
    held = maximize(network, preprocess, Unit("0", 2), steps=10, jitter=2, seed=1, decay=100.0)
    assert held.after < first.after
    with pytest.raises(UsageError, match="at least 1 step"):
        maximize(network, preprocess, 0, steps=0)
