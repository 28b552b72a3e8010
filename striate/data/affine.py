"""Moving pictures: one affine map an image, one resample a batch, applied alike to images, masks and boxes.

A map is [2, 3], from a pixel position of the output to one of the source: (x, y, 1) -> (x, y). A bend, [2, KNOTS, KNOTS],
moves output positions before the map, each pixel with the knots of a net around it (a cubic B-spline). Positions are continuous:
pixel i covers i to i + 1 and has its centre at i + 0.5. All of it works on images as they are held, uint8 in canvases
[N, C, H, W] whose top left corner (``extent``, [N, 2] heights and widths) is the picture.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = 255
"""The mask value of a pixel without truth: what lies outside the picture has none, also where the image repeats its edge."""

KNOTS = 7
"""Knots a side of the net that a bend moves: four cells of it span the image, and a cubic spline reaches one beyond."""

# A bilinear tap blends 2 x 2 source pixels, so taps this far apart still touch every pixel between them.
_MAX_SPACING = 1.25
# Floats held at once: on a CPU what fits its caches (fresh memory is slower than arithmetic), elsewhere what fills the device.
_CHUNK_BYTES = {"cpu": 8 << 20}
_DEVICE_CHUNK_BYTES = 1 << 30

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


def compose(
    window: Floats,
    size: tuple[int, int],
    *,
    flip_x: Array | float = 0,
    flip_y: Array | float = 0,
    shear: Array | float = 0.0,
    rotate: Array | float = 0.0,
    zoom: Array | float = 1.0,
    shift: Array | float = 0.0,
) -> Floats:
    """Maps [N, 2, 3] that scale a window to ``size``, then flip, shear, rotate, zoom and shift it there, in this order.

    Args:
        window: [N, 4] left, top, width, height in source pixels.
        size: (height, width) of the output.
        flip_x, flip_y: [N] true to mirror left-right, top-bottom.
        shear, rotate: [N] radians, about the centre; positive rotation is anticlockwise as seen.
        zoom: [N] factor, above 1 enlarges.
        shift: [N, 2] (x, y) output pixels.
    """
    height, width = size
    left, top, window_width, window_height = window.T
    cos, sin, tan = np.cos(rotate) / zoom, np.sin(rotate) / zoom, np.tan(shear)
    scale_x = window_width / width * np.where(flip_x, -1.0, 1.0)
    scale_y = window_height / height * np.where(flip_y, -1.0, 1.0)
    maps = np.empty((len(window), 2, 3))
    maps[:, 0, 0], maps[:, 0, 1] = scale_x * (cos - tan * sin), scale_x * (-sin - tan * cos)
    maps[:, 1, 0], maps[:, 1, 1] = scale_y * sin, scale_y * cos
    centre = np.array([width / 2, height / 2]) + np.broadcast_to(shift, (len(window), 2))
    middle = np.stack((left + window_width / 2, top + window_height / 2), axis=1)
    maps[:, :, 2] = middle - np.einsum("nij,nj->ni", maps[:, :, :2], centre)
    return maps


def invert(maps: Floats) -> Floats:
    """The maps [N, 2, 3] the other way, from source to output."""
    linear = np.linalg.inv(maps[:, :, :2])
    return np.concatenate((linear, -linear @ maps[:, :, 2:]), axis=2)


def resample(
    images: Tensor, maps: Floats, size: tuple[int, int], *, extent: Array | None = None, fill: float | None = None,
    bend: Floats | None = None,
) -> Tensor:  # fmt: skip
    """Bilinear, and averaged over as many evenly spaced taps an output pixel as the map shrinks: float32 [N, C, *size].

    Each image is computed from its own picture and map alone; canvas and batch reach it only through float rounding.

    Args:
        images: [N, C, H, W], uint8 or float32.
        maps: [N, 2, 3], output to source.
        extent: [N, 2] heights and widths of the pictures in their canvases; None: each fills its canvas.
        fill: value outside the picture; None: its edge, repeated.
        bend: [N, 2, KNOTS, KNOTS] (x, y) output pixels; None: the maps alone. It does not add taps.
    """
    num, channels, height, width = images.shape
    taps = np.ceil(np.maximum(np.hypot(maps[:, 0, :2], maps[:, 1, :2]) / _MAX_SPACING - 1e-9, 1)).astype(np.int64)
    output = torch.empty((num, channels, *size), device=images.device)
    budget = _CHUNK_BYTES.get(images.device.type, _DEVICE_CHUNK_BYTES)
    for taps_x, taps_y in np.unique(taps, axis=0).tolist():
        members = np.flatnonzero((taps == (taps_x, taps_y)).all(axis=1))
        bytes_each = 4 * (channels * height * width + (channels + 2) * taps_x * taps_y * size[0] * size[1])
        for chunk in np.array_split(members, -(-len(members) * bytes_each // budget)):
            # A slice is a view; a list of positions would copy.
            adjacent = len(chunk) == chunk[-1] - chunk[0] + 1
            where = slice(chunk[0], chunk[-1] + 1) if adjacent else torch.from_numpy(chunk).to(images.device)
            bounds = None if extent is None else extent[chunk]
            bent = None if bend is None else bend[chunk]
            part = _sample(images[where], maps[chunk], size, (taps_y, taps_x), bounds, fill, bent)
            if len(chunk) == num:
                return part
            output[where] = part
    return output


def resample_mask(
    mask: Tensor, maps: Floats, size: tuple[int, int], *, extent: Array | None = None, bend: Floats | None = None
) -> Tensor:
    """The nearest label [N, *size] int64 for masks [N, H, W]; :data:`IGNORE` outside the picture."""
    shifted = _cleared(mask[:, None].float() - IGNORE, extent)
    grid = _grid(maps, size, (1, 1), (mask.shape[1], mask.shape[2]), mask.device, bend)
    nearest = F.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return (nearest[:, 0] + IGNORE).long()


def map_boxes(
    boxes: list[Tensor], labels: list[Tensor], maps: Floats, size: tuple[int, int], *, min_side: float = 1.0
) -> tuple[list[Tensor], list[Tensor]]:
    """The boxes around the mapped corners, clipped to the output; those under ``min_side`` pixels go, with their labels.

    Args:
        boxes: one [M, 4] xyxy in source pixels an image.
        labels: one [M] an image.
    """
    counts = [len(each) for each in boxes]
    if not sum(counts):
        return boxes, labels
    joined = torch.cat(boxes)
    forward = torch.from_numpy(invert(maps).repeat(counts, axis=0)).to(joined.device)
    corners_x, corners_y = joined[:, [0, 2, 0, 2]].double(), joined[:, [1, 1, 3, 3]].double()
    x = forward[:, 0, 0, None] * corners_x + forward[:, 0, 1, None] * corners_y + forward[:, 0, 2, None]
    y = forward[:, 1, 0, None] * corners_x + forward[:, 1, 1, None] * corners_y + forward[:, 1, 2, None]
    x, y = x.clamp(0, size[1]), y.clamp(0, size[0])
    mapped = torch.stack((x.amin(1), y.amin(1), x.amax(1), y.amax(1)), dim=1).to(joined.dtype)
    keep = torch.split((mapped[:, 2:] - mapped[:, :2] >= min_side).all(dim=1), counts)
    return (
        [each[kept] for each, kept in zip(torch.split(mapped, counts), keep, strict=True)],
        [each[kept] for each, kept in zip(labels, keep, strict=True)],
    )


def move(images: Tensor, flip_x: Array, flip_y: Array, shift: Array, fill: float | None = None) -> Tensor:
    """Flips, then shifts by whole pixels: values are moved, none is computed. Shape and dtype stay.

    Args:
        images: [N, C, H, W].
        flip_x, flip_y: bool [N].
        shift: int [N, 2] (x, y).
        fill: value outside the picture; None: its edge, repeated.
    """
    num, channels, height, width = images.shape
    x, y = np.arange(width) - shift[:, :1], np.arange(height) - shift[:, 1:]
    from_x, from_y = x.clip(0, width - 1), y.clip(0, height - 1)
    outside_x, outside_y = from_x != x, from_y != y
    from_x, from_y = np.where(flip_x[:, None], width - 1 - from_x, from_x), np.where(flip_y[:, None], height - 1 - from_y, from_y)
    positions = torch.from_numpy((from_y[:, :, None] * width + from_x[:, None, :]).reshape(num, 1, -1)).to(images.device)
    moved = images.reshape(num, channels, -1).gather(2, positions.expand(-1, channels, -1)).view(images.shape)
    if fill is not None and shift.any():
        outside = torch.from_numpy(outside_y[:, None, :, None] | outside_x[:, None, None, :]).to(images.device)
        moved = moved.masked_fill(outside, fill)
    return moved


def _sample(
    images: Tensor, maps: Floats, size: tuple[int, int], taps: tuple[int, int], extent: Array | None, fill: float | None,
    bend: Floats | None,
) -> Tensor:  # fmt: skip
    canvas = (images.shape[2], images.shape[3])
    grid = _grid(maps, size, taps, canvas, images.device, bend)
    pixels = images.float()
    if fill is None:
        if extent is not None:
            _clamp(grid, extent, canvas)
        sampled = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    else:
        # Zero padding, of values counted from the fill, blends the border pixels with it.
        sampled = F.grid_sample(_cleared(pixels - fill, extent), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if taps != (1, 1):
        sampled = F.avg_pool2d(sampled, taps)
    return sampled if fill is None else sampled.add_(fill)


def _grid(
    maps: Floats, size: tuple[int, int], taps: tuple[int, int], canvas: tuple[int, int], device: torch.device, bend: Floats | None
) -> Tensor:
    """Where each tap reads, float32 [N, h * taps, w * taps, 2], with the canvas running from -1 to 1."""
    # Products by broadcasting: a matrix product would lose bits where TF32 or bf16 is allowed.
    unit = np.array([[2 / canvas[1]], [2 / canvas[0]]])
    scaled = torch.from_numpy((maps * unit - [[0, 0, 1]]).astype(np.float32)).to(device)[:, :, :, None, None]
    y = ((torch.arange(size[0] * taps[0], device=device) + 0.5) / taps[0])[:, None]
    x = (torch.arange(size[1] * taps[1], device=device) + 0.5) / taps[1]
    if bend is not None:
        moves = _moves(bend, (len(y), len(x)), device)
        x, y = x + moves[:, 0], y + moves[:, 1]
    grid = torch.empty((len(maps), size[0] * taps[0], size[1] * taps[1], 2), device=device)
    for axis in (0, 1):
        torch.add(scaled[:, axis, 0] * x, scaled[:, axis, 1] * y + scaled[:, axis, 2], out=grid[..., axis])
    return grid


def _moves(bend: Floats, size: tuple[int, int], device: torch.device) -> Tensor:
    """What a bend adds to each position: float32 [N, 2, *size], (x, y) output pixels."""
    rows, columns = (torch.from_numpy(_spline(length)).to(device) for length in size)
    # TF32's ten bits are a thousandth of a move: no matrix product needs more here.
    moves: Tensor = rows @ torch.from_numpy(bend.astype(np.float32)).to(device) @ columns.T
    return moves


@lru_cache(maxsize=64)
def _spline(length: int) -> npt.NDArray[np.float32]:
    """What each knot gives to each of ``length`` positions: float32 [length, KNOTS], a uniform cubic B-spline."""
    place = (np.arange(length) + 0.5) / length * (KNOTS - 3)
    cell = place.astype(np.int64)
    t = place - cell
    shares = np.stack(((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3), axis=1) / 6
    weights = np.zeros((length, KNOTS), dtype=np.float32)
    weights[np.arange(length)[:, None], cell[:, None] + np.arange(4)] = shares
    return weights


def _clamp(grid: Tensor, extent: Array, canvas: tuple[int, int]) -> None:
    """Keeps taps between the centres of each picture's outermost pixels, in place."""
    sides = np.array([canvas[1], canvas[0]])
    low = torch.from_numpy((1 / sides - 1).astype(np.float32)).to(grid.device)
    high = torch.from_numpy(((2 * extent[:, ::-1] - 1) / sides - 1).astype(np.float32)).to(grid.device)
    torch.clamp(grid, low.expand(len(grid), 1, 1, 2), high[:, None, None, :], out=grid)


def _cleared(pixels: Tensor, extent: Array | None) -> Tensor:
    """``pixels`` [N, C, H, W] with zeros outside each picture."""
    if extent is None:
        return pixels
    bounds = torch.from_numpy(np.asarray(extent)).to(pixels.device)[:, :, None, None, None]
    rows = torch.arange(pixels.shape[2], device=pixels.device)[:, None] >= bounds[:, 0]
    columns = torch.arange(pixels.shape[3], device=pixels.device) >= bounds[:, 1]
    return pixels.masked_fill_(rows | columns, 0)
