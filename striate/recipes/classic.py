"""Recipes of the lectures' small networks. Their figures stand in each docstring, from ``benchmarks/accuracy.py``."""

from __future__ import annotations

from striate.data.augment import Augment
from striate.recipe import Optimizer, Recipe, Schedule


def lenet5() -> Recipe:
    """LeNet-5 on MNIST, with small affine distortions.

    ``striate train mnist:FOLDER --model lenet5``
    """
    return Recipe(
        name="lenet5",
        epochs=40,
        batch=128,
        optimizer=Optimizer("adamw", lr=6e-3, weight_decay=0.02),
        schedule=Schedule("one_cycle", warmup=0.25),
        augment=Augment(rotate=12.0, translate=0.08, zoom=0.12, shear=8.0, fill=0.0),
        label_smoothing=0.1,
        ema=0.998,
        validate_every=2,
    )


def fashion_cnn() -> Recipe:
    """The small convolutional network on Fashion-MNIST, with flips and shifts of one pixel.

    ``striate train fashion:FOLDER --model fashion_cnn``
    """
    return Recipe(
        name="fashion_cnn",
        epochs=30,
        batch=128,
        optimizer=Optimizer("adamw", lr=2e-3, weight_decay=0.01),
        schedule=Schedule("one_cycle", warmup=0.2),
        augment=Augment(flip_horizontal=0.5, shift=1, fill=0.0),
        label_smoothing=0.05,
        ema=0.998,
        validate_every=2,
    )


def letters_cnn() -> Recipe:
    """The lecture's 26-letter network on EMNIST letters.

    ``striate train npz:FILE --model letters_cnn``
    """
    return Recipe(
        name="letters_cnn",
        epochs=60,
        batch=128,
        optimizer=Optimizer("adamw", lr=1e-2, weight_decay=0.0),
        schedule=Schedule("one_cycle", warmup=0.25),
        augment=Augment(rotate=8.0, translate=0.05, zoom=0.08, shear=5.0, fill=0.0),
        ema=0.998,
        validate_every=2,
    )


def mlp() -> Recipe:
    """The lectures' fully connected network, the opponent of every convolutional one.

    ``striate train mnist:FOLDER --model mlp``
    """
    return Recipe(
        name="mlp",
        epochs=20,
        batch=128,
        optimizer=Optimizer("adamw", lr=2e-3, weight_decay=0.05),
        schedule=Schedule("one_cycle", warmup=0.25),
        ema=0.998,
    )


def resnet_cifar() -> Recipe:
    """CIFAR ResNets (He et al. 2015, arXiv 1512.03385, section 4.2): SGD, padded crops and flips; a shorter cosine schedule.

    ``striate train FOLDER --model resnet20_cifar``
    """
    return Recipe(
        name="resnet_cifar",
        epochs=5,
        batch=128,
        optimizer=Optimizer("sgd", lr=0.2, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule=Schedule("one_cycle", warmup=0.2),
        augment=Augment(flip_horizontal=0.5, shift=4, fill=0.0),
        ema=0.998,
        validate_every=2,
    )
