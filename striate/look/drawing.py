"""The pictures of ``striate look``, each a file of its own and the maps side by side on one sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from striate.columns import times
from striate.errors import Failed, StriateError
from striate.look.explanations import EXPLANATIONS
from striate.look.inspection import Inspection
from striate.look.maps import feature_sheet, filters_picture
from striate.look.pictures import (
    Picture,
    Tile,
    Values,
    as_rgb,
    bound_of,
    color_heat,
    color_signed,
    draw_box,
    draw_sheet,
    lay_heat,
    lay_signed,
    write_png,
)
from striate.prediction import Model

MAPS = ("grad_cam", "occlusion", "saliency", "integrated_gradients")
"""Of ``EXPLANATIONS``, those that are drawn. The others rectify what they pass back, and draw much the same for any weights."""

COARSE = ("grad_cam", "occlusion")
"""Maps that are laid over the photo: their own detail is too coarse to recognise it by."""

TILE = 288
"""Side of a picture on the overview."""


@dataclass(frozen=True)
class Drawn:
    """A file that was written, and what it shows."""

    path: Path
    shows: str


class Drawing:
    """Draws one picture in one network.

    Args:
        model: of a torch network.
        pixels: uint8 [H, W, C], what the network reads.
        normal: the same normalised, [1, C, H, W].
        target: the class to explain.
        folder: for the files.

    Attributes:
        files: in the order in which they were written; the overview first.
        notes: what could not be drawn, and why.
    """

    def __init__(self, model: Model, pixels: NDArray[np.uint8], normal: Tensor, target: int, folder: Path) -> None:
        self.model, self.pixels, self.normal, self.target, self.folder = model, pixels, normal, target, folder
        self.files: list[Drawn] = []
        self.notes: list[str] = []
        self._tiles: list[Tile] = []

    def attempt(self, step: Callable[[], None]) -> None:
        """What a network cannot be asked (Grad-CAM without a map) is noted, and the rest goes on."""
        try:
            step()
        except Failed:
            raise
        except StriateError as error:
            self.notes.append(f"{error.what}{f': {error.why}' if error.why else ''}")

    def input(self) -> None:
        """The picture as the network reads it."""
        height, width, channels = self.pixels.shape
        self._write("input", as_rgb(self.pixels), f"what the network reads: {times((channels, height, width))}")
        self._tiles.append(Tile(as_rgb(self.pixels), "what the network reads"))

    def explanation(self, name: str) -> None:
        """One of ``EXPLANATIONS`` for the target."""
        way = EXPLANATIONS[name]
        values: Values = way.explain(self.model.module, self.normal, self.target).float().numpy()
        bound = bound_of(values) if name not in COARSE else float(np.abs(values).max()) or 1.0
        if name in COARSE:
            picture = (lay_signed if way.signed else lay_heat)(self.pixels, values, bound)
        else:
            picture = (color_signed if way.signed else color_heat)(values, bound)
        scale = f"-{bound:.3g} to {bound:.3g}" if way.signed else f"0 to {bound:.3g}"
        if not values.any():
            scale = "0 everywhere"
            self.notes.append(f"{way.title} is 0 everywhere: nothing that it looks at speaks for this class")
        self._write(name, picture, f"{way.title} ({way.source}), {scale}")
        self._tiles.append(Tile(picture, f"{way.title}, {scale}"))

    def features(self, inside: Inspection, node: str) -> None:
        """The maps of a layer."""
        values = inside.values(node)
        sheet = feature_sheet(values, f"{node}: {inside.graph.find(node).label}, {times(tuple(values.shape))}")
        self._write("features", sheet, f"the maps of {node}")

    def filters(self) -> None:
        """The kernels of the first convolution."""
        self._write("filters", filters_picture(self.model.module), "the filters of the first convolution")

    def receptive_field(self, inside: Inspection, node: str, unit: Sequence[int]) -> None:
        """What one unit can see, framed, and how much each pixel counts for it."""
        field = inside.effective_field(node, unit)
        heat: Values = np.sqrt(field.heat)  # few pixels count most: on a straight scale nothing else would be seen
        picture = lay_heat(self.pixels, heat, bound_of(heat))
        if field.box is not None:
            (top, bottom), (left, right) = field.box
            picture = draw_box(picture, (top, bottom), (left, right))
        self._write("receptive_field", picture, f"what unit {','.join(map(str, unit))} of {node} sees, and what counts for it")
        self._tiles.append(Tile(picture, "what the unit sees, and what counts for it"))

    def overview(self, title: str) -> None:
        """All maps side by side."""
        named = f" for {self.model.classes[self.target]}" if self.model.classes else ""
        notes = [
            f"Maps{named}. Blue or light speaks for it, orange against it. Coarse maps lie over the photo, fine ones stand alone."
        ]
        sheet = draw_sheet(self._tiles, side=TILE, columns=3, title=title, notes=notes)
        self._write("overview", sheet, "the maps side by side", first=True)

    def _write(self, name: str, picture: Picture | Image.Image, shows: str, first: bool = False) -> None:
        drawn = Drawn(write_png(self.folder / f"{name}.png", picture), shows)
        self.files.insert(0 if first else len(self.files), drawn)
