"""How far the outputs of each layer change as the image shifts by a few pixels: what pooling does for invariance, measured."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.columns import align, ruled
from striate.errors import Refused, UsageError
from striate.look.target import beside_weights, find_layer
from striate.torch_network import evaluating
from striate.watching import describe_layer

DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))


@dataclass(frozen=True)
class ShiftResponse:
    """What becomes of every layer's output as the image shifts.

    Attributes:
        shifts: in pixels.
        layers: paths of the modules, in the order in which they ran; ``input`` first, the image itself.
        descriptions: what each is.
        distances: [layers, shifts]: ``|b - a| / sqrt(|a|² + |b|²)`` of the outputs a before and b after, a mean over the images
            and four directions: 0 where nothing changed, 1 where the two have nothing in common.
    """

    shifts: tuple[int, ...]
    layers: tuple[str, ...]
    descriptions: tuple[str, ...]
    distances: NDArray[np.float64]

    def text(self) -> str:
        """A table, a line a layer."""
        rows = [("layer", "", *(f"{shift} px" for shift in self.shifts))]
        for layer, what, distances in zip(self.layers, self.descriptions, self.distances, strict=True):
            rows.append((layer, what, *(f"{distance:.3f}" for distance in distances)))
        return "\n".join(ruled(align(rows, right=range(2, 2 + len(self.shifts)))))


def shift_response(
    module: nn.Module, images: Tensor, shifts: Sequence[int] = (1, 2, 3, 4), layers: Sequence[str] | None = None
) -> ShiftResponse:
    """Shifts the image up, down, left and right, and compares what each layer puts out at its first call.

    What enters at a border repeats the border's pixels. The idea is that of M. Zeiler, R. Fergus, arXiv:1311.2901, figure 5; its
    distances are not put in proportion.

    Args:
        module: any network of images; it is run in evaluation mode and left as it was.
        images: normalised, float [N, C, H, W] or [C, H, W].
        shifts: distances in pixels, each less than the image's sides.
        layers: paths of modules; None: every module without parts.

    Raises:
        UsageError: no such layer, or a shift out of the image.
        Refused: one of ``layers`` does not run.
    """
    images = images[None] if images.ndim == 3 else images
    if not shifts or min(shifts) < 0 or max(shifts) >= min(images.shape[2:]):
        raise UsageError(f"shifts by {', '.join(map(str, shifts))} pixels", fix=f"give 0 to {min(images.shape[2:]) - 1}")
    named = {path: each for path, each in module.named_modules() if path and next(each.children(), None) is None}
    if layers is not None:
        named = {path: find_layer(module, path) for path in layers}
    images = beside_weights(module, images)
    with torch.no_grad(), evaluating(module):
        before = {"input": images, **_outputs(module, images, named)}
        if missing := [path for path in layers or () if path not in before]:
            why = "the network calls it in training alone or not as a module, or it returns no tensor of numbers"
            raise Refused("A layer has no output to compare", where=missing[0], why=why)
        total = {path: np.zeros(len(shifts)) for path in before}
        for place, shift in enumerate(shifts):
            for rows, columns in DIRECTIONS:
                moved = shifted(images, shift * rows, shift * columns)
                after = {"input": moved, **_outputs(module, moved, named, before)}
                for path in before:
                    total[path][place] += _distance(before[path], after[path]) / len(DIRECTIONS)
    descriptions = ("", *(describe_layer(named[path]) for path in [*before][1:]))
    return ShiftResponse(tuple(shifts), tuple(before), descriptions, np.stack([*total.values()]))


def shifted(images: Tensor, rows: int, columns: int) -> Tensor:
    """[N, C, H, W] moved down by ``rows`` and right by ``columns``; the border's pixels are repeated where it came from."""
    sides = (max(columns, 0), max(-columns, 0), max(rows, 0), max(-rows, 0))
    height, width = images.shape[2:]
    top, left = max(-rows, 0), max(-columns, 0)
    return F.pad(images, sides, mode="replicate")[:, :, top : top + height, left : left + width]


def _outputs(module: nn.Module, images: Tensor, named: dict[str, nn.Module], wanted: Any = None) -> dict[str, Tensor]:
    """What each of the modules puts out at its first call, in the order of their runs; of ``wanted`` ones alone, if given."""
    found: dict[str, Tensor] = {}
    thread = threading.get_ident()
    hooks = []
    for path, each in named.items():
        if wanted is not None and path not in wanted:
            continue

        def keep(_module: nn.Module, _inputs: Any, output: Any, path: str = path) -> None:
            if (
                isinstance(output, Tensor)
                and output.is_floating_point()
                and path not in found
                and threading.get_ident() == thread
            ):
                found[path] = output.clone()  # what comes next may work in place

        hooks.append(each.register_forward_hook(keep))
    try:
        module(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _distance(first: Tensor, second: Tensor) -> float:
    """The mean over the images of the distance that :class:`ShiftResponse` tells; 0 where both are 0."""
    a, b = first.flatten(1).double(), second.flatten(1).double()
    norms = (a.square().sum(dim=1) + b.square().sum(dim=1)).sqrt()
    return float(((b - a).norm(dim=1) / norms.clamp(min=torch.finfo(torch.float64).tiny)).mean())
