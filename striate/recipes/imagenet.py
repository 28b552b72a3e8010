"""The ImageNet recipes of the networks' own papers.

Epochs, batch, rates, decay and augmentation are as published; each docstring names what was published and is not in the recipe.
None was run here on ImageNet: the figures that they reach are the papers', beside each network in ``striate zoo``. Rates belong
to the batch: with a smaller one, make both smaller by the same factor.

Common to all: a random crop is cut out of the whole picture by its share of the area, where the papers before GoogLeNet first
scale the shorter side; auxiliary classifiers, dropout, stochastic depth and initialisation are the network's, in its own file.
"PCA colours" is the shift along the principal components of ImageNet's colours of Krizhevsky et al. 2012, which
:class:`striate.data.augment.Augment` does not have. PyTorch's RMSprop adds ``eps`` to the root, TensorFlow's under it.
"""

from __future__ import annotations

from dataclasses import replace

from striate.data.augment import Augment
from striate.recipe import Optimizer, Recipe, Schedule


def _steps(every: float, factor: float, epochs: int, warmup: float = 0.0) -> Schedule:
    """The rate times ``factor`` after every so many epochs of ``epochs``, after ``warmup`` epochs of linear rise."""
    milestones = tuple(number * every / epochs for number in range(1, int(epochs / every) + 1) if number * every < epochs)
    return Schedule("step", warmup=warmup / epochs, milestones=milestones, gamma=factor)


def _square_crop(side: int, smallest: int, largest: int) -> Augment:
    """Flips, and crops of ``side`` pixels out of a picture whose shorter side is ``smallest`` to ``largest``."""
    return Augment(flip_horizontal=0.5, crop_scale=((side / largest) ** 2, (side / smallest) ** 2), crop_ratio=(1.0, 1.0))


_PLATEAU = Schedule("plateau", warmup=0.0, gamma=0.1, patience=5, final=1e-3)
"""A tenth of the rate, three times, when validation no longer improves: the papers watched it by eye, here for 5 epochs."""

_INCEPTION = Augment(flip_horizontal=0.5, crop_scale=(0.08, 1.0))
"""Flips, and crops of 8 to 100 % of the area (Szegedy et al. 2015, arXiv:1409.4842, section 6)."""

_TORCH = replace(_INCEPTION, brightness=0.4, contrast=0.4, saturation=0.4)
"""The same with the colour changes of facebook/fb.resnet.torch."""


def _sgd(lr: float, weight_decay: float, nesterov: bool = False) -> Optimizer:
    """SGD with momentum 0.9 that decays every parameter, as the frameworks of the time did."""
    return Optimizer("sgd", lr, 0.9, nesterov, weight_decay=weight_decay, decay_norms_and_biases=True)


def _rmsprop(lr: float, weight_decay: float, eps: float = 1e-3, momentum: float = 0.9) -> Optimizer:
    """RMSprop with TensorFlow's ``eps`` where the paper states none."""
    return Optimizer("rmsprop", lr, momentum, smoothing=0.9, eps=eps, weight_decay=weight_decay)


def alexnet() -> Recipe:
    """A. Krizhevsky et al., NIPS 2012, section 5. Without: PCA colours."""
    return Recipe(
        "alexnet", epochs=90, batch=128, optimizer=_sgd(0.01, 5e-4), schedule=_PLATEAU, augment=_square_crop(227, 256, 256)
    )


def zfnet() -> Recipe:
    """M. Zeiler, R. Fergus, arXiv:1311.2901, section 3.

    Without: the rescaling of first-layer filters whose root mean square exceeds 0.1; crops are random, not the ten of corners
    and centre. The paper states no weight decay: none here.
    """
    return replace(alexnet(), name="zfnet", epochs=70, optimizer=_sgd(0.01, 0.0), augment=_square_crop(224, 256, 256))


def vgg() -> Recipe:
    """K. Simonyan, A. Zisserman, arXiv:1409.1556, section 3.1: 74 epochs, sides jittered from 256 to 512.

    Without: PCA colours; the first four convolutions and the dense layers taken over from network A (the paper found
    Glorot's initialisation to do as well).
    """
    return replace(alexnet(), name="vgg", epochs=74, batch=256, optimizer=_sgd(0.01, 5e-4), augment=_square_crop(224, 256, 512))


def googlenet() -> Recipe:
    """C. Szegedy et al., arXiv:1409.4842, section 6: 4 % less every 8 epochs, averaged weights, crops of 8 to 100 %.

    The paper states no rate, batch, decay or length: those are BVLC's, whose Caffe model is the one published (0.01, 32, 2e-4,
    60 epochs). Without: asynchronous replicas, the photometric distortions of A. Howard, random interpolation.
    """
    return Recipe(
        "googlenet", epochs=60, batch=32, optimizer=_sgd(0.01, 2e-4), schedule=_steps(8, 0.96, 60), augment=_INCEPTION, ema=0.9999
    )


def inception_v3() -> Recipe:
    """C. Szegedy et al., arXiv:1512.00567, section 8: RMSprop with eps 1, 6 % less every 2 epochs, clipped at 2, 100 epochs.

    Weight decay is that of the published training code (4e-5), the crops are GoogLeNet's. Without: 50 replicas of 32 images
    each, asynchronous (the batch is one replica's).
    """
    return Recipe(
        "inception_v3",
        epochs=100,
        batch=32,
        optimizer=_rmsprop(0.045, 4e-5, eps=1.0, momentum=0.0),
        schedule=_steps(2, 0.94, 100),
        augment=_INCEPTION,
        label_smoothing=0.1,
        ema=0.9999,
        clip=2.0,
    )


def inception_v4() -> Recipe:
    """C. Szegedy et al., arXiv:1602.07261, section 4: as Inception v3, without clipping; 160 epochs (figure 24).

    Without: 20 replicas; the paper states no batch: 32.
    """
    return replace(inception_v3(), name="inception_v4", epochs=160, schedule=_steps(2, 0.94, 160), clip=None)


def inception_resnet() -> Recipe:
    """C. Szegedy et al., arXiv:1602.07261, section 4: as Inception v4."""
    return replace(inception_v4(), name="inception_resnet")


def xception() -> Recipe:
    """F. Chollet, arXiv:1610.02357, section 4: SGD at 0.045, 6 % less every 2 epochs, decay 1e-5, averaged weights.

    The paper states neither batch nor epochs: 32 images on each of its 60 devices, 120 epochs.
    """
    return Recipe(
        "xception",
        epochs=120,
        batch=1920,
        optimizer=_sgd(0.045, 1e-5),
        schedule=_steps(2, 0.94, 120),
        augment=_INCEPTION,
        ema=0.9999,
    )


def resnet() -> Recipe:
    """K. He et al., arXiv:1512.03385, section 3.4: 600,000 steps of 256 (120 epochs), sides of 256 to 480.

    Without: PCA colours.
    """
    return Recipe(
        "resnet", epochs=120, batch=256, optimizer=_sgd(0.1, 1e-4), schedule=_PLATEAU, augment=_square_crop(224, 256, 480)
    )


def resnext() -> Recipe:
    """S. Xie et al., arXiv:1611.05431, section 4: a tenth of the rate three times, pictures varied as in fb.resnet.torch.

    Without: PCA colours.
    """
    return replace(resnet(), name="resnext", epochs=100, schedule=_steps(30, 0.1, 100), augment=_TORCH)


def wide_resnet() -> Recipe:
    """S. Zagoruyko, N. Komodakis, arXiv:1605.07146, section 3.4: training of fb.resnet.torch, 90 epochs. Without: PCA colours."""
    return replace(resnext(), name="wide_resnet", epochs=90, schedule=_steps(30, 0.1, 90))


def se_resnet() -> Recipe:
    """J. Hu et al., arXiv:1709.01507, section 5: batch 1024, 0.6, a tenth every 30 of 100 epochs. Without: balanced sampling."""
    return replace(resnext(), name="se_resnet", batch=1024, optimizer=_sgd(0.6, 1e-4), augment=_INCEPTION)


def densenet() -> Recipe:
    """G. Huang et al., arXiv:1608.06993, section 4.2: 90 epochs, a tenth at 30 and 60, Nesterov. Without: PCA colours."""
    return replace(wide_resnet(), name="densenet", optimizer=_sgd(0.1, 1e-4, nesterov=True))


def mobilenet_v1() -> Recipe:
    """A. Howard et al., arXiv:1704.04861, section 3.2: trained as Inception v3, without smoothing and with milder crops.

    The paper states no figures: rate, schedule, decay and epochs are Inception v3's, and "limited small crops" is 50 % of the
    area or more. Without: no decay of the depthwise filters alone.
    """
    crops = replace(_INCEPTION, crop_scale=(0.5, 1.0))
    return replace(inception_v3(), name="mobilenet_v1", augment=crops, label_smoothing=0.0, clip=None)


def mobilenet_v2() -> Recipe:
    """M. Sandler et al., arXiv:1801.04381, section 6.1: RMSprop, 0.045, 2 % less an epoch, decay 4e-5, batch 96.

    Without: 16 asynchronous replicas (the batch is one's). The paper states no length, torchvision's is 300 epochs; the averaged
    weights, of which it is silent too, are those of its authors' code.
    """
    return Recipe(
        "mobilenet_v2",
        epochs=300,
        batch=96,
        optimizer=_rmsprop(0.045, 4e-5),
        schedule=_steps(1, 0.98, 300),
        augment=_INCEPTION,
        ema=0.9999,
    )


def mobilenet_v3() -> Recipe:
    """A. Howard et al., arXiv:1905.02244, section 6.1: batch 4096, 0.1, 1 % less every 3 epochs, decay 1e-5, averaged weights.

    The paper states no length: torchvision's 600 epochs.
    """
    return replace(
        mobilenet_v2(), name="mobilenet_v3", epochs=600, batch=4096, optimizer=_rmsprop(0.1, 1e-5), schedule=_steps(3, 0.99, 600)
    )


def squeezenet() -> Recipe:
    """F. Iandola et al., arXiv:1602.07360, and its published solver: 0.04 falling linearly, 170,000 steps of 512 (68 epochs)."""
    return Recipe(
        "squeezenet",
        epochs=68,
        batch=512,
        optimizer=_sgd(0.04, 2e-4),
        schedule=Schedule("linear", warmup=0.0, final=0.0),
        augment=_square_crop(227, 256, 256),
    )


def shufflenet_v2() -> Recipe:
    """N. Ma et al., arXiv:1807.11164, section 4, which trains as ShuffleNet v1 (arXiv:1707.01083, section 4).

    300,000 steps of 1024 (240 epochs), 0.5 falling linearly, decay 4e-5. "Less aggressive scale augmentation" is 20 % or more.
    """
    crops = replace(_INCEPTION, crop_scale=(0.2, 1.0))
    return replace(squeezenet(), name="shufflenet_v2", epochs=240, batch=1024, optimizer=_sgd(0.5, 4e-5), augment=crops)


def efficientnet() -> Recipe:
    """M. Tan, Q. Le, arXiv:1905.11946, section 5.2: RMSprop, 0.256, 3 % less every 2.4 epochs, decay 1e-5.

    Batch, 350 epochs, 5 of warm-up, smoothing and averaging are the published code's. Without: AutoAugment.
    """
    return Recipe(
        "efficientnet",
        epochs=350,
        batch=4096,
        optimizer=_rmsprop(0.256, 1e-5),
        schedule=_steps(2.4, 0.97, 350, warmup=5),
        augment=_INCEPTION,
        label_smoothing=0.1,
        ema=0.9999,
    )


def efficientnet_v2() -> Recipe:
    """M. Tan, Q. Le, arXiv:2104.00298, section 5.1. Without: progressive image sizes and dropout, RandAugment."""
    return replace(efficientnet(), name="efficientnet_v2")


def regnet() -> Recipe:
    """I. Radosavovic et al., arXiv:2003.13678, section 5 and appendix C: 100 epochs, 5 of warm-up, half a cosine, decay 5e-5.

    0.8 for a batch of 1024 (0.1 a GPU of 128); the larger networks took half of both. Without: PCA colours.
    """
    return Recipe(
        "regnet",
        epochs=100,
        batch=1024,
        optimizer=_sgd(0.8, 5e-5),
        schedule=Schedule("cosine", warmup=0.05, final=0.0),
        augment=_INCEPTION,
    )


def convnext() -> Recipe:
    """Z. Liu et al., arXiv:2201.03545, table 5: AdamW, 4e-3, batch 4096, 300 epochs, 20 of warm-up. Without: RandAugment."""
    return Recipe(
        "convnext",
        epochs=300,
        batch=4096,
        optimizer=Optimizer("adamw", 4e-3, weight_decay=0.05),
        schedule=Schedule("cosine", warmup=20 / 300, final=0.0),
        augment=replace(_INCEPTION, erase=0.25, mixup=0.8, cutmix=1.0),
        label_smoothing=0.1,
        ema=0.9999,
    )
