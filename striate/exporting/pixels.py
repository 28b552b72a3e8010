"""The preprocessing as part of a graph: Pillow's resize as two matrix products, in its own fixed-point arithmetic.

A graph's ``Resize`` with antialias is not the same everywhere (OpenVINO ignores that flag without a word), and none rounds
between its two passes as Pillow does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from striate.data.preprocess import Preprocess

LUMA = (19595, 38470, 7471)
"""Red, green and blue in grey, of 65536: ITU-R 601-2 as Pillow rounds it."""


class Pixels(nn.Module):
    """Whole pictures -> what the network reads, as :meth:`Preprocess.pixels` makes it.

    Every number that depends on the pictures' size is computed from their shape in the graph, and no size is baked in.
    """

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        self.preprocess = preprocess

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [N, H, W, 3] RGB (4: RGBA, for models of four channels) -> uint8 [N, C, h, w]."""
        rows, columns = torch.ones_like(images[0, :, 0, 0]).int(), torch.ones_like(images[0, 0, :, 0]).int()
        height, width = self._resized(rows.sum(dtype=torch.int32), columns.sum(dtype=torch.int32))
        x = _grey(images) if self.preprocess.channels == 1 else images
        x = x.permute(0, 3, 1, 2).float()
        across = self._weights(columns, width, self.preprocess.size[1])
        down = self._weights(rows, height, self.preprocess.size[0])
        x = _shifted(*(x @ across.T).chunk(2, dim=3))
        return _shifted(*(down @ x).chunk(2, dim=2)).to(torch.uint8)

    def _resized(self, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`Preprocess.resized`, on tensors."""
        preprocess = self.preprocess
        if preprocess.resize is None:
            return _number(preprocess.size[0]), _number(preprocess.size[1])
        least = preprocess.resized(1, 1 << 20)[0], preprocess.resized(1 << 20, 1)[1]
        wide = least[0] * width >= least[1] * height
        scaled_height = torch.div(height * least[1], width, rounding_mode="floor")
        scaled_width = torch.div(width * least[0], height, rounding_mode="floor")
        return torch.where(wide, _number(least[0]), scaled_height), torch.where(wide, scaled_width, _number(least[1]))

    def _weights(self, ones: Tensor, resized: Tensor, size: int) -> Tensor:
        """[2 * size, length]: how much each of ``length`` pixels is part of each of the middle ``size`` of ``resized`` ones.

        In units of 2**-11, rounded down, and below these what is left of them in units of 2**-22, as :func:`_shifted` adds
        them up. Positions are counted in half pixels from the middle of the picture: integers, whose products float32 holds
        exactly wherever a weight is not zero (while ``size`` times the length stays below 2**24), at any length of the rest.
        """
        had = ones.sum(dtype=torch.int32)
        source = 2 * ones.cumsum(0, dtype=torch.int32) - 1 - had
        place = torch.ones(size, dtype=torch.int32).cumsum(0, dtype=torch.int32) - 1
        place = place + torch.div(resized - size, 2, rounding_mode="trunc")
        target = 2 * place + 1 - resized
        apart = (source.float()[None] * resized.float() - (target.float() * had.float())[:, None]).abs()
        reach = (2 * torch.maximum(had, resized)).float()
        weights = _bicubic(apart / reach) if self.preprocess.interpolation == "bicubic" else (reach - apart).clamp(min=0)
        fixed = _fixed_point(weights, weights.sum(1, keepdim=True))
        within = (place >= 0) & (place < resized)
        fixed = torch.where(within[:, None], fixed, torch.zeros_like(fixed))  # outside: the black border
        coarse = (fixed / 2048).floor()
        return torch.cat((coarse, fixed - 2048 * coarse))


def example_pictures(preprocess: Preprocess) -> Tensor:
    """What :class:`Pixels` takes: uint8 [2, H, W, 3], of no size that the model has itself, lest an exporter mix them up."""
    height, width = preprocess.size
    return torch.zeros(2, height + 13, width + 6, max(3, preprocess.channels), dtype=torch.uint8)


def _fixed_point(weights: Tensor, total: Tensor) -> Tensor:
    """``weights / total`` as Pillow holds it: in units of 2**-22, rounded to the nearest.

    float32 has too few bits for that; the remainder of its quotient, which is exact where ``total`` is an integer below
    2**13, gives the last of them. Where colours lie in the middle between two levels, and among small pictures they often do,
    these decide.
    """
    units = (weights / total * 4194304).floor()
    coarse = (units / 2048).floor()
    rest = (weights * 2048 - coarse * total) * 2048 - (units - 2048 * coarse) * total
    return units + (rest / total + 0.5).floor()


def _shifted(coarse: Tensor, fine: Tensor) -> Tensor:
    """Sums of pixels in the two units of :meth:`Pixels._weights` -> levels, rounded half up and within 0..255.

    Both are integers below 2**24 (for up to 32 pixels a sum; beyond, all but the last bits), so that float32 holds them exactly
    in whatever order a machine adds them.
    """
    return ((coarse + (fine / 2048).floor() + 1024) / 2048).floor().clamp(0, 255)


def _number(value: int) -> Tensor:
    return torch.tensor(value, dtype=torch.int32)


def _bicubic(distance: Tensor) -> Tensor:
    """Keys' kernel with a = -1/2 (IEEE Trans. ASSP 29, 1981, equation 4 with its lowest error), as Pillow has it."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))


def _grey(images: Tensor) -> Tensor:
    """uint8 [N, H, W, 3] -> [N, H, W, 1], to the bit as Pillow does."""
    weighted = (images.int() * torch.tensor(LUMA, dtype=torch.int32)).sum(3, keepdim=True, dtype=torch.int32)
    return torch.div(weighted + 32768, 65536, rounding_mode="floor")
