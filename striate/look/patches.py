"""Which parts of which pictures excite a channel most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from striate.arithmetic import ReceptiveField
from striate.data.decode import ImageError
from striate.data.source import Source
from striate.errors import Refused, UsageError
from striate.look.pictures import PAPER, Tile, as_rgb, draw_sheet
from striate.look.target import beside_weights, layer_output
from striate.look.tracing import trace
from striate.picture_stream import stream_pictures
from striate.prediction import Model
from striate.prediction_inputs import read_input
from striate.torch_network import evaluating

Span = tuple[int, int]

OUTSIDE = (226, 224, 219)
"""Colour of what a patch at the border has beyond the image."""


@dataclass(frozen=True)
class Patch:
    """The part of a picture that excites a channel most.

    Attributes:
        index, key: of the picture in its source.
        value: what the channel puts out there.
        position: (row, column) in the channel's map; None for a neuron of a dense layer.
        rows, columns: half-open, of the part: its receptive field within the image that the network reads.
        picture: uint8 [h, w, C], that part.
    """

    index: int
    key: str
    value: float
    position: tuple[int, int] | None
    rows: Span
    columns: Span
    picture: NDArray[np.uint8]


def exciting_patches(
    model: Model,
    source: Source,
    layer: str,
    channels: Sequence[int],
    top: int = 9,
    *,
    indices: NDArray[np.int64] | None = None,
    batch: int = 32,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[int, list[Patch]]:
    """For each channel the pictures of a data set that excite it most, each cut to the part that the strongest number sees.

    Source: M. Zeiler, R. Fergus, arXiv:1311.2901, figure 2 (there the top nine).

    Args:
        model: its network, up to the layer, reads every picture once, whatever the number of channels.
        source: the pictures; their targets are not read.
        layer: path of a module.
        channels: of its output.
        top: pictures a channel, one part of each.
        indices: positions in the source; None: all.
        batch: images that the network takes at once.
        workers: decoding threads; None: one a core.
        progress: told the pictures done, and all.

    Returns:
        Channel -> its patches, the strongest first. A picture that cannot be read is left out.

    Raises:
        UsageError: no such layer or channel.
        Refused: there is no picture that can be read.
    """
    chosen = (np.arange(len(source)) if indices is None else indices).tolist()

    def read(i: int) -> NDArray[np.uint8]:
        return read_input(source.read(i), model.preprocess, source.key(i))

    peaks: list[_Peaks] = []
    done = 0
    for group in stream_pictures(chosen, read, batch, workers):
        good = [i for i, outcome in zip(group.items, group.outcomes, strict=True) if not isinstance(outcome, ImageError)]
        if group.images is not None:
            peaks.append(_peaks(good, _outputs(model, group.images, layer), layer, channels))
        done += len(group.items)
        progress(done, len(chosen))
    if not peaks:
        raise Refused("There is no picture that can be read", where=source.location)
    field = trace(model.module, (model.preprocess.channels, *model.preprocess.size)).find(layer).receptive_field
    indices_read = [i for each in peaks for i in each.indices]
    values, rows, columns = (torch.cat([getattr(each, name) for each in peaks]) for name in ("values", "rows", "columns"))
    patches: dict[int, list[Patch]] = {}
    for number, channel in enumerate(channels):
        patches[channel] = []
        for best in values[:, number].argsort(descending=True, stable=True)[:top].tolist():
            i, value = indices_read[best], float(values[best, number])
            position = (int(rows[best, number]), int(columns[best, number])) if peaks[0].is_map else None
            patches[channel].append(_cut(i, source.key(i), value, position, read(i), field))
    return patches


@dataclass(frozen=True)
class _Peaks:
    """The largest number of each wanted channel in some pictures, and where in the map it stands: [N, len(channels)] each."""

    indices: list[int]
    values: Tensor
    rows: Tensor
    columns: Tensor
    is_map: bool


def _outputs(model: Model, images: NDArray[np.uint8], layer: str) -> Tensor:
    module = model.module
    with torch.no_grad(), evaluating(module):
        return layer_output(module, beside_weights(module, model.preprocess.normalize(torch.from_numpy(images))), layer)


def _peaks(indices: list[int], outputs: Tensor, layer: str, channels: Sequence[int]) -> _Peaks:
    if outputs.ndim not in (2, 4):
        raise Refused(f"An output of {list(outputs.shape[1:])} has no channels of maps", where=layer, fix="name another layer")
    for channel in channels:
        if not 0 <= channel < outputs.shape[1]:
            raise UsageError(f"There is no channel {channel}", where=layer, fix=f"its channels are 0 to {outputs.shape[1] - 1}")
    values, places = outputs[:, list(channels)].flatten(2).max(dim=2) if outputs.ndim == 4 else (outputs[:, list(channels)],) * 2
    width = outputs.shape[3] if outputs.ndim == 4 else 1
    rows, columns = (each.long().cpu() for each in (places // width, places % width))
    return _Peaks(indices, values.float().cpu(), rows, columns, outputs.ndim == 4)


def _cut(
    index: int, key: str, value: float, position: Span | None, pixels: NDArray[np.uint8], field: ReceptiveField | None
) -> Patch:
    """The part of the pixels [h, w, C] that a number sees: all of them where its receptive field is not known."""
    rows, columns = (0, pixels.shape[0]), (0, pixels.shape[1])
    if position is not None and field is not None:
        rows, columns = (
            (max(0, first), min(size, end)) for (first, end), size in zip(field.part(*position), pixels.shape, strict=False)
        )
    return Patch(index, key, value, position, rows, columns, pixels[slice(*rows), slice(*columns)].copy())


def patches_sheet(patches: dict[int, list[Patch]], title: str) -> Image.Image:
    """A row a channel, the strongest first; below each patch what the channel puts out there."""
    everything = [each for found in patches.values() for each in found]
    size = tuple(max(each.picture.shape[axis] for each in everything) for axis in (0, 1))
    columns = max(map(len, patches.values()))
    tiles = []
    for channel, found in patches.items():
        tiles += [Tile(_framed(each, (size[0], size[1])), f"{channel}: {each.value:.3g}") for each in found]
        tiles += [Tile(np.full((*size, 3), PAPER, np.uint8))] * (columns - len(found))
    return draw_sheet(tiles, side=128, columns=columns, title=title)


def _framed(patch: Patch, size: Span) -> NDArray[np.uint8]:
    """The patch on a field of that size, at the edge where the image goes on."""
    framed = np.full((*size, 3), OUTSIDE, np.uint8)
    height, width = patch.picture.shape[:2]
    top, left = (
        room - had if span[0] == 0 else 0
        for room, had, span in zip(size, (height, width), (patch.rows, patch.columns), strict=True)
    )
    framed[top : top + height, left : left + width] = as_rgb(patch.picture)
    return framed
