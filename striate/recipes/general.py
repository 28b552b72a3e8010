"""Recipes for any folder of images."""

from __future__ import annotations

from dataclasses import replace

from striate.data.augment import Augment
from striate.recipe import Optimizer, Recipe, Schedule


def fast() -> Recipe:
    """A sound first run on any images: AdamW, one cycle, moderate augmentation, weights averaged.

    ``striate train DATA``
    """
    return Recipe(
        name="fast",
        epochs=20,
        batch=64,
        optimizer=Optimizer("adamw", lr=1e-3, weight_decay=0.05),
        schedule=Schedule("one_cycle", warmup=0.25),
        augment=Augment(flip_horizontal=0.5, crop_scale=(0.35, 1.0), brightness=0.2, contrast=0.2, saturation=0.2),
        label_smoothing=0.1,
        ema=0.99,
        clip=5.0,
    )


def careful() -> Recipe:
    """``fast`` with five times the epochs, erasing and mixing: for the last points, when time does not matter.

    ``striate train DATA --recipe careful``
    """
    base = fast()
    return replace(base, name="careful", epochs=100, ema=0.998, augment=replace(base.augment, erase=0.1, mixup=0.1, cutmix=0.5))
