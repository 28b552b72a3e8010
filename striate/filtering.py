"""Filters image files: read as every picture is, filtered by :mod:`striate.kernels`, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from striate.data.decode import decode, inspect, read_file
from striate.errors import UsageError, nearest
from striate.files import replacing
from striate.kernels import Border, Kernel, Show, apply_kernel

WRITTEN: dict[str, str] = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""Endings of the files that can be written, and their formats."""

_SETTINGS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}


def filter_file(image: Path, out: Path, kernel: Kernel, border: Border = "edge", show: Show | None = None) -> tuple[int, int]:
    """Writes a filtered copy of a picture and returns its (height, width).

    The picture is upright, on 8 bits a colour, transparency laid on white; grey stays grey.

    Raises:
        ImageError: the picture cannot be read.
        UsageError: ``out`` has no ending of ``WRITTEN``, or is the picture itself.
        Failed: the disk refused; nothing is half-written.
    """
    suffix = out.suffix.lower()
    if suffix not in WRITTEN:
        raise UsageError(
            f"pictures are not written as {suffix!r}" if suffix else "the result's name has no ending", where=out,
            fix=nearest(suffix, WRITTEN),
        )  # fmt: skip
    if out.exists() and image.exists() and out.samefile(image):
        raise UsageError("the result would take the place of the picture itself", where=out, fix="give it another name")
    data = read_file(image)
    grey = inspect(data, str(image)).mode.partition(";")[0] in ("1", "L", "LA", "I", "F")
    pixels = decode(data, 1 if grey else 3, name=str(image))
    pixels = pixels[:, :, 0] if grey else pixels
    filtered = apply_kernel(pixels, kernel, border, show)
    with replacing(out, "the filtered picture") as file:
        Image.fromarray(filtered).save(file, WRITTEN[suffix], **_SETTINGS.get(WRITTEN[suffix], {}))
    return filtered.shape[0], filtered.shape[1]
