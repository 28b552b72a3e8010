"""From numbers to pictures: palettes, heat on a photo, sheets of tiles with a title and a scale, and PNG files.

Two palettes, both readable by the colour-blind: signed values run from orange over a neutral zero to blue, as in the studio;
values of one sign from black over magenta to yellow, lighter meaning more.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from striate.files import replacing

Picture = NDArray[np.uint8]
Values = NDArray[np.floating[Any]]
Color = tuple[int, int, int]

PAPER, INK, MUTED = (252, 251, 248), (27, 30, 33), (105, 110, 116)
SIGNED: tuple[Color, ...] = (
    (112, 46, 2), (214, 109, 24), (245, 178, 107), (246, 245, 242), (135, 182, 219), (49, 116, 177), (8, 48, 107),
)  # fmt: skip
"""From -1 over 0 to 1."""
HEAT: tuple[Color, ...] = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))
"""From 0 to 1: six points of the palette inferno (N. Smith, S. van der Walt, CC0)."""

MARGIN, GAP, LINE = 16, 6, 17
SCALE_WIDTH, SCALE_HEIGHT = 160, 10
CLIPPED = 0.005
"""Share of the values that may lie beyond the ends of a scale, so that a few do not make all others pale."""


def bound_of(values: Values) -> float:
    """The magnitude that all but ``CLIPPED`` of the values keep within; 1 where all are 0."""
    magnitudes = np.abs(values[np.isfinite(values)])
    bound = float(np.quantile(magnitudes, 1 - CLIPPED)) if magnitudes.size else 0.0
    return bound or (float(magnitudes.max()) if magnitudes.size else 0.0) or 1.0


def color_signed(values: Values, bound: float) -> Picture:
    """[..., H, W] -> uint8 [..., H, W, 3]: orange at ``-bound`` and below, neutral at 0, blue at ``bound`` and above."""
    return _colored(values / (2 * bound) + 0.5, SIGNED)


def color_heat(values: Values, bound: float) -> Picture:
    """[..., H, W] -> uint8 [..., H, W, 3]: black at 0 and below, light yellow at ``bound`` and above."""
    return _colored(values / bound, HEAT)


def _colored(shares: Values, palette: Sequence[Color]) -> Picture:
    stops, colors = np.linspace(0, 1, len(palette)), np.array(palette, np.float64)
    shares = np.nan_to_num(shares, nan=0.5, posinf=1.0, neginf=0.0)
    made = np.stack([np.interp(shares, stops, colors[:, channel]) for channel in range(3)], axis=-1)
    colored: Picture = made.round().astype(np.uint8)
    return colored


def as_rgb(pixels: Picture) -> Picture:
    """What a network reads, uint8 [H, W, C] with C of 1, 3 or 4 -> [H, W, 3]."""
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[:, :, :3]


def lay_heat(pixels: Picture, heat: Values, bound: float) -> Picture:
    """A photo uint8 [H, W, C], greyed, under heat [H, W] of no negative sign: red over orange to yellow, the more the denser."""
    level: Values = np.clip(heat / bound, 0, 1)
    grey = np.repeat(0.8 * _grey(pixels) + 30, 3, axis=2).astype(np.uint8)
    return _blend(grey, color_heat(0.5 + 0.45 * level, 1), (0.85 * level**1.2)[:, :, None])


def lay_signed(pixels: Picture, values: Values, bound: float) -> Picture:
    """A photo uint8 [H, W, C], greyed, under signed values [H, W]: orange below zero, blue above, the deeper the farther."""
    faded = (np.repeat(_grey(pixels), 3, axis=2) * 0.6 + 0.4 * 255).astype(np.uint8)
    share = (np.clip(np.abs(values) / bound, 0, 1) ** 0.75 * 0.85)[:, :, None]
    return _blend(faded, color_signed(values, bound), share)


def _grey(pixels: Picture) -> Values:
    """uint8 [H, W, C] -> luma [H, W, 1] on 0..255 (ITU-R BT.601)."""
    luma: Values = as_rgb(pixels).astype(np.float64) @ np.array([[0.299], [0.587], [0.114]])
    return luma


def _blend(below: Picture, above: Picture, share: Values) -> Picture:
    blended: Picture = (below * (1 - share) + above * share).round().astype(np.uint8)
    return blended


def color_centred(values: Values) -> Picture:
    """A signed image [3, H, W] as colours: mid-grey is 0, and all but a few values keep their proportion."""
    shares = np.clip(values / (2 * bound_of(values)) + 0.5, 0, 1)
    centred: Picture = (255 * shares).round().astype(np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(centred)


def draw_box(pixels: Picture, rows: tuple[int, int], columns: tuple[int, int], color: Color = (255, 255, 255)) -> Picture:
    """A frame of one pixel around half-open rows and columns, without covering any of them, and a dark one around that."""
    image = Image.fromarray(as_rgb(pixels))
    draw = ImageDraw.Draw(image)
    for away, shade in ((2, INK), (1, color)):
        draw.rectangle((columns[0] - away, rows[0] - away, columns[1] - 1 + away, rows[1] - 1 + away), outline=shade)
    return np.asarray(image)


@dataclass(frozen=True)
class Tile:
    """A picture uint8 [H, W, 3] of a sheet with a line below it."""

    picture: Picture
    caption: str = ""


@dataclass(frozen=True)
class Scale:
    """What the colours of a sheet mean.

    Attributes:
        bound: value at the end of the palette.
        signed: from ``-bound`` to ``bound`` in :data:`SIGNED`; otherwise from 0 to ``bound`` in :data:`HEAT`.
    """

    bound: float
    signed: bool = True


def draw_sheet(
    tiles: Sequence[Tile], *, side: int, columns: int, title: str, notes: Sequence[str] = (), scale: Scale | None = None
) -> Image.Image:
    """Tiles in rows, each enlarged until its longer side is about ``side``, under a title and above notes and the scale.

    Small pictures are enlarged by a whole factor with visible pixels, so that every number keeps its own square.
    """
    font, small = ImageFont.load_default(14), ImageFont.load_default(11)
    columns = min(columns, len(tiles))
    shown = [_fit(tile.picture, side) for tile in tiles]
    width, height = max(image.width for image in shown), max(image.height for image in shown)
    caption = LINE if any(tile.caption for tile in tiles) else 0
    foot = LINE * len(notes) + (SCALE_HEIGHT + LINE + GAP if scale else 0)
    rows = -(-len(tiles) // columns)
    top = MARGIN + LINE + GAP
    room = max(columns * (width + GAP) - GAP, SCALE_WIDTH + 120)
    title_lines, note_lines = _wrapped(title, font, room), [line for note in notes for line in _wrapped(note, small, room)]
    top += LINE * (len(title_lines) - 1)
    foot += LINE * (len(note_lines) - len(notes))
    sheet = Image.new("RGB", (room + 2 * MARGIN, top + rows * (height + caption + GAP) + foot + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(title_lines):
        draw.text((MARGIN, MARGIN - 4 + LINE * number), line, INK, font)
    for place, (image, tile) in enumerate(zip(shown, tiles, strict=True)):
        left, up = MARGIN + place % columns * (width + GAP), top + place // columns * (height + caption + GAP)
        sheet.paste(image, (left, up))
        draw.text((left, up + height + 1), _shortened(tile.caption, small, width), MUTED, small)
    below = top + rows * (height + caption + GAP) + GAP
    for line in note_lines:
        draw.text((MARGIN, below), line, MUTED, small)
        below += LINE
    if scale is not None:
        _draw_scale(sheet, scale, (MARGIN, below), small)
    return sheet


def _draw_scale(sheet: Image.Image, scale: Scale, corner: tuple[int, int], font: Any) -> None:
    (left, top), draw = corner, ImageDraw.Draw(sheet)
    ends = (-scale.bound if scale.signed else 0.0, scale.bound)
    ramp = np.linspace(*ends, SCALE_WIDTH)[None].repeat(SCALE_HEIGHT, axis=0)
    colored = color_signed(ramp, scale.bound) if scale.signed else color_heat(ramp, scale.bound)
    low, high = f"{ends[0]:.3g}", f"{ends[1]:.3g}"
    left += round(font.getlength(low)) + GAP
    draw.text((corner[0], top - 2), low, INK, font)
    sheet.paste(Image.fromarray(colored), (left, top))
    draw.rectangle((left - 1, top - 1, left + SCALE_WIDTH, top + SCALE_HEIGHT), outline=MUTED)
    draw.text((left + SCALE_WIDTH + GAP, top - 2), high, INK, font)
    if scale.signed:
        middle = left + SCALE_WIDTH // 2
        draw.line((middle, top + SCALE_HEIGHT, middle, top + SCALE_HEIGHT + 4), INK)
        draw.text((middle - 3, top + SCALE_HEIGHT + 3), "0", INK, font)


def _fit(picture: Picture, side: int) -> Image.Image:
    image = Image.fromarray(picture)
    longer = max(image.size)
    if longer > side:
        size = (max(1, round(image.width * side / longer)), max(1, round(image.height * side / longer)))
        return image.resize(size, Image.Resampling.BOX)
    factor = max(1, side // longer)
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _wrapped(text: str, font: Any, room: int) -> list[str]:
    lines, held = [""], text.replace(" %", "\u00a0%")
    for word in held.split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        if font.getlength(longer) <= room or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return [line.replace("\u00a0", " ") for line in lines]


def _shortened(text: str, font: Any, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def write_png(path: Path, picture: Picture | Image.Image) -> Path:
    """Writes a PNG whole or not at all, and returns its path. Raises :class:`~striate.errors.Failed` where the disk refuses."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    with replacing(path, "the picture") as file:
        file.write(buffer.getvalue())
    return path
