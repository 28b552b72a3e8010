"""Where the pixels of a feature map lie on the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from striate.arithmetic import ReceptiveField
from striate.field_tracking import FieldTracker
from striate.watching import WatchedRun

Place = tuple[float, float]


@dataclass(frozen=True)
class Placement:
    """The grid of a map's pixels on the image, (vertical, horizontal), in image pixels from the middle of the first one.

    Each lies at the middle of its receptive field. With an odd kernel, padding and a stride the first lies at 0 and not half a
    stride within, as enlarging the map to the image would have it: behind MobileNet v2's five strides that is 15.5 pixels off.

    Attributes:
        first: of the first pixel.
        step: from one to the next.
    """

    first: Place
    step: Place

    @staticmethod
    def of(field: ReceptiveField) -> Placement:
        """That of a map whose pixels have this receptive field."""
        middles = tuple(offset + (size - 1) / 2 for offset, size in zip(field.offset, field.size, strict=True))
        return Placement((middles[0], middles[1]), (float(field.jump[0]), float(field.jump[1])))

    @staticmethod
    def spread(maps: tuple[int, int], image: tuple[int, int]) -> Placement:
        """A map of that size spread evenly over the image, where its receptive field is not known."""
        steps = tuple(pixels / cells for pixels, cells in zip(image, maps, strict=True))
        return Placement(((steps[0] - 1) / 2, (steps[1] - 1) / 2), (steps[0], steps[1]))

    def enlarge(self, values: Tensor, size: tuple[int, int]) -> Tensor:
        """A map [h, w] over the image [H, W]: its values at the middles of its pixels, level beyond the outer ones.

        Between them each value fades out as half a wave of the cosine, without the stars that straight lines make of a peak.
        """
        weights = []
        for first, step, cells, pixels in zip(self.first, self.step, values.shape, size, strict=True):
            at = ((torch.arange(pixels, dtype=torch.float64) - first) / step).clamp(0, cells - 1)
            grid = torch.arange(cells, dtype=torch.float64)
            distance = (at[:, None] - grid).abs().clamp(max=1)
            weights.append(((1 + torch.cos(torch.pi * distance)) / 2).to(values))
        return weights[0] @ values @ weights[1].T


class _GridTracker(FieldTracker):  # type: ignore[no-untyped-call]
    """Where a map is scaled by one number a channel (squeeze and excitation), its pixels stay where they are.

    Strictly each then sees the whole image, through that number.
    """

    def _combine(self, inputs: Sequence[Tensor], out: Tensor) -> None:
        maps = [each for each in inputs if each.shape[-2:] != (1, 1)]
        super()._combine(maps or inputs, out)


def place_map(module: nn.Module, image: tuple[int, int, int], maps: tuple[int, int]) -> Placement:
    """Where the pixels of a network's last map of size ``maps`` lie; spread evenly where that cannot be told.

    Args:
        module: run on a blank image where it is: the meta device would load half of PyTorch's compiler, which takes longer.
        image: (channels, height, width) that it reads.
    """
    run = WatchedRun(module, fields=_GridTracker())
    parameter = next(module.parameters(), None)
    try:
        run.start(image, "cpu" if parameter is None else str(parameter.device))
    except Exception:  # a network of the user's own may refuse one blank image
        return Placement.spread(maps, image[1:])
    found = [
        seen.receptive_field
        for seen in sorted(run.seen.values(), key=lambda seen: seen.order)
        if seen.output is not None and seen.output[1:] == maps and seen.receptive_field is not None
    ]
    known = [field for field in found if min(field.jump) > 0]
    return Placement.of(known[-1]) if known else Placement.spread(maps, image[1:])
