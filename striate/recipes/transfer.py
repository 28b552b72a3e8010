"""The lectures' three regimes of transfer learning (part 4), for networks that begin with weights of another task."""

from __future__ import annotations

from dataclasses import replace

from striate.data.augment import Augment
from striate.recipe import FineTune, Optimizer, Recipe, Schedule


def transfer_small() -> Recipe:
    """Small data: the network stays as it is, and its last layer alone is solved (:mod:`striate.linear_probe`), on each picture
    and its mirror image.

    ``striate train DATA --model NAME --weights imagenet --regime small``
    """
    return Recipe(name="transfer_small", epochs=1, batch=32, augment=Augment(flip_horizontal=0.5))


def transfer_mid() -> Recipe:
    """Mid-size data: the early layers stay, the later ones go on learning at small rates from the solved head.

    ``striate train DATA --model NAME --weights imagenet --regime mid``
    """
    return Recipe(
        name="transfer_mid",
        epochs=10,
        batch=32,
        optimizer=Optimizer("adamw", lr=2e-4, weight_decay=0.05),
        schedule=Schedule("one_cycle", warmup=0.2),
        augment=Augment(flip_horizontal=0.5, crop_scale=(0.5, 1.0)),
        fine_tune=FineTune(freeze="early", rate_decay=0.6),
        label_smoothing=0.05,
        ema=0.98,
        clip=5.0,
        validate_start=True,
    )


def transfer_enough() -> Recipe:
    """Enough data: the weights are a starting point, and everything learns, the earlier the slower.

    ``striate train DATA --model NAME --weights imagenet --regime enough``
    """
    base = transfer_mid()
    augment = replace(base.augment, crop_scale=(0.35, 1.0), brightness=0.2, contrast=0.2, saturation=0.2)
    return replace(base, name="transfer_enough", epochs=20, augment=augment, fine_tune=FineTune(rate_decay=0.7), ema=0.99)
