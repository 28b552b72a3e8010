"""The record of how training images are varied. :mod:`striate.data.augmenter` does it; this file imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, fields

from striate.errors import UsageError

_GEOMETRIC = ("flip_horizontal", "flip_vertical", "rotate", "translate", "shift", "zoom", "shear", "elastic")
_PROBABILITIES = ("flip_horizontal", "flip_vertical", "erase")
_SHARES = ("brightness", "contrast", "saturation", "zoom", "translate", "elastic")


@dataclass(frozen=True)
class Augment:
    """How each training image is varied, anew every epoch. Everything is off by default.

    "+- x" means: drawn evenly from -x to x. Geometry composes into one map and one resample: the crop chooses a window of
    the picture, which is scaled to the training size and there flipped, sheared, rotated, zoomed and shifted about its
    centre, then bent, in this order. Values come after it, then erasing, then mixing.

    Attributes:
        flip_horizontal, flip_vertical: probability of mirroring left-right, top-bottom.
        crop_scale: (smallest, largest) share of the picture's area that is cut out and scaled to the training size
            (Szegedy et al. 2015, arXiv 1409.4842, section 6, has 0.08 to 1); None: the whole picture.
        crop_ratio: (smallest, largest) width / height of that cut-out, drawn log-evenly.
        rotate: +- degrees, anticlockwise.
        translate: +- share of the picture's side, each axis on its own.
        shift: +- whole pixels of the training image, each axis on its own; exact: nothing is resampled.
        zoom: +- share: the picture is enlarged by a factor of 1 - zoom to 1 + zoom.
        shear: +- degrees, horizontal.
        elastic: +- share of the side by which each knot of a net of 7 x 7 moves, the pixels between them smoothly with it
            (Simard, Steinkraus, Platt 2003, "Best practices for convolutional neural networks applied to visual document
            analysis": their sigma 4 and alpha 34 on 29 x 29 pixels are about 0.18 here). Not for boxes.
        brightness: +- share: values are multiplied by 1 - brightness to 1 + brightness.
        contrast: +- share: distances from the image's mean grey are multiplied.
        saturation: +- share: distances from each pixel's own grey are multiplied (nothing happens to one channel).
        erase: probability that a rectangle of 2 to 33 % of the area becomes one random colour (Zhong et al. 2017, arXiv
            1708.04896).
        mixup: alpha of Beta(alpha, alpha), which blends pairs of images and their labels (Zhang et al. 2017, arXiv
            1710.09412); 0: off.
        cutmix: alpha of Beta(alpha, alpha), which pastes a rectangle of one image into another and blends labels by area
            (Yun et al. 2019, arXiv 1905.04899); 0: off. With mixup too, a fair coin decides for each batch.
        fill: 0..255, what lies outside the picture; None: its edge, repeated.

    Raises:
        UsageError: a value outside its range.
    """

    flip_horizontal: float = 0.0
    flip_vertical: float = 0.0
    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    rotate: float = 0.0
    translate: float = 0.0
    shift: int = 0
    zoom: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    fill: float | None = None

    def __post_init__(self) -> None:
        for name in _PROBABILITIES:
            self._check(name, 0, 1, "a probability")
        for name in _SHARES:
            self._check(name, 0, 0.999 if name == "zoom" else 1, "a share")
        self._check("rotate", 0, 180, "degrees")
        self._check("shear", 0, 80, "degrees")
        self._check("shift", 0, float("inf"), "whole pixels")
        self._check("mixup", 0, float("inf"), "the alpha of a Beta distribution")
        self._check("cutmix", 0, float("inf"), "the alpha of a Beta distribution")
        if self.fill is not None:
            self._check("fill", 0, 255, "a pixel value, or None for the repeated edge")
        if self.crop_scale is not None and not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise UsageError("augment.crop_scale is (smallest, largest), 0 < smallest <= largest <= 1", where=self.crop_scale)
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise UsageError("augment.crop_ratio is (smallest, largest), 0 < smallest <= largest", where=self.crop_ratio)
        if self.shift != int(self.shift):
            raise UsageError(f"augment.shift is {self.shift}: not whole pixels", fix="Use augment.translate for shares.")

    def _check(self, name: str, low: float, high: float, meaning: str) -> None:
        value = getattr(self, name)
        if not low <= value <= high:
            raise UsageError(f"augment.{name} is {meaning} from {low:g} to {high:g}", where=f"augment.{name} = {value}")

    @property
    def exact(self) -> bool:
        """Whether geometry is at most flips and whole-pixel shifts: pixels move, and none is resampled."""
        return self.crop_scale is None and not (self.rotate or self.translate or self.zoom or self.shear or self.elastic)

    @property
    def windowed(self) -> bool:
        """Whether geometry is a window scaled to the training size, and flips of it."""
        flips = ("flip_horizontal", "flip_vertical")
        return self.crop_scale is not None and not any(getattr(self, name) for name in _GEOMETRIC if name not in flips)

    @property
    def recolors(self) -> bool:
        """Whether values change where they stand."""
        return bool(self.brightness or self.contrast or self.saturation or self.erase)

    @property
    def resamples(self) -> bool:
        """Whether geometry computes pixels anew, so that it is better done on whole pictures than on resized ones."""
        return self.geometric and not self.exact

    @property
    def geometric(self) -> bool:
        """Whether any pixel moves."""
        return self.crop_scale is not None or any(getattr(self, name) for name in _GEOMETRIC)

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are blended with one another, and their labels become soft."""
        return bool(self.mixup or self.cutmix)

    @property
    def any(self) -> bool:
        """Whether a training image may differ from the validation pixels of the same picture."""
        return any(getattr(self, field.name) for field in fields(self) if field.name not in ("crop_ratio", "fill"))
