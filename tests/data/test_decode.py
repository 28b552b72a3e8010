"""Every kind of picture that is read becomes the pixels it shows; every other is refused by name."""

from __future__ import annotations

import io
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image, ImageOps

from striate.data import decode as decode_module
from striate.data.channels import to_channels
from striate.data.decode import MAX_PIXELS, ImageError, decode, inspect, read_file, sniff

RNG = np.random.default_rng(7)
COLOR = RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(np.arange(0, 192, 2)[:, None], np.arange(0, 256, 2)[None], 90), axis=2).astype(np.uint8)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_lossless_formats_give_the_very_pixels(format: str) -> None:
    image = Image.fromarray(COLOR) if format != "GIF" else Image.fromarray(COLOR[..., 0])
    data = encoded(image, format, **({"lossless": True} if format == "WEBP" else {}))
    np.testing.assert_array_equal(decode(data), np.asarray(image.convert("RGB")))
    assert inspect(data).format == format


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"quality": 30}])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_jpeg_is_what_pillow_decodes(options: dict[str, Any], channels: int) -> None:
    data = encoded(Image.fromarray(SMOOTH), "JPEG", **options)
    with Image.open(io.BytesIO(data)) as image:
        rgb = image.convert("RGB")
    expected = np.asarray(rgb.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])).reshape(*SMOOTH.shape[:2], channels)
    # Both are libjpeg-turbo; two builds of it may differ in rounding by a level.
    assert np.abs(decode(data, channels).astype(int) - expected).max() <= 1


def test_grey_jpeg_in_one_and_three_channels() -> None:
    data = encoded(Image.fromarray(SMOOTH[..., 0]), "JPEG", quality=95)
    grey = decode(data, 1)
    assert grey.shape == (96, 128, 1)
    assert np.abs(grey[..., 0].astype(int) - SMOOTH[..., 0]).max() <= 4
    np.testing.assert_array_equal(decode(data, 3), grey.repeat(3, axis=2))
    assert inspect(data).mode == "L"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_exif_orientation(orientation: int, format: str, channels: int) -> None:
    options = {"lossless": True} if format == "WEBP" else {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    image = Image.fromarray(SMOOTH)
    data = encoded(image, format, exif=exif(orientation), **options)
    tolerance = 8 if format == "JPEG" else 0
    stored = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(96, 128, channels)
    image.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB"))
    got = decode(data, channels)
    assert got.shape[:2] == upright.shape[:2]
    assert np.abs(got.astype(int) - upright.reshape(got.shape)).max() <= tolerance
    assert np.abs(decode(data, channels, exif=False).astype(int) - stored).max() <= tolerance
    facts = inspect(data)
    assert (facts.orientation, facts.exif_rotated, facts.width, facts.height) == (orientation, orientation != 1, 128, 96)


def test_damaged_exif_does_not_cost_the_picture() -> None:
    data = encoded(Image.fromarray(SMOOTH), "JPEG", exif=exif(6))
    broken = data.replace(b"Exif\0\0MM", b"Exif\0\0XX").replace(b"Exif\0\0II", b"Exif\0\0XX")
    assert broken != data
    assert decode(broken).shape == (96, 128, 3)
    assert decode(encoded(Image.fromarray(SMOOTH), "JPEG", exif=exif(99))).shape == (96, 128, 3)


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_sixteen_bits_are_scaled_by_their_own_range(mode: str) -> None:
    values = np.linspace(0, 65535, 96 * 128).astype(np.uint16).reshape(96, 128)
    image = Image.frombytes(mode, (128, 96), values.astype(">u2" if mode.endswith("B") else "<u2").tobytes())
    for format in ("PNG", "TIFF") if mode == "I;16" else ("TIFF",):
        data = encoded(image, format)
        np.testing.assert_array_equal(decode(data, 1)[..., 0], values >> 8)
        assert inspect(data).sixteen_bit


def test_eight_bits_widened_to_sixteen_come_back_exactly() -> None:
    eight = np.arange(256, dtype=np.uint16)[None].repeat(2, axis=0)
    for factor in (256, 257):
        data = encoded(Image.fromarray(eight * factor), "PNG")
        np.testing.assert_array_equal(decode(data, 1)[..., 0], eight)


def png(width: int, height: int, color_type: int, depth: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((depth, color_type, 0, 0, 0))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in parts)


def test_sixteen_bit_colour_png() -> None:
    values = RNG.integers(0, 65536, (5, 7, 3)).astype(">u2")
    data = png(7, 5, 2, 16, b"".join(b"\0" + row.tobytes() for row in values))
    np.testing.assert_array_equal(decode(data), values.astype(np.uint16) >> 8)
    assert inspect(data).sixteen_bit


def test_sixteen_bit_grey_with_a_transparent_value() -> None:
    data = png(2, 1, 0, 16, b"\0" + bytes((0x12, 0x34, 0x12, 0x35)), (b"tRNS", bytes((0x12, 0x34))))
    assert decode(data, 1, alpha_color=(200, 200, 200)).ravel().tolist() == [200, 0x12]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]]), [0, 128, 255]),
        (np.array([[0.0, 100.0, 255.0]]), [0, 100, 255]),
        (np.array([[0.0, 32768.0, 65535.0]]), [0, 128, 255]),
    ],
)
def test_floating_point_by_its_range(values: NDArray[np.float64], expected: list[int]) -> None:
    data = encoded(Image.fromarray(values.astype(np.float32)), "TIFF")
    assert decode(data, 1).ravel().tolist() == expected
    assert inspect(data).sixteen_bit


def test_whole_numbers_of_32_bits_by_their_range() -> None:
    for top, expected in ((255, [0, 255]), (65535, [0, 255]), (2**31 - 1, [0, 255])):
        assert decode(encoded(Image.fromarray(np.array([[0, top]], dtype=np.int32)), "TIFF"), 1).ravel().tolist() == expected


@pytest.mark.parametrize("bad", [-1.0, 1e9, np.nan, np.inf])
def test_numbers_that_are_no_colours_are_refused(bad: float) -> None:
    values = np.full((4, 4), 0.5, dtype=np.float32)
    values[1, 2] = bad
    with pytest.raises(ImageError) as caught:
        decode(encoded(Image.fromarray(values), "TIFF"))
    assert caught.value.reason == "range"


def test_cmyk_is_converted_also_inverted_as_adobe_writes_it() -> None:
    ink = Image.new("CMYK", (16, 16), (255, 0, 0, 0))  # all cyan
    inverted = encoded(ink, "JPEG", quality=100)
    assert b"Adobe" in inverted
    for data in (inverted, encoded(ink, "TIFF")):
        assert inspect(data).cmyk
        assert np.abs(decode(data).astype(int) - (0, 255, 255)).max() <= 3


@pytest.mark.parametrize("color", [(255, 255, 255), (0, 0, 0), (10, 200, 90)])
def test_transparency_is_composited_on_the_stated_colour(color: tuple[int, int, int]) -> None:
    picture = RNG.integers(0, 256, (9, 11, 4), dtype=np.uint8)
    opacity = picture[..., 3:].astype(np.int64)
    expected = (picture[..., :3] * opacity + np.array(color) * (255 - opacity) + 127) // 255
    data = encoded(Image.fromarray(picture), "PNG")
    np.testing.assert_array_equal(decode(data, alpha_color=color), expected)
    np.testing.assert_array_equal(decode(data, 4), picture)
    np.testing.assert_array_equal(to_channels(picture, 3, color), expected)
    assert inspect(data).alpha


def transparent_pictures() -> dict[str, bytes]:
    """Half see-through at the left, opaque red (or grey) at the right, in every way a file can say so."""
    mask = np.zeros((4, 8), dtype=np.uint8)
    mask[:, 4:] = 255
    red = Image.new("RGB", (8, 4), (200, 10, 10))
    red.putalpha(Image.fromarray(mask))
    palette = Image.fromarray((mask > 0).astype(np.uint8))
    palette.putpalette([1, 2, 3, 200, 10, 10])
    grey = Image.merge("LA", (Image.new("L", (8, 4), 77), Image.fromarray(mask)))
    keyed = Image.composite(Image.new("RGB", (8, 4), (200, 10, 10)), Image.new("RGB", (8, 4), (9, 9, 9)), Image.fromarray(mask))
    return {
        "RGBA PNG": encoded(red, "PNG"),
        "RGBA WEBP": encoded(red, "WEBP", lossless=True),
        "RGBA TIFF": encoded(red, "TIFF"),
        "P PNG, one index": encoded(palette, "PNG", transparency=0),
        "P PNG, a table": encoded(palette, "PNG", transparency=b"\0\xff"),
        "P GIF": encoded(palette, "GIF", transparency=0),
        "LA PNG": encoded(grey, "PNG"),
        "RGB PNG, a key": encoded(keyed, "PNG", transparency=(9, 9, 9)),
    }


@pytest.mark.parametrize("kind", transparent_pictures())
def test_every_way_to_be_transparent(kind: str) -> None:
    data = transparent_pictures()[kind]
    got = decode(data, alpha_color=(0, 255, 0))
    right = (77, 77, 77) if kind.startswith("LA") else (200, 10, 10)
    assert (got[:, :4] == (0, 255, 0)).all()
    assert (got[:, 4:] == right).all()
    assert (decode(data, 4)[..., 3] == np.repeat([0, 255], 4)).all()
    assert inspect(data).alpha


def test_one_bit_and_palette() -> None:
    bits = RNG.integers(0, 2, (10, 13)).astype(bool)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(bits), "PNG"), 1)[..., 0], bits * 255)
    palette = Image.fromarray(SMOOTH).quantize(64)
    data = encoded(palette, "PNG")
    np.testing.assert_array_equal(decode(data), np.asarray(palette.convert("RGB")))
    np.testing.assert_array_equal(decode(data, 1)[..., 0], np.asarray(palette.convert("RGB").convert("L")))
    assert inspect(data).palette


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_many(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ((250, 0, 0), (0, 250, 0))]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert (decode(data) == (250, 0, 0)).all()
    assert inspect(data).animated


@pytest.mark.parametrize("min_side", [1, 12, 13, 24, 25, 48, 49, 96, 500])
def test_scaled_decode_keeps_the_shorter_side(min_side: int) -> None:
    data = encoded(Image.fromarray(SMOOTH), "JPEG", quality=95)
    got = decode(data, min_side=min_side)
    factor = max(f for f in (1, 2, 4, 8) if 96 // f >= min(min_side, 96))
    assert got.shape == (96 // factor, 128 // factor, 3)
    expected = np.asarray(Image.fromarray(SMOOTH).resize((128 // factor, 96 // factor), Image.Resampling.BOX))
    assert np.abs(got.astype(int) - expected).mean() < 2


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(COLOR), "PNG")
    np.testing.assert_array_equal(decode(data, name="photo.jpg"), COLOR)
    assert sniff(data) == "PNG"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\xff", "not an image"),
        (b"<html><body>404</body></html>", "not an image"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "format"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1", "format"),
        (b"%PDF-1.7 ...", "format"),
        (b"\xff\xd8\xff\xe0", "corrupt truncated"),
        (b"\x89PNG\r\n\x1a\n", "corrupt truncated"),
    ],
)
def test_what_is_not_read_says_so(data: bytes, reason: str) -> None:
    for read in (decode, inspect):
        with pytest.raises(ImageError) as caught:
            read(data, name="some/file.jpg")
        assert caught.value.reason in reason
        assert "some/file.jpg" in str(caught.value)


def test_the_beginning_of_what_is_no_picture_is_shown_as_people_read_it() -> None:
    for data, shown in (
        (b"<html><body>404</body>", 'begins with "<html><b"'),
        (b"\x7fELF\x02\x01", "begins with 7f 45 4c 46 02 01"),
    ):
        with pytest.raises(ImageError, match=shown):
            decode(data)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF"])
def test_cut_files_are_refused(format: str) -> None:
    data = encoded(Image.fromarray(COLOR), format)
    for cut in range(20, len(data) - 3, max(1, len(data) // 20)):
        with pytest.raises(ImageError):
            decode(data[:cut])
    if format == "JPEG":
        with pytest.raises(ImageError) as caught:
            decode(data[: len(data) // 2])
        assert caught.value.reason == "truncated"


def test_a_jpeg_with_stray_bytes_before_its_end_is_read() -> None:
    data = encoded(Image.fromarray(SMOOTH), "JPEG")
    np.testing.assert_array_equal(decode(data[:-2] + b"\x11" * 40 + data[-2:]), decode(data))
    np.testing.assert_array_equal(decode(data + b"appended by a camera"), decode(data))


def test_too_many_pixels_are_refused_by_the_header_alone() -> None:
    data = png(30_000, 30_000, 2, 8, b"")
    for read in (decode, inspect):
        with pytest.raises(ImageError) as caught:
            read(data, name="bomb.png")
        assert caught.value.reason == "pixels"
        assert "900,000,000 pixels" in str(caught.value)
    assert MAX_PIXELS < 30_000**2
    small = encoded(Image.fromarray(COLOR), "PNG")
    with pytest.raises(ImageError):
        decode(small, max_pixels=37 * 53 - 1)
    assert decode(small, max_pixels=37 * 53).shape == COLOR.shape


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    for path, reason in (
        (tmp_path / "none.jpg", "missing"),
        (tmp_path / "folder.jpg", "not a file"),
        (Path("/dev/zero"), "not a file"),
    ):
        if path.exists() or reason == "missing":
            with pytest.raises(ImageError) as caught:
                read_file(path)
            assert caught.value.reason == reason
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(2**28 + 1)
    with pytest.raises(ImageError) as caught:
        read_file(tmp_path / "huge.jpg")
    assert caught.value.reason == "too large"


def test_nothing_process_wide_is_changed() -> None:
    from PIL import ImageFile

    assert Image.MAX_IMAGE_PIXELS is not None
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert "torch" not in vars(decode_module)
    assert sys.modules["striate.data.decode"] is decode_module


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]))))
def test_channels_of_arrays_follow_pillow(picture: NDArray[np.uint8]) -> None:
    count = picture.shape[2]
    image = Image.fromarray(picture[..., 0] if count == 1 else picture)
    if count < 4:
        np.testing.assert_array_equal(to_channels(picture, 3), np.asarray(image.convert("RGB")))
        np.testing.assert_array_equal(to_channels(picture, 1)[..., 0], np.asarray(image.convert("L")))
    rgba = to_channels(picture, 4)
    np.testing.assert_array_equal(rgba, np.asarray(image.convert("RGBA")))
    assert to_channels(picture, count) is picture


def test_real_photos(shared_data: Path) -> None:
    files = sorted((shared_data / "skimage_photos").iterdir()) + sorted((shared_data / "hymenoptera" / "val" / "ants").iterdir())
    seen = 0
    for file in files:
        if file.suffix.lower() not in decode_module.EXTENSIONS:
            continue
        data = read_file(file)
        facts, picture = inspect(data, file.name), decode(data, name=file.name)
        assert picture.shape in ((facts.height, facts.width, 3), (facts.width, facts.height, 3))
        assert picture.std() > 1
        seen += 1
    assert seen > 80
