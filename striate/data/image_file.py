"""Image files before their pixels: what they are, what their headers say, and how far they may go.

Formats are recognised by content, never by file name, and only those of an allow-list are opened. Every size is
checked before memory for it is taken. No process-wide setting of Pillow is read or changed.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import BmpImagePlugin, GifImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from striate.data.channels import PixelRange
from striate.data.structure import too_many_parts
from striate.errors import StriateError

MAX_PIXELS = 50 * 2**20
"""Default cap on a picture: 52 megapixels, 50 for a phone's 8160 x 6144."""

MAX_FILE_BYTES = 2**28
"""Cap on an encoded file: 256 MiB."""

MEMORY_A_PIXEL = 9
"""Bytes that decoding may take, its encoded file included, for each pixel of the cap: 472 MB under the default one."""

EXTENSIONS = frozenset([".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"])
"""File name endings of the formats that are read."""

_OPENERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}

# Bytes a pixel held beside the result (at most 4): Pillow's own image is 4, libwebp's animation decoder has two canvases
# more, libtiff a strip of up to 8 bytes a pixel, and a picture is turned by copying.
_BYTES_A_PIXEL = {"JPEG": 3, "PNG": 4, "WEBP": 12, "BMP": 4, "GIF": 8, "TIFF": 12}

# Pillow decodes run-length BMP in Python, pixel by pixel: 4 megapixels take about 0.4 s.
_MAX_RLE_PIXELS = 2**22

# A progressive JPEG passes over the whole picture once a scan, so that a few kilobytes of scans can take minutes.
_MAX_SCANS, _MAX_SCANNED_PIXELS = 100, 2**29


class ImageError(StriateError):
    """A picture that cannot be read.

    Attributes:
        reason: one stable word or two, to count by: ``missing``, ``not a file``, ``too large``, ``empty``,
            ``not an image``, ``format`` (a picture, but of a kind that is not read), ``pixels`` (too many),
            ``truncated``, ``corrupt``, ``range`` (numbers that have no place on 0..255).
    """

    exit_code = 1

    def __init__(self, reason: str, what: str, *, name: str = "", why: str | None = None, fix: str | None = None) -> None:
        self.reason = reason
        super().__init__(what, where=name or None, why=why, fix=fix)


@dataclass(frozen=True)
class ImageFacts:
    """What the header of an image file says.

    Attributes:
        format: ``JPEG``, ``PNG``, ``WEBP``, ``BMP``, ``GIF`` or ``TIFF``.
        width, height: pixels as stored, before any turn that EXIF asks for.
        mode: Pillow's name of the stored colours: ``L``, ``RGB``, ``RGBA``, ``P``, ``CMYK``, ``I;16``, ``F``, ...
        orientation: EXIF's, 1 (upright) to 8.
        sixteen_bit: more than 8 bits a colour.
        alpha: carries transparency.
        palette: colours are indices into a table.
        cmyk: printing colours.
        animated: more than one frame or page, of which the first is read.
    """

    format: str
    width: int
    height: int
    mode: str
    orientation: int = 1
    sixteen_bit: bool = False
    alpha: bool = False
    palette: bool = False
    cmyk: bool = False
    animated: bool = False

    @property
    def exif_rotated(self) -> bool:
        """EXIF asks for a turn or a mirroring."""
        return self.orientation != 1


def read_file(path: str | os.PathLike[str], *, name: str = "") -> bytes:
    """Reads an ordinary file of at most ``MAX_FILE_BYTES``; anything else is an :class:`ImageError`, and never waits."""
    name = name or os.fspath(path)
    try:
        # Without O_NONBLOCK, opening a FIFO waits for a writer.
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError("not a file", "not an ordinary file", name=name)
            if status.st_size > MAX_FILE_BYTES:
                raise ImageError(
                    "too large", f"a file of {status.st_size:,} bytes", name=name, why=f"at most {MAX_FILE_BYTES:,} are read"
                )
            return file.read()
    except FileNotFoundError as error:
        raise ImageError("missing", "no such file", name=name) from error
    except IsADirectoryError as error:
        raise ImageError("not a file", "a folder, not a file", name=name) from error
    except OSError as error:
        raise ImageError("unreadable", "the file cannot be read", name=name, why=error.strerror) from error


_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xffO\xffQ": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\n": "JPEG XL",
    b"8BPS": "Photoshop",
    b"P5": "PNM",
    b"P6": "PNM",
    b"\0\0\1\0": "icon",
    b"%PDF": "PDF",
    b"<svg": "SVG",
}


def sniff(head: bytes) -> str:
    """The format that the first 16 bytes of a file announce, or ``""``. Formats beyond the allow-list are named too."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        return "AVIF" if head[8:11] == b"avi" else "HEIC"
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


@contextmanager
def damage_named(name: str) -> Iterator[None]:
    """Turns whatever a decoder throws at broken bytes into an :class:`ImageError`."""
    try:
        yield
    except ImageError:
        raise
    # Pillow answers hostile bytes with OSError, SyntaxError, struct.error, KeyError, OverflowError and others still.
    except Exception as error:
        text = str(error) or type(error).__name__
        said = text.lower()
        if isinstance(error, PixelRange):
            raise ImageError(
                "range", "the numbers in it are no colours", name=name, why=text, fix="scale them to 0..255"
            ) from error
        if any(words in said for words in ("truncated", "premature end of jpeg", "not enough data", "unexpected end")):
            raise ImageError("truncated", "the file ends too early", name=name, why=text) from error
        if "decompression bomb" in said:
            raise ImageError("pixels", "the picture is too large", name=name, why=text) from error
        if any(words in said for words in ("unsupported", "not supported", "cannot handle", "unknown pixel mode")):
            raise ImageError(
                "format", "this kind of file is not read", name=name, why=text, fix="convert it to PNG or JPEG"
            ) from error
        raise ImageError("corrupt", "the file is damaged", name=name, why=text) from error


def inspect(data: bytes, name: str = "", *, max_pixels: int = MAX_PIXELS) -> ImageFacts:
    """Reads the header alone.

    Raises:
        ImageError: not a picture of the allow-list, a broken header, or too many pixels.
    """
    with damage_named(name):
        return facts_of(data, open_header(data, name, max_pixels))


def open_header(data: bytes, name: str, max_pixels: int) -> ImageFile.ImageFile:
    """A Pillow image of the allow-list and within the caps, its pixels not yet decoded."""
    if not data:
        raise ImageError("empty", "the file is empty", name=name)
    kind = sniff(data[:16])
    if not kind:
        raise ImageError("not an image", "not a picture", name=name, why=f"it begins with {_shown(data[:8])}")
    if kind not in _OPENERS:
        raise ImageError("format", f"{kind} is not read", name=name, fix=f"convert it to one of {', '.join(_OPENERS)}")
    if what := too_many_parts(data, kind):
        raise ImageError("corrupt", f"a {kind} of countless {what}", name=name, why="reading them all would take too long")
    # Not Image.open: its own cap warns, is set process-wide, and comes without the size.
    image = _OPENERS[kind](io.BytesIO(data))
    # At once, for asking a PNG for its EXIF decodes it.
    check_size(data, kind, image.size, image.mode == "CMYK", name, max_pixels)
    return image


def _shown(beginning: bytes) -> str:
    """Text in quotes where it is text, else bytes in hexadecimal."""
    text = beginning.decode("latin-1")
    return f'"{text}"' if text.isascii() and text.isprintable() else beginning.hex(" ")


def bits_a_color(image: ImageFile.ImageFile) -> int:
    """Bits a colour as stored, for modes that hold more than 8."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(8, int(image.tag_v2.get(258, (8,))[0]))
    return 16 if image.mode.startswith("I;16") else 8


def facts_of(data: bytes, image: ImageFile.ImageFile) -> ImageFacts:
    """What the opened header says."""
    kind, mode = image.format or "", image.mode
    width, height = image.size
    orientation = orientation_of(image) if kind == "TIFF" or may_have_exif(data) else 1
    if kind == "TIFF" and orientation >= 5:
        width, height = height, width
    deep = mode in ("I", "F") or bits_a_color(image) > 8 or (kind == "PNG" and data[24] > 8)
    return ImageFacts(
        format=kind,
        width=width,
        height=height,
        mode=mode,
        orientation=orientation,
        sixteen_bit=deep,
        alpha=image.has_transparency_data,
        palette=mode in ("P", "PA"),
        cmyk=mode == "CMYK",
        animated=bool(getattr(image, "is_animated", False)),
    )


def may_have_exif(data: bytes) -> bool:
    """Whether the words that EXIF or XMP begin with occur at all: spares most files the parsing."""
    head = data[: _jpeg_header(data)] if data[:2] == b"\xff\xd8" else data
    return any(word in head for word in (b"Exif\0", b"EXIF", b"eXIf", b"exif", b"tiff:Orientation"))


def _jpeg_header(data: bytes) -> int:
    """Where the first scan of a JPEG begins (ITU-T T.81, B.1.1), behind which nobody looks for EXIF; its end, where unclear."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xDA:
            return place
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD9:  # those without a length
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return len(data)


def orientation_of(image: ImageFile.ImageFile) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none, or a senseless one."""
    try:
        tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else image.getexif()
        value = tags.get(0x0112, 1)
    except Exception:  # whatever Pillow throws: damaged EXIF is no reason to refuse sound pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def check_size(data: bytes, kind: str, size: tuple[int, int], cmyk: bool, name: str, max_pixels: int) -> None:
    """Raises :class:`ImageError` for a (width, height) that would take too many pixels, too much memory or too long."""
    pixels, shape = size[0] * size[1], f"{size[0]} x {size[1]}"
    if pixels > max_pixels:
        why = f"{pixels:,} pixels; the cap is {max_pixels:,}"
        raise ImageError("pixels", f"a picture of {shape}", name=name, why=why, fix="shrink it, or raise max_pixels")
    a_pixel = _BYTES_A_PIXEL[kind] + (5 if cmyk else 4)
    if kind == "JPEG":
        scans = data.count(b"\xff\xda")
        if scans > 1:  # progressive: all coefficients, of 2 bytes, beside the colours; and time
            a_pixel = 4 * (4 if cmyk else 3)
        if scans > _MAX_SCANS or scans * pixels > _MAX_SCANNED_PIXELS:
            raise ImageError("pixels", f"a picture of {shape} in {scans} scans", name=name, why="decoding it would take too long")
    if kind == "BMP" and pixels > _MAX_RLE_PIXELS and int.from_bytes(data[30:34], "little") in (1, 2):
        raise ImageError(
            "pixels", f"a run-length coded BMP of {shape}", name=name, why=f"more than {_MAX_RLE_PIXELS:,} pixels take too long"
        )
    need, budget = pixels * a_pixel + len(data), MEMORY_A_PIXEL * max(max_pixels, MAX_PIXELS)
    if need > budget:
        why = f"decoding a {kind} of that size takes {need / 1e6:.0f} MB; the cap is {budget / 1e6:.0f} MB"
        raise ImageError("pixels", f"a picture of {shape}", name=name, why=why, fix="shrink it, or raise max_pixels")
