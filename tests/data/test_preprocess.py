"""The one preprocessing: Pillow's resize, an integer crop, one multiplication and one addition."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from striate.data import arrays
from striate.data.decode import ImageError, decode
from striate.data.preprocess import Preprocess
from striate.errors import Refused, UsageError
from striate.zoo import MODELS

RNG = np.random.default_rng(3)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

sides = st.integers(1, 90)


def picture(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)


def by_pillow(source: NDArray[np.uint8], size: tuple[int, int], interpolation: str) -> NDArray[np.uint8]:
    """Each channel through Pillow on its own, the horizontal pass first whatever the version of Pillow."""
    filter = Image.Resampling[interpolation.upper()]
    planes = [Image.fromarray(source[..., c]).resize((size[1], source.shape[0]), filter) for c in range(source.shape[2])]
    return np.stack([np.asarray(plane.resize((size[1], size[0]), filter)) for plane in planes], axis=2)


@settings(deadline=None)
@given(sides, sides, st.tuples(sides, sides), st.sampled_from([1, 3, 4]), st.sampled_from(["bilinear", "bicubic"]))
def test_resizing_outright_is_pillows(height: int, width: int, size: tuple[int, int], channels: int, interpolation: str) -> None:
    source = picture(height, width, channels)
    got = Preprocess(size, interpolation=interpolation, channels=channels).pixels(source)
    np.testing.assert_array_equal(got, by_pillow(source, size, interpolation))
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous


def test_the_horizontal_pass_comes_first() -> None:
    """Four rows in five come to 0.5, rounded up to 1, and so all of it to 1. The other way each column comes to 0.4, so to 0."""
    rows = np.array([[0, 1], [1, 0], [0, 1], [1, 0], [0, 0]] * 12, np.uint8)
    assert Preprocess((1, 1), channels=1).pixels(rows[..., None]) == 1


def test_a_thin_tall_picture_is_refused_before_its_rows_are_widened() -> None:
    with pytest.raises(ImageError, match="cap"):
        Preprocess((64, 64), max_pixels=10_000).pixels(picture(1000, 1, 3))


@settings(deadline=None)
@given(sides, sides, st.integers(1, 40), st.integers(0, 20), st.sampled_from(["bilinear", "bicubic"]))
def test_shorter_side_then_centre(height: int, width: int, side: int, more: int, interpolation: str) -> None:
    source = picture(height, width, 3)
    resize = side + more
    short, long = min(height, width), max(height, width)
    scaled = (resize, resize * long // short) if height == short else (resize * long // short, resize)
    expected = by_pillow(source, scaled, interpolation)
    top, left = (scaled[0] - side) // 2, (scaled[1] - side) // 2
    got = Preprocess((side, side), resize, interpolation).pixels(source)
    np.testing.assert_array_equal(got, expected[top : top + side, left : left + side])


@settings(deadline=None)
@given(sides, sides, st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(0, 20))
def test_any_shape_covers_any_size_without_distortion(height: int, width: int, size: tuple[int, int], more: int) -> None:
    preprocess = Preprocess(size, min(size) + more)
    tall, wide = preprocess.resized(height, width)
    assert tall >= size[0]
    assert wide >= size[1]
    # One side is exact, the other cut by less than a pixel.
    assert abs(tall * width - wide * height) < max(height, width)
    assert preprocess.pixels(picture(height, width, 3)).shape == (*size, 3)


def test_a_picture_of_the_right_size_is_untouched() -> None:
    source = picture(28, 28, 1)
    np.testing.assert_array_equal(Preprocess((28, 28), channels=1)(source), source)
    np.testing.assert_array_equal(Preprocess((28, 28), 28, channels=1)(source), source)


def test_colours_under_alpha_are_not_weighted() -> None:
    source = np.zeros((2, 2, 4), dtype=np.uint8)
    source[0, 0] = (200, 0, 0, 0)  # red, wholly transparent
    got = Preprocess((1, 1), channels=4).pixels(source)
    assert got.ravel().tolist() == [50, 0, 0, 0]


def test_files_and_arrays_go_the_same_way() -> None:
    source = picture(40, 61, 3)
    buffer = io.BytesIO()
    Image.fromarray(source).save(buffer, "PNG")
    for channels in (1, 3, 4):
        preprocess = Preprocess((24, 24), 32, channels=channels)
        np.testing.assert_array_equal(preprocess(buffer.getvalue()), preprocess(source))
        np.testing.assert_array_equal(preprocess.picture(buffer.getvalue()), decode(buffer.getvalue(), channels))


def test_a_stripe_does_not_become_gigabytes() -> None:
    with pytest.raises(ImageError) as caught:
        Preprocess((224, 224), 256)(picture(1, 60_000, 3), "stripe.png")
    assert caught.value.reason == "pixels"
    assert "stripe.png" in str(caught.value)


def test_scaled_decode_is_off_unless_asked_for(shared_data: Path) -> None:
    data = (shared_data / "skimage_photos" / "chelsea.png").read_bytes()
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGB").save(buffer, "JPEG", quality=95)
        height, width = image.height, image.width
    full, scaled = Preprocess((64, 64), 72), Preprocess((64, 64), 72, scaled_decode=True)
    assert full.picture(buffer.getvalue()).shape == (height, width, 3)
    assert 72 <= min(scaled.picture(buffer.getvalue()).shape[:2]) < 2 * 72
    difference = full(buffer.getvalue()).astype(int) - scaled(buffer.getvalue())
    assert 0 < np.abs(difference).mean() < 4


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
def test_normalising_arrays_and_tensors_alike(kind: str) -> None:
    preprocess = Preprocess((8, 8), mean=MEAN, std=STD)
    images = RNG.integers(0, 256, (5, 3, 8, 8)).astype(kind)
    before = images.copy()
    array = preprocess.normalize(images)
    tensor = preprocess.normalize(torch.from_numpy(images))
    assert array.dtype == np.float32
    assert tensor.dtype == torch.float32
    together = preprocess.normalize(torch.from_numpy(images).contiguous(memory_format=torch.channels_last))
    np.testing.assert_array_equal(array, tensor.numpy())
    np.testing.assert_array_equal(array, together.numpy())
    np.testing.assert_array_equal(images, before)
    mean, std = (np.array(values)[:, None, None] for values in (MEAN, STD))
    # float32 spacing at 2.7 is 2.4e-7; the product and the sum each round once, as do their two constants.
    np.testing.assert_allclose(array, (before / 255 - mean) / std, rtol=0, atol=1e-6)


def test_normalising_keeps_channels_last_and_broadcast_shapes() -> None:
    preprocess = Preprocess((8, 8), mean=MEAN, std=STD)
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8).to(memory_format=torch.channels_last)
    assert preprocess.normalize(images).is_contiguous(memory_format=torch.channels_last)


def test_the_record_survives_json_and_knows_itself() -> None:
    preprocess = Preprocess((32, 48), 40, "bicubic", 4, (0.1, 0.2, 0.3, 0.4), (1, 2, 3, 4), alpha_color=(1, 2, 3), exif=False)
    again = Preprocess.from_json(json.loads(json.dumps(preprocess.to_json())))
    assert again == preprocess
    assert again.fingerprint() == preprocess.fingerprint()
    changes: list[dict[str, Any]] = [{"size": (33, 48)}, {"resize": None}, {"exif": True}, {"std": (1, 2, 3, 5)}, {"scale": 1.0}]
    prints = {Preprocess.from_json(preprocess.to_json() | change).fingerprint() for change in changes}
    assert len(prints | {preprocess.fingerprint()}) == len(changes) + 1
    with pytest.raises(Refused, match="gamma"):
        Preprocess.from_json({**preprocess.to_json(), "gamma": 2.2})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"size": (0, 5)}, "height, width"),
        ({"resize": 0}, "at least 1 pixel"),
        ({"interpolation": "bilinaer"}, "'bilinear'"),
        ({"channels": 2}, "grey"),
        ({"mean": (0.1, 0.2)}, "one a channel"),
        ({"std": (0.0,)}, "divides"),
    ],
)
def test_senseless_fields_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Preprocess(**{"size": (28, 28), **fields})


def test_for_the_networks_of_the_zoo() -> None:
    lenet, resnet = MODELS["lenet5"], MODELS["resnet18"]
    assert Preprocess.for_variant(lenet).channels == 1
    assert Preprocess.for_variant(lenet).size == lenet.input_size
    own = Preprocess.for_variant(resnet)
    assert (own.size, own.resize, own.mean) == ((224, 224), 256, resnet.mean)
    half = Preprocess.for_variant(resnet, size=(112, 112))
    assert (half.size, half.resize) == ((112, 112), 128)
    grey = Preprocess.for_variant(resnet, channels=1)
    assert grey.mean == pytest.approx((sum(resnet.mean) / 3,))


def test_torch_is_not_imported_for_pixels() -> None:
    code = (
        "import sys, numpy as np\n"
        "from striate.data.preprocess import Preprocess\n"
        "import striate.data.formats\n"
        "p = Preprocess((8, 8))\n"
        "p.normalize(p(np.zeros((9, 9, 3), np.uint8)).transpose(2, 0, 1)[None])\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@settings(deadline=None)
@given(sides, sides, st.integers(1, 30), st.integers(0, 12), st.sampled_from([1, 3, 4]))
def test_a_resize_below_the_size_leaves_a_black_border(height: int, width: int, resize: int, more: int, channels: int) -> None:
    """The picture lies in the middle; an odd pixel of border comes below and to the right. A long picture is still cut."""
    source, side = picture(height, width, channels), resize + more
    inner = Preprocess((side, side), resize, channels=channels).resized(height, width)
    bordered = Preprocess((side, side), resize, channels=channels).pixels(source)
    expected = np.zeros((side, side, channels), np.uint8)
    scaled = by_pillow(source, inner, "bilinear")
    cut = [max(0, length - side) // 2 for length in inner]
    scaled = scaled[cut[0] : cut[0] + side, cut[1] : cut[1] + side]
    top, left = (side - scaled.shape[0]) // 2, (side - scaled.shape[1]) // 2
    expected[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    np.testing.assert_array_equal(bordered, expected)


def test_arrays_get_the_border_that_single_pictures_get() -> None:
    preprocess = Preprocess((32, 32), 28, channels=1)
    images = np.stack([picture(28, 28, 1) for _ in range(3)])
    np.testing.assert_array_equal(arrays.pixels(images, preprocess), np.stack([preprocess.pixels(image) for image in images]))
    assert (arrays.pixels(images, preprocess)[:, 2:30, 2:30] == images).all()
