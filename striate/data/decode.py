"""From the bytes of an image file to uint8 pixels, or to an :class:`ImageError` that says why not."""

from __future__ import annotations

from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from striate.data.channels import Color, pillow_to_array, to_channels
from striate.data.image_file import (
    EXTENSIONS,
    MAX_PIXELS,
    ImageError,
    ImageFacts,
    bits_a_color,
    check_size,
    damage_named,
    facts_of,
    inspect,
    may_have_exif,
    open_header,
    orientation_of,
    read_file,
    sniff,
)

__all__ = ["EXTENSIONS", "MAX_PIXELS", "ImageError", "ImageFacts", "decode", "inspect", "read_file", "sniff"]


def decode(
    data: bytes,
    channels: int = 3,
    *,
    name: str = "",
    alpha_color: Color = (255, 255, 255),
    exif: bool = True,
    max_pixels: int = MAX_PIXELS,
    min_side: int | None = None,
) -> NDArray[np.uint8]:
    """Decodes one picture: the first frame or page, upright, on 8 bits a colour.

    More than 8 bits are scaled (the top 8 bits are kept; floating point by its range: 0..1, 0..255 or 0..65535), CMYK is
    converted, transparency is composited on ``alpha_color`` (kept with 4 channels), grey is ITU-R 601-2 luma of RGB.

    Args:
        data: the encoded file.
        channels: 1 grey, 3 RGB, 4 RGBA.
        name: what error messages call the picture.
        alpha_color: RGB under transparent pixels.
        exif: turn the picture as its EXIF orientation says.
        max_pixels: cap on width x height.
        min_side: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its shorter side keeps this many pixels.

    Returns:
        uint8 [H, W, channels].

    Raises:
        ImageError: anything wrong with the file; memory is never taken for a picture over the caps.
    """
    with damage_named(name):
        if data[:3] == b"\xff\xd8\xff":
            picture = _decode_jpeg(data, channels, name, exif, max_pixels, min_side)
            if picture is not None:
                return to_channels(picture, channels, alpha_color)
        image = open_header(data, name, max_pixels)
        # Pillow and libwebp are content without the end, as long as it holds no pixels.
        if (image.format == "PNG" and b"IEND\xaeB`\x82" not in data) or (
            image.format == "WEBP" and len(data) < int.from_bytes(data[4:8], "little") + 8
        ):
            raise ImageError("truncated", "the file ends too early", name=name)
        facts = facts_of(data, image)
        shift = bits_a_color(image) - 8
        image.load()
        picture = pillow_to_array(image, channels, alpha_color, shift)
        # Pillow turns a TIFF itself while loading it, and nothing else.
        if facts.format == "TIFF":
            return picture if exif else turn(picture, {6: 8, 8: 6}.get(facts.orientation, facts.orientation))
        return turn(picture, facts.orientation) if exif else picture


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture upright, by EXIF's orientation (CIPA DC-008, tag 0x0112)."""


def turn(picture: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """[H, W, C] as stored -> upright."""
    if orientation == 1:
        return picture
    height, width, channels = picture.shape
    turned = np.empty((width, height, channels) if orientation >= 5 else picture.shape, dtype=np.uint8)
    rows = max(1, 2**20 // width)
    for top in range(0, height, rows):  # in bands, for Pillow (8 times NumPy's speed here) holds 4 bytes a pixel
        band = picture[top : top + rows]
        image = Image.fromarray(band[:, :, 0] if channels == 1 else band).transpose(_TURNS[orientation])
        first = top if orientation in (2, 5, 8) else height - top - len(band)
        place = np.s_[:, first : first + len(band)] if orientation >= 5 else np.s_[first : first + len(band)]
        turned[place] = np.asarray(image).reshape(image.height, image.width, channels)
    return turned


def _decode_jpeg(
    data: bytes, channels: int, name: str, exif: bool, max_pixels: int, min_side: int | None
) -> NDArray[np.uint8] | None:
    """uint8 [H, W, 1 or 3] by libjpeg-turbo; None for the kinds that Pillow has to read (CMYK, odd subsampling)."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if colorspace in ("CMYK", "YCCK"):
        return None
    check_size(data, "JPEG", (width, height), False, name, max_pixels)
    options: dict[str, Any] = {"colorspace": "GRAY" if colorspace == "Gray" and channels == 1 else "RGB"}
    if min_side is not None:
        # Only these: the scales between have no SIMD code and are slower than decoding in full.
        factor = next((f for f in (8, 4, 2) if -(-min(height, width) // f) >= min_side), 1)
        options |= {"min_height": -(-height // factor), "min_width": -(-width // factor)} if factor > 1 else {}
    try:
        picture: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, **options)
    except ValueError as error:
        # Stray bytes before the end marker come after the last pixel: cameras leave them there.
        if "extraneous bytes before marker 0xd9" not in str(error):
            raise
        picture = simplejpeg.decode_jpeg(data, strict=False, **options)
    if not exif or not may_have_exif(data):
        return picture
    return turn(picture, orientation_of(open_header(data, name, max_pixels)))
