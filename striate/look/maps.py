"""What a layer puts out for an image, and what the first layer looks for, as pictures."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from striate.errors import Refused
from striate.look.inspection import Inspection
from striate.look.pictures import Scale, Tile, Values, bound_of, color_centred, color_signed, draw_sheet

SHOWN = 64
"""Channels or filters on a sheet; of more, those of the largest mean magnitude."""


def feature_maps(module: nn.Module, image: Tensor, layer: str) -> Tensor:
    """What a layer puts out for one image: [C, h, w] of a convolution, [K] of a dense layer.

    Args:
        module: any network; it is run in evaluation mode and left as it was.
        image: normalised, float [C, H, W] or [1, C, H, W].
        layer: a module's path or the name of any step of the graph, see :func:`striate.look.trace`.

    Raises:
        UsageError: no such layer.
    """
    inside = Inspection(module, image)
    return inside.values(inside.graph.find(layer).id)


def strongest(values: Tensor, count: int = SHOWN) -> list[int]:
    """The ``count`` channels of [C, ...] with the largest mean magnitude, in their own order."""
    means = values.abs().flatten(1).mean(dim=1)
    return sorted(means.argsort(descending=True, stable=True)[:count].tolist())


def feature_sheet(values: Tensor, title: str, count: int = SHOWN) -> Image.Image:
    """The channels of [C, h, w] side by side, on one scale for all of them; a vector [K] as one field of K squares.

    Raises:
        Refused: the layer puts out neither maps nor a vector.
    """
    if values.ndim not in (1, 3):
        raise Refused(f"An output of {list(values.shape)} is no picture", why="pictures are made of [C, H, W] and [K]")
    maps: Values = values.float().cpu().numpy()
    if values.ndim == 1:
        return _vector_sheet(maps, title)
    chosen = strongest(values, count)
    shown = maps[chosen]
    bound = bound_of(shown)
    tiles = [Tile(picture, str(k)) for k, picture in zip(chosen, color_signed(shown, bound), strict=True)]
    notes = [f"The {len(chosen)} of {len(maps)} channels with the largest mean magnitude."] if len(chosen) < len(maps) else []
    notes.append(_explained(shown, bound))
    side, columns = (112, 8) if max(shown.shape[1:]) > 16 else (64, 12)
    return draw_sheet(tiles, side=side, columns=columns, title=title, notes=notes, scale=Scale(bound))


def _vector_sheet(values: Values, title: str) -> Image.Image:
    columns = min(len(values), max(8, math.isqrt(len(values) - 1) + 1))
    rows = -(-len(values) // columns)
    bound = bound_of(values)
    padded = np.zeros(rows * columns, values.dtype)
    padded[: len(values)] = values
    tile = Tile(color_signed(padded.reshape(rows, columns), bound))
    notes = [f"{len(values)} numbers, row by row, {columns} in each.", _explained(values, bound)]
    return draw_sheet([tile], side=512, columns=1, title=title, notes=notes, scale=Scale(bound))


def _explained(values: Values, bound: float) -> str:
    beyond = float((np.abs(values) > bound * (1 + 1e-6)).mean())
    return "Blue is above 0, orange below." + (f" {100 * beyond:.1f} % of the values lie beyond the scale." if beyond else "")


def filters_picture(module: nn.Module, count: int = SHOWN) -> Image.Image:
    """The kernels of the first convolution: in colour where it reads three channels, mid-grey being 0; else signed.

    With other numbers of channels each row is a filter, each column a channel that it reads. One scale holds for all.

    Raises:
        Refused: the network has no convolution over images.
    """
    path, first = first_convolution(module)
    weights = first.weight.detach().float().cpu()
    chosen = strongest(weights, count)
    kernels: Values = weights[chosen].numpy()
    num_filters, num_channels = weights.shape[:2]
    size = "x".join(map(str, weights.shape[2:]))
    title = f"{path}: {num_filters} filters of {size} on {num_channels} channel{'s' * (num_channels != 1)}"
    notes = [f"The {count} of {num_filters} filters with the largest mean magnitude."] if num_filters > count else []
    bound = bound_of(kernels)
    if num_channels == 3:
        side_by_side = color_centred(kernels.transpose(1, 2, 0, 3).reshape(3, kernels.shape[2], -1))
        pictures = np.split(side_by_side, len(kernels), axis=1)
        tiles = [Tile(picture, str(k)) for k, picture in zip(chosen, pictures, strict=True)]
        notes.append(
            f"Weights on red, green and blue as colour: mid-grey is 0, black {-bound:.3g}, white {bound:.3g} in all three."
        )
        return draw_sheet(tiles, side=64, columns=12, title=title, notes=notes)
    if num_channels > 1:
        kernels = kernels[: max(1, count // 8), :8]
        notes = [
            f"Each row is a filter, each column a channel: {len(kernels)} of {num_filters}, {kernels.shape[1]} of {num_channels}."
        ]
        captions = [f"{k}, {channel}" for k in chosen[: len(kernels)] for channel in range(kernels.shape[1])]
    else:
        captions = [str(k) for k in chosen]
    colored = color_signed(kernels.reshape(-1, *kernels.shape[2:]), bound)
    tiles = [Tile(picture, caption) for picture, caption in zip(colored, captions, strict=True)]
    columns = kernels.shape[1] if num_channels > 1 else 12
    return draw_sheet(
        tiles, side=64, columns=columns, title=title, notes=[*notes, _explained(kernels, bound)], scale=Scale(bound)
    )


def first_convolution(module: nn.Module) -> tuple[str, nn.Conv2d]:
    """Path and layer of the first convolution over images, in the order of the modules. Raises ``Refused`` without one."""
    for path, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d) and not isinstance(layer.weight, torch.nn.UninitializedParameter):
            return path, layer
    raise Refused("The network has no convolution over images", where=type(module).__name__, why="there are no filters to show")
