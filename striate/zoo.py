"""Every network by name: building one, with weights or without, and counting what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from striate import arithmetic
from striate.errors import UsageError, nearest
from striate.layers import arithmetic_of
from striate.models import (
    alexnet,
    convnext,
    densenet,
    efficientnet,
    efficientnet_v2,
    fashion_cnn,
    googlenet,
    inception_v3,
    inception_v4,
    lenet,
    lenet_1998,
    letters_cnn,
    mlp,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    regnet,
    resnet,
    resnet_v2,
    resnext,
    se_resnet,
    shufflenet_v2,
    squeezenet,
    vgg,
    wide_resnet,
    xception,
    zfnet,
)
from striate.models.variant import Network, Variant
from striate.progress import Progress
from striate.published import find_published, is_tag, locate
from striate.weights import load_weights

MODELS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        *mlp.VARIANTS,
        *lenet.VARIANTS,
        *fashion_cnn.VARIANTS,
        *letters_cnn.VARIANTS,
        *lenet_1998.VARIANTS,
        *alexnet.VARIANTS,
        *zfnet.VARIANTS,
        *vgg.VARIANTS,
        *googlenet.VARIANTS,
        *inception_v3.VARIANTS,
        *inception_v4.VARIANTS,
        *xception.VARIANTS,
        *resnet.VARIANTS,
        *mobilenet_v2.VARIANTS,
        *efficientnet.VARIANTS,
        *efficientnet_v2.VARIANTS,
        *regnet.VARIANTS,
        *convnext.VARIANTS,
        *mobilenet_v3.VARIANTS,
        *mobilenet_v1.VARIANTS,
        *densenet.VARIANTS,
        *squeezenet.VARIANTS,
        *shufflenet_v2.VARIANTS,
        *resnext.VARIANTS,
        *wide_resnet.VARIANTS,
        *se_resnet.VARIANTS,
        *resnet_v2.VARIANTS,
    )
}


def find_variant(name: str) -> Variant:
    """The record of a network. Raises ``UsageError`` with the nearest name where there is none."""
    if name not in MODELS:
        raise UsageError(f"there is no network {name!r}", fix=nearest(name, MODELS))
    return MODELS[name]


def build(
    name: str,
    num_classes: int | None = None,
    in_channels: int | None = None,
    input_size: int | tuple[int, int] | None = None,
    weights: str | Path | None = None,
    progress: Progress | None = None,
) -> Network:
    """A network by name; what is None is the variant's own.

    Args:
        name: a key of ``MODELS``.
        num_classes: outputs.
        in_channels: of the images.
        input_size: (height, width) in pixels, or the side of a square. It sizes the first dense layer of a network whose
            head is sized by a flatten; others take any size from their ``min_size``.
        weights: a file, see :func:`striate.weights.load_weights`; or published ones: ``imagenet`` (the first that were
            published), ``imagenet-v2``, ``cifar10``, see :mod:`striate.published`.
        progress: told how far a download is.

    Raises:
        UsageError: an unknown name, or a number or size below the least that the network takes.
        Refused: the weights do not fit.
        Failed: published weights are not here, and cannot be downloaded.
    """
    variant = find_variant(name)
    num_classes = variant.num_classes if num_classes is None else num_classes
    in_channels = variant.in_channels if in_channels is None else in_channels
    if num_classes < 1 or in_channels < 1:
        raise UsageError(f"{name} cannot have {num_classes} classes and {in_channels} input channels; each must be at least 1")
    size = variant.input_size if input_size is None else arithmetic.pair(input_size, "input_size")
    if size[0] < variant.min_size[0] or size[1] < variant.min_size[1]:
        raise UsageError(
            f"{name} cannot read images of {size[0]} x {size[1]} pixels",
            why=f"its maps would shrink to nothing: it needs at least {variant.min_size[0]} x {variant.min_size[1]}",
            fix=f"take larger images (its own size is {variant.input_size[0]} x {variant.input_size[1]}) or a shallower network",
        )
    sized = {"input_size": size} if variant.fixed_size else {}
    network = variant.build(num_classes, in_channels, **sized, **variant.arguments)
    if weights is not None:
        load_weights(network, find_weights(name, weights, progress), name)
    return network


def find_weights(name: str, weights: str | Path, progress: Progress | None = None) -> Path:
    """The file of weights named as for :func:`build`; published ones are downloaded where they are not here."""
    return locate(find_published(name, str(weights)), progress) if is_tag(weights) else Path(weights)


@dataclass(frozen=True)
class Description:
    """What a network costs.

    Attributes:
        parameters: trainable or not, without buffers.
        macs: multiply-accumulates of its convolutions and dense layers for one image; FLOPs are twice that.
        uncounted: types of other layers with weight matrices, whose MACs are not in ``macs``; empty: the count is exact.
    """

    parameters: int
    macs: int
    uncounted: tuple[str, ...]


def describe(network: str | nn.Module, input_size: tuple[int, int] | None = None, in_channels: int | None = None) -> Description:
    """Parameters and MACs for one image of ``input_size`` pixels.

    A name is built and run on the meta device, in milliseconds; a module runs once on its own device, in evaluation mode.
    Size and channels that are None are the variant's own; a module of another make needs both.
    """
    if isinstance(network, str):
        variant = find_variant(network)
        input_size, in_channels = input_size or variant.input_size, in_channels or variant.in_channels
        with torch.device("meta"):
            network = build(network, in_channels=in_channels, input_size=input_size)
    if input_size is None or in_channels is None:
        raise UsageError("a module does not say what it reads", fix="give describe() its input_size and in_channels")
    macs = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        nonlocal macs
        layer, x = arithmetic_of(module), inputs[0]
        if isinstance(layer, arithmetic.Dense):
            macs += layer.macs((x.shape[-1], 1, 1)) * x[..., 0].numel()
        elif layer is not None:
            macs += layer.macs((x.shape[-3], x.shape[-2], x.shape[-1]))

    uncounted = set()
    hooks = []
    for module in network.modules():
        if arithmetic_of(module) is not None:
            hooks.append(module.register_forward_hook(count))
        elif any(sum(size > 1 for size in parameter.shape) > 1 for parameter in module.parameters(recurse=False)):
            uncounted.add(type(module).__name__)
    training = [module for module in network.modules() if module.training]
    like = next(network.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, in_channels, *input_size, device=like.device, dtype=like.dtype))
    finally:
        for hook in hooks:
            hook.remove()
        for module in training:
            module.training = True
    return Description(sum(p.numel() for p in network.parameters()), macs, tuple(sorted(uncounted)))
