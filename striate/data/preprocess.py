"""The one way from a picture to what a network reads, the same in training, prediction, export and serving."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from striate.data.channels import Color, to_channels
from striate.data.decode import MAX_PIXELS, ImageError, decode
from striate.errors import Refused, UsageError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from striate.models.variant import Variant

Images = TypeVar("Images", NDArray[Any], "Tensor")

INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Preprocess:
    """Decode, resize, crop, normalise: everything that decides the numbers a network sees.

    The resize is Pillow's, on uint8: separable, its support scaled when shrinking, horizontal pass first, each pass rounded.

    Attributes:
        size: (height, width) in pixels of the result.
        resize: None: the picture is resized to ``size`` outright. Otherwise its shorter side becomes this many pixels, the
            longer one ``int(resize * longer / shorter)``, and the centre is cropped. For a ``size`` that is not square:
            the picture is scaled until it covers ``size`` times ``resize / min(size)``. Where ``resize`` is less than ``size``
            the picture lies in the middle of a black border, as LeNet-5's 28 x 28 digits do in 32 x 32.
        interpolation: ``bilinear`` or ``bicubic``.
        channels: 1 grey, 3 RGB, 4 RGBA (each resized on its own: colours are not weighted by alpha).
        mean, std: per channel, on the 0..1 scale.
        scale: what brings 0..255 to the scale of ``mean``.
        alpha_color: RGB under transparent pixels.
        exif: turn pictures as their EXIF orientation says.
        max_pixels: cap on a picture, and on what it is resized to before the crop.
        scaled_decode: let libjpeg shrink by 1/2, 1/4 or 1/8 while decoding, as far as the picture stays larger than the
            resize needs: faster, other pixels.
    """

    size: tuple[int, int]
    resize: int | None = None
    interpolation: str = "bilinear"
    channels: int = 3
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 1 / 255
    alpha_color: Color = (255, 255, 255)
    exif: bool = True
    max_pixels: int = MAX_PIXELS
    scaled_decode: bool = False

    def __post_init__(self) -> None:
        for name in ("size", "mean", "std", "alpha_color"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.size) != 2 or min(self.size) < 1:
            raise UsageError(f"preprocessing to a size of {self.size}", fix="give (height, width), both at least 1")
        if self.resize is not None and self.resize < 1:
            raise UsageError(f"preprocessing with resize={self.resize}", fix="give at least 1 pixel, or None")
        if self.interpolation not in INTERPOLATIONS:
            raise UsageError(f"interpolation {self.interpolation!r} is unknown", fix=nearest(self.interpolation, INTERPOLATIONS))
        if self.channels not in (1, 3, 4):
            raise UsageError(f"preprocessing to {self.channels} channels", fix="1 is grey, 3 is RGB, 4 is RGBA")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) == 1:
                object.__setattr__(self, name, values * self.channels)
            elif len(values) != self.channels:
                raise UsageError(
                    f"preprocessing with {len(values)} values of {name} for {self.channels} channels", fix="give one a channel"
                )
        if min(self.std) <= 0:
            raise UsageError(f"preprocessing with std={self.std}", why="it divides", fix="give values above 0")

    @staticmethod
    def for_variant(variant: Variant, size: tuple[int, int] | None = None, channels: int | None = None) -> Preprocess:
        """What a network of the zoo expects; at another ``size``, ``resize`` keeps its proportion.

        With other than the variant's own channels each gets the average of its ``mean`` and ``std``.
        """
        size, channels = size or variant.input_size, channels or variant.in_channels
        resize = variant.resize
        if resize is not None and size != variant.input_size:
            scaled = round(resize * min(size) / min(variant.input_size))
            # Rounding must make no border where the variant has none.
            resize = max(min(size), scaled) if resize >= min(variant.input_size) else max(1, scaled)
        mean, std = variant.mean, variant.std
        if channels != len(mean):
            mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
        return Preprocess(size, resize, variant.interpolation, channels, mean, std)

    def __call__(self, data: bytes | NDArray[np.uint8], name: str = "") -> NDArray[np.uint8]:
        """An encoded file, or a picture [H, W, C] -> uint8 [h, w, channels], not yet normalised.

        Raises:
            ImageError: the file cannot be read.
        """
        return self.pixels(self.picture(data, name), name)

    def picture(self, data: bytes | NDArray[np.uint8], name: str = "") -> NDArray[np.uint8]:
        """The whole picture, uint8 [H, W, channels]."""
        if isinstance(data, np.ndarray):
            return to_channels(data, self.channels, self.alpha_color)
        min_side = max(self._cover()) if self.scaled_decode else None
        return decode(
            data,
            self.channels,
            name=name,
            alpha_color=self.alpha_color,
            exif=self.exif,
            max_pixels=self.max_pixels,
            min_side=min_side,
        )

    def pixels(self, picture: NDArray[np.uint8], name: str = "") -> NDArray[np.uint8]:
        """uint8 [H, W, channels] of any size -> uint8 [h, w, channels]: resize, then the centre, or a black border."""
        height, width = self.resized(picture.shape[0], picture.shape[1])
        between = max(height, picture.shape[0])  # rows of the picture that only the horizontal pass has been over
        if between * width > self.max_pixels:
            why = f"its shape would make it {width} x {between} on the way; the cap is {self.max_pixels:,} pixels"
            raise ImageError("pixels", f"a picture of {picture.shape[1]} x {picture.shape[0]}", name=name, why=why, fix="crop it")
        return centred(self._resize(picture, height, width), self.size)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that a picture of ``height`` x ``width`` has between the resize and the crop."""
        if self.resize is None:
            return self.size
        cover_height, cover_width = self._cover()
        # In integers, for the longer side is cut, not rounded, and a product of floats may fall just short.
        if cover_height * width >= cover_width * height:
            return cover_height, width * cover_height // height
        return height * cover_width // width, cover_width

    def _cover(self) -> tuple[int, int]:
        """(height, width) that the resized picture covers: ``size`` enlarged so that its shorter side is ``resize``."""
        if self.resize is None:
            return self.size
        shorter = min(self.size)
        return -(-self.size[0] * self.resize // shorter), -(-self.size[1] * self.resize // shorter)

    def _resize(self, picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        if picture.shape[:2] == (height, width):
            return picture
        if self.channels == 4:
            # As RGBX: Pillow weights the colours of RGBA by alpha, which no matrix product in a graph does.
            image = Image.frombuffer(
                "RGBX", (picture.shape[1], picture.shape[0]), np.ascontiguousarray(picture), "raw", "RGBX", 0, 1
            )
        else:
            image = Image.fromarray(picture[:, :, 0] if self.channels == 1 else picture)
        # Two calls: one call of Pillow 13 begins with whichever pass leaves less to do, and other pixels come out.
        kind = INTERPOLATIONS[self.interpolation]
        resized = image.resize((width, image.height), kind).resize((width, height), kind)
        return np.asarray(resized).reshape(height, width, self.channels)

    def normalize(self, images: Images) -> Images:
        """[N, C, H, W] on 0..255, uint8 or float -> float32, ``(x * scale - mean) / std`` as one multiplication and one addition.

        A torch tensor gives a torch tensor on the same device, an array an array, equal bit for bit.
        """
        if isinstance(images, np.ndarray):
            factor, offset = _affine(self)
            result = images.astype(np.float32)
            result *= factor
            result += offset
            return result
        scale, shift = _torch_affine(self, str(images.device))
        result = images.to(dtype=scale.dtype, copy=True)
        if images.ndim == 4 and (pixels := result.permute(0, 2, 3, 1)).is_contiguous():
            # By rows of the picture: a loop over so few channels would be a quarter as fast.
            width = images.shape[3]
            pixels.flatten(2).mul_(scale.flatten().tile(width)).add_(shift.flatten().tile(width))
            return result
        return result.mul_(scale).add_(shift)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; :meth:`from_json` reads them back."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @staticmethod
    def from_json(record: dict[str, Any]) -> Preprocess:
        """Raises :class:`Refused` for fields this version does not know: they would change the pixels."""
        known = {field.name for field in fields(Preprocess)}
        if unknown := sorted(set(record) - known):
            raise Refused(
                f"preprocessing with unknown fields: {', '.join(unknown)}", fix="update striate to the version that wrote it"
            )
        return Preprocess(**record)

    def fingerprint(self) -> str:
        """Hex SHA-256 of every field."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


def centred(pictures: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The centre [..., h, w, C] of uint8 [..., H, W, C]; where there is less than ``size``, black around it."""
    for axis, wanted in zip((-3, -2), size, strict=True):
        had = pictures.shape[axis]
        if had < wanted:
            borders = [(0, 0)] * pictures.ndim
            borders[axis] = ((wanted - had) // 2, wanted - had - (wanted - had) // 2)
            pictures = np.pad(pictures, borders)
    top, left = (pictures.shape[-3] - size[0]) // 2, (pictures.shape[-2] - size[1]) // 2
    return np.ascontiguousarray(pictures[..., top : top + size[0], left : left + size[1], :])


@lru_cache(maxsize=16)
def _affine(preprocess: Preprocess) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factor and offset of :meth:`Preprocess.normalize`, float32 [C, 1, 1] each, from float64."""
    mean, std = np.array(preprocess.mean), np.array(preprocess.std)
    factor, offset = preprocess.scale / std, -mean / std
    return factor.astype(np.float32)[:, None, None], offset.astype(np.float32)[:, None, None]


@lru_cache(maxsize=16)
def _torch_affine(preprocess: Preprocess, device: str) -> tuple[Tensor, Tensor]:
    import torch

    factor, offset = (torch.from_numpy(array.copy()).to(device) for array in _affine(preprocess))
    return factor, offset
