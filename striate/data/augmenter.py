"""Varying training batches as an :class:`~striate.data.augment.Augment` says, on the device that trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from striate.data import affine, color, mixing, windows
from striate.data.augment import Augment
from striate.data.randomness import beta_quantile, bits, uniform
from striate.errors import UsageError

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
Batch = dict[str, Any]

# Windows tried a picture before the whole of it is taken, as far as the ratio allows (as torchvision's RandomResizedCrop).
_CROP_TRIES = 10
_LEAST_SIDE = 64
"""Training size from which on windows may be rounded to whole pixels of the picture, as torchvision's are at any size."""


class Augmenter:
    """A function of (batch, epoch): what is drawn depends on the seed, the epoch and each image's ``index`` alone.

    So an image comes out the same whatever batch, thread or process it is in; with mixup or CutMix its partner is one
    of the images that share its batch.

    Args:
        augment: what is varied, and how much.
        size: (height, width) of the images that come out, in pixels.
        seed: of all that is drawn.
        num_classes: of the soft labels that mixup and CutMix make; 0 for regression.
        resize: ``Preprocess.resize``: where ``crop_scale`` does not choose the window, whole pictures are scaled and cut
            as for validation; None: they are scaled to ``size`` outright.

    Raises:
        UsageError: mixup or CutMix for a task without classes.
    """

    def __init__(self, augment: Augment, size: tuple[int, int], seed: int, num_classes: int, resize: int | None = None) -> None:
        if augment.mixes and num_classes < 1:
            raise UsageError(
                "mixup and CutMix blend classes, and this task has none",
                where=f"augment.mixup = {augment.mixup}, augment.cutmix = {augment.cutmix}",
                fix="Set both to 0.",
            )
        self.augment, self.size, self.seed, self.num_classes, self.resize = augment, size, seed, num_classes, resize

    def __call__(self, batch: Batch, epoch: int) -> Batch:
        """A varied copy of ``batch``.

        Args:
            batch: ``image`` [N, C, H, W], uint8 or float32 on 0..255, and ``index`` [N]; with ``extent`` [N, 2] the
                images are whole pictures (heights and widths in the top left corner of the canvas), without it they
                have been through ``Preprocess.pixels``. ``mask``, ``boxes`` and ``box_label`` move along.
                ``occurrence`` [N], where an epoch draws an image more than once, tells its turns apart.
            epoch: from 0 or 1, as the caller counts.

        Returns:
            The batch with ``image`` [N, C, *size] on 0..255, uint8 where its values are whole and float32 elsewhere, without
            ``extent`` and ``occurrence``, ``label`` [N, num_classes] float32 where images are mixed. With nothing to do:
            ``batch`` itself.

        Raises:
            UsageError: mixing asked for with masks, boxes or numeric labels, elastic distortion with boxes.
        """
        image: Tensor = batch["image"]
        whole = "extent" in batch
        if not (self.augment.any or whole) and tuple(image.shape[2:]) == self.size:
            return batch
        index = batch["index"].cpu().numpy().astype(np.uint64)
        if "occurrence" in batch:
            index = index + (batch["occurrence"].cpu().numpy().astype(np.uint64) << np.uint64(40))
        result = {key: value for key, value in batch.items() if key not in ("extent", "occurrence")}
        extent = batch["extent"].cpu().numpy() if whole else None
        result |= self._moved(batch, index, epoch, extent)
        if self.augment.recolors or self.augment.mixes:
            result["image"] = self._recolored(result["image"].float(), index, epoch)
        if self.augment.mixes:
            result |= self._mixed(result, index, epoch)
        return result

    def _moved(self, batch: Batch, index: Array, epoch: int, extent: Array | None) -> Batch:
        """``image``, and where present ``mask``, ``boxes`` and ``box_label``, where geometry puts them."""
        augment, image, size = self.augment, batch["image"], self.size
        canvas = tuple(image.shape[2:])
        full = extent is None or bool((extent == canvas).all())
        draws = uniform(self.seed, epoch, index, "geometry", 9)
        signed = 2 * draws - 1
        flip_x, flip_y = draws[:, 0] < augment.flip_horizontal, draws[:, 1] < augment.flip_vertical
        shift = np.floor(draws[:, 2:4] * (2 * augment.shift + 1)).astype(np.int64) - augment.shift
        window = self._windows(index, epoch, extent, canvas)
        if self._only_cuts(batch):
            return {"image": windows.cut(image, window, size, flip_x, flip_y)}
        maps = affine.compose(
            window,
            size,
            flip_x=flip_x,
            flip_y=flip_y,
            shear=np.radians(augment.shear * signed[:, 4]),
            rotate=np.radians(augment.rotate * signed[:, 5]),
            zoom=1 + augment.zoom * signed[:, 6],
            shift=shift + augment.translate * signed[:, 7:9] * (size[1], size[0]),
        )
        bend = self._bend(index, epoch, batch)
        moved: Batch = {}
        if augment.exact and canvas == size and full and (window == (0, 0, size[1], size[0])).all():
            moved["image"] = affine.move(image, flip_x, flip_y, shift, augment.fill) if augment.geometric else image
            if "mask" in batch:
                moved["mask"] = affine.move(batch["mask"][:, None], flip_x, flip_y, shift, affine.IGNORE)[:, 0]
        else:
            bounds = None if full else extent
            moved["image"] = affine.resample(image, maps, size, extent=bounds, fill=augment.fill, bend=bend)
            if "mask" in batch:
                moved["mask"] = affine.resample_mask(batch["mask"], maps, size, extent=bounds, bend=bend)
        if "boxes" in batch:
            moved["boxes"], moved["box_label"] = affine.map_boxes(batch["boxes"], batch["box_label"], maps, size)
        return moved

    def _only_cuts(self, batch: Batch) -> bool:
        """Whether windows are all there is to do, and a CPU's own resize of bytes can do it: several times as fast as a map.

        Nothing here depends on which pictures share the batch, for the two ways differ in the last bits.
        """
        image = batch["image"]
        alone = self.augment.windowed and "mask" not in batch and "boxes" not in batch
        return alone and image.dtype == torch.uint8 and image.device.type == "cpu" and min(self.size) >= _LEAST_SIDE

    def _bend(self, index: Array, epoch: int, batch: Batch) -> Floats | None:
        """[N, 2, knots, knots] (x, y) by how many output pixels each knot of the elastic net is moved; None: off."""
        if not self.augment.elastic:
            return None
        if "boxes" in batch:
            raise UsageError("elastic distortion has no box to box", where="augment.elastic", fix="Set it to 0.")
        draws = uniform(self.seed, epoch, index, "elastic", 2 * affine.KNOTS**2).reshape(-1, 2, affine.KNOTS, affine.KNOTS)
        reach = self.augment.elastic * np.array([self.size[1], self.size[0]])
        return (2 * draws - 1) * reach[:, None, None]

    def _windows(self, index: Array, epoch: int, extent: Array | None, canvas: tuple[int, ...]) -> Floats:
        """[N, 4] left, top, width, height of what is cut out of each picture, in its pixels."""
        num = len(index)
        height, width = (np.full((2, num), np.array(canvas)[:, None]) if extent is None else extent.T).astype(np.float64)
        if self.augment.crop_scale is not None:
            draws = uniform(self.seed, epoch, index, "crop", 2 + 2 * _CROP_TRIES)
            return windows.draw(height, width, self.augment.crop_scale, self.augment.crop_ratio, draws)
        if extent is None or self.resize is None:
            return np.stack((np.zeros(num), np.zeros(num), width, height), axis=1)
        step = np.minimum(height / self.size[0], width / self.size[1]) * min(self.size) / self.resize
        sides = step[:, None] * (self.size[1], self.size[0])
        return np.concatenate(((np.stack((width, height), axis=1) - sides) / 2, sides), axis=1)

    def _recolored(self, image: Tensor, index: Array, epoch: int) -> Tensor:
        augment = self.augment
        if augment.brightness or augment.contrast or augment.saturation:
            signed = 2 * uniform(self.seed, epoch, index, "color", 3) - 1
            factors = 1 + signed * (augment.brightness, augment.contrast, augment.saturation)
            image = color.adjust(image, factors[:, 0], factors[:, 1], factors[:, 2])
        if augment.erase:
            draws = uniform(self.seed, epoch, index, "erase", 5 + image.shape[1])
            image = color.erase(image, draws[:, 0] < augment.erase, draws[:, 1:])
        return image

    def _mixed(self, batch: Batch, index: Array, epoch: int) -> Batch:
        """``image`` and soft ``label`` after mixup or CutMix; with both on, a coin tossed for the batch decides."""
        augment = self.augment
        unmixable = [key for key in ("mask", "boxes") if key in batch]
        if unmixable:
            raise UsageError(
                "mixup and CutMix blend the labels of whole images, and this batch has others",
                where=", ".join(unmixable),
                fix="Set augment.mixup and augment.cutmix to 0.",
            )
        labels = mixing.soft_labels(batch["label"], self.num_classes)
        words = bits(self.seed, epoch, index, "partner")
        partner = mixing.partners(words)
        draws = uniform(self.seed, epoch, index, "mix", 3)
        heads = bool(np.bitwise_xor.reduce(words) >> np.uint64(63))
        if augment.mixup and (heads or not augment.cutmix):
            image, label = mixing.mixup(batch["image"], labels, partner, beta_quantile(augment.mixup, draws[:, 0]))
        else:
            share = beta_quantile(augment.cutmix, draws[:, 0])
            image, label = mixing.cutmix(batch["image"], labels, partner, share, draws[:, 1:])
        return {"image": image, "label": label}
