"""How many parts an image file is made of.

Pillow reads them one by one in Python, so that a small file of countless parts takes seconds or minutes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

_TIFF_POINTERS = (34665, 34853, 40965)  # EXIF, GPS and interoperability directories
_TIFF_OFFSETS = (273, 324)  # of strips, of tiles


def too_many_parts(data: bytes, kind: str) -> str | None:
    """What a file of the format ``kind`` has too many of, or None. Stops counting there; ends quietly where the file does.

    Honest files stay far below: a PNG has a chunk for every 8 KiB, a JPEG a few dozen segments before its pixels, a GIF a block
    for every 255 bytes, a TIFF a few dozen tags, and at most a strip a row.
    """
    if kind not in _PARTS:
        return None
    parts, limit = _PARTS[kind]
    try:
        for count, what in enumerate(parts(data)):
            if count > limit + len(data) // (100 if kind == "GIF" else 1000):
                return what
    except (IndexError, struct.error):
        return None
    return None


def _png(data: bytes) -> Iterator[str]:
    position = 8
    while position < len(data):
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        yield "chunks"


def _jpeg(data: bytes) -> Iterator[str]:
    """Segments before the first scan, and the bytes that fill the space between them."""
    position = 2
    while data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xDA:
            return
        filling = marker in (0, 0xFF) or 0xD0 <= marker <= 0xD9
        position += 1 if filling else 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        yield "segments"


def _gif(data: bytes) -> Iterator[str]:
    """Blocks up to the second picture, which is as far as Pillow looks."""
    position, pictures = 13 + _gif_palette(data[10]), 0
    while data[position] != 0x3B and pictures < 2:
        if data[position] == 0x2C:
            pictures += 1
            position += 11 + _gif_palette(data[position + 9])
        else:
            position += 2 if data[position] == 0x21 else 1
            if data[position - 1] == 0:
                yield "blocks"
                continue
        while size := data[position]:
            position += size + 1
            yield "blocks"
        position += 1


def _gif_palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _tiff(data: bytes) -> Iterator[str]:
    """Tags of the first directory and of those it points to, and strips or tiles."""
    order, big = "<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+")
    offset, number, entry = (order + code for code in (("Q", "Q", "HHQQ") if big else ("I", "H", "HHII")))
    (first,) = struct.unpack_from(offset, data, 8 if big else 4)
    directories = [first]
    for directory in directories:
        (count,) = struct.unpack_from(number, data, directory)
        start = directory + struct.calcsize(number)
        for i in range(count):
            tag, _, length, value = struct.unpack_from(entry, data, start + i * struct.calcsize(entry))
            if tag in _TIFF_POINTERS and directory == first and len(directories) < 4:
                directories.append(value)
            for _ in range(length // 8 if tag in _TIFF_OFFSETS else 1):
                yield "strips" if tag in _TIFF_OFFSETS else "tags"


_PARTS: dict[str, tuple[Callable[[bytes], Iterator[str]], int]] = {
    "PNG": (_png, 5000),
    "JPEG": (_jpeg, 2000),
    "GIF": (_gif, 10_000),
    "TIFF": (_tiff, 4096),
}
"""Format -> what counts its parts, and how many are let through whatever the size of the file."""
