"""Hundreds of broken, lying and odd image files: each gives a typed error or a picture, soon and in little memory.

They are decoded in a process of its own, whose peak memory is measured file by file and which a watchdog ends with a
traceback if one file takes too long.
"""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

MEMORY = 512 * 2**20
CPU_SECONDS = 5  # under 1 each where this was written, the longest 0.8; the factor is for slower machines
WATCHDOG_SECONDS = 20  # a hang, on any machine: the largest picture allowed takes about one second

CHILD = """
import faulthandler, json, os, sys, time
from striate.data.decode import ImageError, decode, inspect, read_file

def peak(reset=False):
    if reset:
        try:
            open("/proc/self/clear_refs", "w").write("5")
        except OSError:
            pass
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

for number, name in enumerate(sorted(os.listdir(sys.argv[1]))):
    path, channels = os.path.join(sys.argv[1], name), (3, 1, 4)[number % 3]
    peak(reset=True)
    begun = time.process_time()
    faulthandler.dump_traceback_later(float(sys.argv[2]), exit=True)
    try:
        data = read_file(path)
        picture = decode(data, channels, name=name)
        facts = inspect(data, name)
        assert picture.dtype == "uint8" and picture.ndim == 3 and picture.shape[2] == channels and picture.size, picture.shape
        assert sorted(picture.shape[:2]) == sorted((facts.height, facts.width)), (picture.shape, facts)
        outcome = "picture"
    except ImageError as error:
        assert name in str(error), str(error)
        outcome = error.reason
    faulthandler.cancel_dump_traceback_later()
    data = picture = None
    print(json.dumps([name, outcome, peak(), time.process_time() - begun]), flush=True)
"""


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int, height: int, *, color: int = 2, depth: int = 8, extra: bytes = b"", claim: tuple[int, int] | None = None
) -> bytes:
    """A picture of one value, compressed a thousandfold, whose header may ``claim`` another (width, height)."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    row = b"\0" + b"\x70" * -(-width * channels * depth // 8)
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(row * min(64, left)) for left in range(height, 0, -64))
    header = struct.pack(">IIBBBBB", *(claim or (width, height)), depth, color, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if color == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + palette
        + chunk(b"IDAT", body + packer.flush())
        + chunk(b"IEND", b"")
    )


def base_files() -> dict[str, bytes]:
    """One sound file of each kind."""
    ramp = np.add.outer(np.arange(48), np.arange(64))[..., None] * np.array([1, 2, 3])
    image = Image.fromarray((ramp % 256).astype(np.uint8))
    second = Image.new("RGB", image.size, (9, 200, 30))
    return {
        "baseline.jpg": encoded(image, "JPEG"),
        "progressive.jpg": encoded(image, "JPEG", progressive=True, subsampling=0),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG"),
        "plain.png": encoded(image, "PNG"),
        "palette.png": encoded(image.quantize(16), "PNG"),
        "lossy.webp": encoded(image, "WEBP"),
        "rle.bmp": rle_bmp(64, 48),
        "plain.bmp": encoded(image, "BMP"),
        "animated.gif": encoded(image, "GIF", save_all=True, append_images=[second]),
        "raw.tif": encoded(image, "TIFF"),
        "lzw.tif": encoded(image, "TIFF", compression="tiff_lzw"),
    }


def rle_bmp(width: int, height: int) -> bytes:
    """Eight-bit run-length coding in which each row is one pixel and an end of line: the slowest to expand."""
    body = bytes((1, 5, 0, 0)) * height + bytes((0, 1))
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 14 + 40 + 1024 + len(body), 0, 0, 14 + 40 + 1024) + head + bytes(1024) + body


def tiff_of_tags(count: int) -> bytes:
    """A directory of senseless tags, each of which says that its value lies elsewhere and is large."""
    tags = b"".join(struct.pack("<HHII", 1000 + i, 7, 700_000, 1) for i in range(count))
    return b"II*\0" + struct.pack("<IH", 8, count) + tags + bytes(4)


def tiff_of_strips(count: int) -> bytes:
    """One pixel wide, with a strip for each of its rows."""
    values = (
        (256, 3, 1, 1),
        (257, 4, 1, count),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, count, 16),
        (278, 3, 1, 1),
    )
    directory = struct.pack("<H", len(values)) + b"".join(struct.pack("<HHII", *value) for value in values) + bytes(4)
    return b"II*\0" + struct.pack("<I", 16 + 4 * count) + bytes(8) + struct.pack("<I", 8) * count + directory


def damaged() -> dict[str, bytes]:
    """Every base file cut at a dozen points, and with flipped bits, in the header and behind."""
    random = np.random.default_rng(11)
    files = {}
    for name, data in base_files().items():
        for cut in np.linspace(1, len(data) - 1, 10).astype(int):
            files[f"cut_{cut:05d}_{name}"] = data[:cut]
        for trial in range(10):
            flipped = bytearray(data)
            reach = 80 if trial < 5 else len(data)
            for position in random.integers(0, reach, 1 + trial % 4):
                flipped[position] ^= 1 << int(random.integers(8))
            files[f"flip_{trial}_{name}"] = bytes(flipped)
        files[f"noise_{name}"] = data[:24] + random.bytes(2000)
        files[f"twice_{name}"] = data + data
    return files


def lying() -> dict[str, bytes]:
    """Sizes of nothing or of gigabytes, wrong names, loops, and bombs in what surrounds the pixels."""
    base = base_files()
    jpeg, bitmap, tiff = base["baseline.jpg"], base["plain.bmp"], base["raw.tif"]
    frame = jpeg.index(b"\xff\xc0") + 5
    bomb = zlib.compress(bytes(20_000_000), 1)
    text = chunk(b"zTXt", b"k\0\0" + bomb[: 2**17])
    directory = struct.unpack("<I", tiff[4:8])[0]
    entries = struct.unpack("<H", tiff[directory : directory + 2])[0]
    next_page = directory + 2 + 12 * entries
    comment = b"\x21\xfe" + b"\1x" * 500_000 + b"\0"
    screen = 13 + (3 << (base["animated.gif"][10] & 7) + 1 if base["animated.gif"][10] & 0x80 else 0)
    tags = Image.Exif()
    tags[0x0112] = 6
    turned = encoded(Image.new("RGB", (8, 8)), "JPEG", exif=tags)
    last_scan = base["progressive.jpg"][base["progressive.jpg"].rindex(b"\xff\xda") : -2]
    return {
        "empty.png": b"",
        "a_text.png": b"hello\n",
        "a_page.jpg": b"<!DOCTYPE html><title>404</title>",
        "a_png.jpg": base["plain.png"],
        "a_jpeg.png": jpeg,
        "a_bitmap.tif": bitmap,
        "heic.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200),
        "flat.png": png(0, 9),
        "thin.png": png(9, 0),
        "flat.jpg": jpeg[:frame] + b"\0\0" + jpeg[frame + 2 :],
        "thin.jpg": jpeg[: frame + 2] + b"\0\0" + jpeg[frame + 4 :],
        "flat.bmp": bitmap[:22] + bytes(4) + bitmap[26:],
        "flat.gif": b"GIF89a" + bytes(4) + base["animated.gif"][10:],
        "vast.png": png(64, 48, claim=(2**31 - 1, 2**31 - 1)),
        "vast.jpg": jpeg[:frame] + b"\xff\xdc\xff\xdc" + jpeg[frame + 4 :],
        "vast.bmp": bitmap[:18] + struct.pack("<ii", 2**30, 2**30) + bitmap[26:],
        "vast.gif": b"GIF89a" + b"\xff\xff\xff\xff" + base["animated.gif"][10:],
        "vast.webp": base["lossy.webp"].replace(struct.pack("<HH", 64, 48), struct.pack("<HH", 16383, 16383)),
        "vast.tif": tiff.replace(struct.pack("<HHII", 256, 4, 1, 64), struct.pack("<HHII", 256, 4, 1, 2**31)),
        "vast_exif.png": png(64, 48, claim=(30_000, 30_000)) + b"eXIf",
        "short.png": png(4000, 3, claim=(4000, 4000)),
        "profile.png": png(8, 8, extra=chunk(b"iCCP", b"k\0\0" + bomb)),
        "text.png": png(8, 8, extra=chunk(b"zTXt", b"k\0\0" + bomb)),
        "texts.png": png(8, 8, extra=text * 200),
        "chunks.png": png(8, 8, extra=chunk(b"teSt", b"") * 100_000),
        "marks.jpg": jpeg[:2] + b"\xff\xfe\0\2" * 250_000 + jpeg[2:],
        "scans.jpg": base["progressive.jpg"][:-2] + last_scan * 5000 + b"\xff\xd9",
        "arithmetic.jpg": jpeg[: frame - 5] + b"\xff\xc9" + jpeg[frame - 3 :],
        "lossless.jpg": jpeg[: frame - 5] + b"\xff\xc3" + jpeg[frame - 3 :],
        "twelve.jpg": jpeg[: frame - 1] + b"\x0c" + jpeg[frame:],
        "tables.jpg": jpeg.replace(b"\xff\xdb", b"\xff\xec"),
        "loop.tif": tiff[:next_page] + struct.pack("<I", directory) + tiff[next_page + 4 :],
        "tags.tif": tiff_of_tags(60_000),
        "strips.tif": tiff_of_strips(250_000),
        "fill.jpg": jpeg[:2] + b"\xff" * 500_000 + jpeg[2:],
        "exif_marks.jpg": turned[:2] + b"\xff\xe0\0\2" * 250_000 + turned[2:],
        "far.tif": tiff[:4] + struct.pack("<I", 2**32 - 8) + tiff[8:],
        "comment.gif": base["animated.gif"][:screen] + comment + base["animated.gif"][screen:],
        "late_comment.gif": base["animated.gif"][:-1] + comment + b";",
    }


def odd() -> dict[str, bytes]:
    """Sound files of rare kinds: all of them are pictures."""
    color = Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    grey = color.convert("L")
    deep = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 109)
    see_through = color.copy()
    see_through.putalpha(grey)
    frames = {"save_all": True, "append_images": [color.rotate(90, expand=False)]}
    files = {
        "deep.png": encoded(deep, "PNG"),
        "deep.tif": encoded(deep, "TIFF"),
        "deep_rgb.png": png(30, 20, depth=16),
        "deep_rgba.png": png(30, 20, color=6, depth=16),
        "float.tif": encoded(Image.fromarray(np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)), "TIFF"),
        "whole.tif": encoded(Image.fromarray(np.arange(600, dtype=np.int32).reshape(20, 30)), "TIFF"),
        "cmyk.jpg": encoded(color.convert("CMYK"), "JPEG"),
        "cmyk_progressive.jpg": encoded(color.convert("CMYK"), "JPEG", progressive=True),
        "cmyk.tif": encoded(color.convert("CMYK"), "TIFF"),
        "alpha.png": encoded(see_through, "PNG"),
        "alpha.webp": encoded(see_through, "WEBP"),
        "grey_alpha.png": encoded(see_through.convert("LA"), "PNG"),
        "palette_alpha.png": encoded(see_through.quantize(), "PNG"),
        "one_bit.png": encoded(color.convert("1"), "PNG"),
        "one_bit.tif": encoded(color.convert("1"), "TIFF", compression="group4"),
        "one_pixel.jpg": encoded(Image.new("RGB", (1, 1)), "JPEG"),
        "one_row.webp": encoded(Image.new("RGB", (999, 1)), "WEBP"),
        "animated.gif": encoded(color, "GIF", **frames),
        "animated.webp": encoded(color, "WEBP", **frames),
        "animated.png": encoded(color, "PNG", **frames),
        "pages.tif": encoded(color, "TIFF", **frames),
        "ycc.tif": encoded(color, "TIFF", compression="jpeg"),
        "deflate.tif": encoded(color, "TIFF", compression="tiff_adobe_deflate"),
    }
    for orientation in range(1, 9):
        tags = Image.Exif()
        tags[0x0112] = orientation
        files |= {
            f"turned_{orientation}.{end}": encoded(color, form, exif=tags) for end, form in (("jpg", "JPEG"), ("tif", "TIFF"))
        }
    return files


def bombs() -> dict[str, bytes]:
    """Small files of the largest pictures that are allowed, and of some just beyond, in every format."""
    turned = Image.Exif()
    turned[0x0112] = 6
    blank = Image.new("RGB", (7200, 7200), (30, 90, 200))
    smaller = Image.new("RGB", (5000, 5000), (30, 90, 200))
    progressive = encoded(smaller, "JPEG", progressive=True)
    last_scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    return {
        "rgb.png": png(7200, 7200),
        "rgba.png": png(7200, 7200, color=6),
        "palette.png": png(7200, 7200, color=3),
        "one_bit.png": png(7200, 7200, color=0, depth=1),
        "deep.png": png(7200, 7200, depth=16),
        "deep_alpha.png": png(7200, 7200, color=4, depth=16),
        "beyond.png": png(9000, 9000),
        "wide.png": png(1_000_000, 40),
        "tall.png": png(40, 1_000_000),
        "profile.png": png(8, 8, extra=chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(700_000_000), 1))),
        "turned.jpg": encoded(blank, "JPEG", exif=turned),
        "progressive.jpg": encoded(blank.crop((0, 0, 6200, 6200)), "JPEG", progressive=True, subsampling=0, exif=turned),
        "cmyk.jpg": encoded(blank.convert("CMYK"), "JPEG"),
        "cmyk_progressive.jpg": encoded(smaller.convert("CMYK"), "JPEG", progressive=True),
        "scans.jpg": progressive[:-2] + last_scan * 9 + b"\xff\xd9",
        "many_scans.jpg": progressive[:-2] + last_scan * 80 + b"\xff\xd9",
        "flat.webp": encoded(smaller, "WEBP", lossless=True),
        "flat.gif": encoded(smaller.convert("L"), "GIF"),
        "deflate.tif": encoded(smaller, "TIFF", compression="tiff_adobe_deflate", exif=turned),
        "lzw.tif": encoded(smaller, "TIFF", compression="tiff_lzw"),
        "runs.bmp": rle_bmp(2000, 2000),
        "more_runs.bmp": rle_bmp(60_000, 800),
    }


def survive(files: dict[str, bytes], folder: Path) -> dict[str, str]:
    """Decodes each file in another process -> what became of it. Fails on a crash, a hang, or too much memory or time."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    names = sorted(path.name for path in folder.iterdir())
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(folder), str(WATCHDOG_SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30 * WATCHDOG_SECONDS, check=False)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    culprit = names[len(records)] if len(records) < len(names) else "none"
    assert done.returncode == 0, f"exit {done.returncode} at {culprit}:\n{done.stderr[-4000:]}"
    assert [name for name, *_ in records] == names
    greedy = {name: f"{peak / 2**20:.0f} MiB" for name, _, peak, _ in records if peak >= MEMORY}
    assert not greedy
    slow = {name: f"{seconds:.1f} s" for name, _, _, seconds in records if seconds >= CPU_SECONDS}
    assert not slow
    return {name: outcome for name, outcome, *_ in records}


linux = pytest.mark.skipif(sys.platform != "linux", reason="measures memory through /proc")


@linux
def test_dozens_of_hostile_files(tmp_path: Path) -> None:
    some = dict(list(damaged().items())[::5])
    outcomes = survive(some | lying(), tmp_path)
    assert len(outcomes) >= 60
    for name in (
        "empty.png",
        "a_text.png",
        "heic.jpg",
        "flat.png",
        "vast.png",
        "vast_exif.png",
        "vast.jpg",
        "vast.webp",
        "vast.tif",
        "scans.jpg",
        "chunks.png",
        "tags.tif",
        "strips.tif",
        "exif_marks.jpg",
    ):
        assert outcomes[name] != "picture", name
    for name in ("a_png.jpg", "a_jpeg.png", "loop.tif"):
        assert outcomes[name] == "picture", name


@linux
def test_odd_but_sound_files_are_pictures(tmp_path: Path) -> None:
    outcomes = survive(odd(), tmp_path)
    assert {name: outcome for name, outcome in outcomes.items() if outcome != "picture"} == {}


@linux
def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert survive({}, tmp_path) == {
        "fifo.png": "not a file",
        "folder.png": "not a file",
        "zero.png": "not a file",
        "gone.png": "missing",
        "loop.png": "unreadable",
    }


@linux
@pytest.mark.slow
def test_every_hostile_file(tmp_path: Path) -> None:
    files = damaged() | lying()
    assert len(files) >= 200
    outcomes = survive(files, tmp_path)
    # Only these two may lose their last bytes without losing a pixel of the first picture.
    whole = {name for name, outcome in outcomes.items() if name.startswith("cut_") and outcome == "picture"}
    assert {name for name in whole if not name.endswith(("animated.gif", "rle.bmp"))} == set()
    assert "picture" in outcomes.values()


@linux
@pytest.mark.slow
def test_bombs(tmp_path: Path) -> None:
    outcomes = survive(bombs(), tmp_path)
    assert {name for name, outcome in outcomes.items() if outcome == "pixels"} >= {
        "beyond.png",
        "many_scans.jpg",
        "more_runs.bmp",
    }
    for name in (
        "rgb.png",
        "rgba.png",
        "deep.png",
        "turned.jpg",
        "progressive.jpg",
        "flat.webp",
        "flat.gif",
        "lzw.tif",
        "runs.bmp",
    ):
        assert outcomes[name] == "picture", name
