"""Which part of an image one number of a network depends on: what it can see, and what it looks at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.errors import Refused
from striate.look.field_reads import Region, reads
from striate.look.pixel_accounts import Position
from striate.look.recording import Call, Recorder, Slot, Stopped
from striate.torch_network import evaluating

Box = tuple[tuple[int, int], ...]
"""Half-open (first, last + 1) in each dimension of an image behind its channels: rows and columns, or one, or three."""

NOT_IN = 1 - 0.9545
"""A pixel counts as looked at from this share of the strongest on: two standard deviations of a Gaussian away."""


@dataclass(frozen=True)
class EffectiveField:
    """How much each pixel of the image counts for one number.

    Attributes:
        heat: [H, W]: mean over the images of the absolute gradient, summed over the channels; its sum is 1, or 0 where the number
            depends on no pixel (a ReLU that is off in all images).
        size: side in pixels of a square with as many pixels as are looked at.
        box: what the number can see.
        inside: share of ``heat`` within it: 1, unless the box is wrong.
        share: pixels that are looked at over those of the box.
    """

    heat: NDArray[np.float64]
    size: float
    box: Box | None
    inside: float
    share: float


def read_box(calls: Sequence[Call], number: int, output: int, unit: Position, image: int = 0) -> Box | None:
    """The smallest box of the image that holds every pixel which a number may depend on; None: it depends on none.

    Args:
        calls: of a run that kept its numbers.
        number: of the call that the number comes out of.
        output: which output.
        unit: its position there, with the batch.
        image: which of the images.
    """
    regions: dict[Slot, Region] = {Slot(number, output): tuple((at, at + 1) for at in unit)}
    for place in range(number, -1, -1):
        for slot in [slot for slot in regions if slot.call == place and calls[place].inputs]:
            for source, region in _read_from(calls, slot, regions.pop(slot)):
                regions[source] = _around(regions[source], region) if source in regions else region
    return regions[Slot(image, 0)][2:] if Slot(image, 0) in regions else None


def _read_from(calls: Sequence[Call], slot: Slot, region: Region) -> Iterator[tuple[Slot, Region]]:
    call = calls[slot.call]
    tensors = [calls[source.call].values[source.output] for source in call.inputs]
    for source, part in zip(call.inputs, reads(call, tensors, slot.output, region), strict=True):
        if part is not None and all(first < stop for first, stop in part):
            yield source, part


def _around(first: Region, second: Region) -> Region:
    return tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(first, second, strict=True))


def effective_field(
    network: nn.Module, images: Sequence[Tensor], number: int, output: int, unit: Position, box: Box | None
) -> EffectiveField:
    """The gradient of one number with respect to the image, averaged over images.

    Source: W. Luo et al., "Understanding the effective receptive field in deep convolutional neural networks", NIPS 2016,
    arXiv:1701.04128, section 3; a pixel is looked at from 1 - 95.45 % of the strongest on (section 4.1).

    Args:
        network: it runs in evaluation mode, as far as that number.
        images: [1, C, H, W] each.
        number, output, unit: of the number, as in :func:`read_box`.
        box: what it can see.

    Raises:
        Refused: the image has no gradient, or is no picture.
    """
    if images[0].dim() != 4 or not images[0].is_floating_point():
        raise Refused("An effective receptive field is drawn on a picture", why=f"the input is {list(images[0].shape)}")
    heat = np.zeros(tuple(images[0].shape[2:]))
    for image in images:
        # A copy, which a network may change in place.
        pixels = image.detach().clone().requires_grad_()
        recorder = Recorder(network, fields=False, until=number)
        with torch.enable_grad(), evaluating(network):
            try:
                recorder.run([pixels.clone()])
            except Stopped:
                result = recorder.reached[output][unit]
                found = torch.autograd.grad(result, pixels, allow_unused=True)[0] if result.requires_grad else None
            else:
                raise Refused("The network took another way for this image", why="its control flow depends on the image")
        if found is not None:
            heat += found[0].abs().sum(0).double().cpu().numpy()
    looked_at = int((heat > NOT_IN * heat.max()).sum())
    whole = float(heat.sum())
    heat /= whole or 1.0
    inside = float(heat[tuple(slice(*side) for side in box)].sum()) if box else 0.0
    area = prod(stop - first for first, stop in box) if box else 0
    return EffectiveField(heat, sqrt(looked_at), box, inside, looked_at / area if area else 0.0)
