"""Data of a stated kind, number and size, made once under the user's cache folder and the same for every seed: photos, noise."""

from __future__ import annotations

import io
import math
import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from striate.files import make_folder
from striate.machine import cache_folder

PIECE = (500, 375)
"""Width and height that each source photo is cut to; larger pictures are mosaics of these, so that detail and file size a pixel
are those of real photos and not of enlarged ones."""
QUALITY = 90
CLASSES = 10
LINKED = 100
"""Files that a tree of hard links is made of."""
SUFFIXES = (".jpg", ".jpeg", ".png")


def photo_folder(sources: list[Path], size: tuple[int, int], num: int, seed: int = 0) -> Path:
    """A folder of ``CLASSES`` class folders with ``num`` JPEGs (4:2:0, quality ``QUALITY``) of ``size`` (width, height).

    Args:
        sources: folders with photos, searched in depth; each picture is drawn from them, cut and mirrored at random.

    Raises:
        SystemExit: there are no photos in ``sources``.
    """
    files = sorted(path for source in sources for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise SystemExit(f"no photos in {', '.join(map(str, sources))}: give a folder of photos")
    made_by = repr([(file.name, file.stat().st_size) for file in files] + [size, num, seed, PIECE, QUALITY, CLASSES])
    folder = cache_folder() / "benchmarks" / f"photos-{size[0]}x{size[1]}-{num}-{sha256(made_by.encode()).hexdigest()[:8]}"
    if folder.exists():
        return folder
    beside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    chance = np.random.default_rng(seed)
    for number in range(num):
        place = make_folder(beside / f"class{number % CLASSES}") / f"{number:06d}.jpg"
        _mosaic(files, size, chance).save(place, quality=QUALITY, subsampling=2)
    beside.rename(folder)
    return folder


def _mosaic(files: list[Path], size: tuple[int, int], chance: np.random.Generator) -> Image.Image:
    picture = Image.new("RGB", size)
    for top in range(0, size[1], PIECE[1]):
        for left in range(0, size[0], PIECE[0]):
            picture.paste(_piece(files[chance.integers(len(files))], chance), (left, top))
    return picture


def _piece(file: Path, chance: np.random.Generator) -> Image.Image:
    with Image.open(file) as opened:
        photo = opened.convert("RGB")
    enlarge = max(1.0, PIECE[0] / photo.width, PIECE[1] / photo.height)
    if enlarge > 1:
        photo = photo.resize((math.ceil(photo.width * enlarge), math.ceil(photo.height * enlarge)))
    left, top = (int(chance.integers(total - part + 1)) for total, part in zip(photo.size, PIECE, strict=True))
    photo = photo.crop((left, top, left + PIECE[0], top + PIECE[1]))
    return photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if chance.random() < 0.5 else photo


def made_images(num: int, side: int, seed: int = 0) -> Path:
    """An .npz of ``num`` training images of noise, uint8 [num, side, side, 3], and one a class to validate and to test on."""
    path = cache_folder() / "benchmarks" / f"noise-{side}-{num}-{seed}.npz"
    if not path.exists():
        make_folder(path.parent)
        chance = np.random.default_rng(seed)
        arrays: dict[str, Any] = {}
        for split, count in (("train", num), ("val", CLASSES), ("test", CLASSES)):
            arrays[f"{split}_images"] = chance.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
            arrays[f"{split}_labels"] = np.arange(count) % CLASSES
        block = io.BytesIO()
        np.savez(block, **arrays)
        path.write_bytes(block.getvalue())
    return path


def noise_tree(num: int, classes: int, levels: int, side: int, linked: bool) -> Path:
    """A folder of ``classes`` class folders, the files ``levels`` folders deep, with ``num`` JPEGs of noise in all.

    Args:
        linked: hard links to ``LINKED`` files instead of as many files: quick to make, and all duplicates.
    """
    kind = "linked" if linked else "noise"
    folder = cache_folder() / "benchmarks" / f"{kind}-{num}-{classes}-{levels}-{side}"
    if folder.exists():
        return folder
    beside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    chance = np.random.default_rng(num)
    origins = make_folder(beside.with_name(f"{beside.name}.origins"))
    for number in range(LINKED if linked else 0):
        (origins / f"{number}.jpg").write_bytes(_noise(side, chance))
    for number in range(num):
        deep = "/".join(f"level{level}" for level in range(1, levels))
        place = beside / f"class{number % classes:05d}" / deep
        if number < classes:
            make_folder(place)
        if linked:
            os.link(origins / f"{number % LINKED}.jpg", place / f"{number:07d}.jpg")
        else:
            (place / f"{number:07d}.jpg").write_bytes(_noise(side, chance))
    beside.rename(folder)
    shutil.rmtree(origins)
    return folder


def _noise(side: int, chance: np.random.Generator) -> bytes:
    """One JPEG. Noise of 8x8 cells, enlarged: no two are alike, and it is no larger than a photo of that size."""
    cells = chance.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    block = io.BytesIO()
    Image.fromarray(cells).resize((side, side), Image.Resampling.BICUBIC).save(block, "JPEG", quality=QUALITY)
    return block.getvalue()
