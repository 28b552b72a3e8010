"""The same networks in Keras, on images [N, H, W, C] that are still 0..255: normalising is their first layer."""

from __future__ import annotations

from typing import Any

import keras  # type: ignore[import-not-found]

from benchmarks.peers import job as asked

layers: Any = keras.layers


def small_network(name: str) -> Any:
    """``lenet5`` or ``fashion_cnn`` for ten classes."""
    side, mean, std = asked.PIXELS[name]
    first = [keras.Input((side, side, 1)), layers.Rescaling(1 / (255 * std), -mean / std)]
    if name == "lenet5":
        return keras.Sequential(
            [
                *first,
                layers.Conv2D(6, 5, activation="tanh"), layers.AveragePooling2D(2),
                layers.Conv2D(16, 5, activation="tanh"), layers.AveragePooling2D(2),
                layers.Conv2D(120, 5, activation="tanh"), layers.Flatten(),
                layers.Dense(84, activation="tanh"), layers.Dense(10, dtype="float32"),
            ]
        )  # fmt: skip
    return keras.Sequential(
        [
            *first,
            layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(2), layers.Flatten(),
            layers.Dense(128, activation="relu"), layers.Dropout(0.25), layers.Dense(10, dtype="float32"),
        ]
    )  # fmt: skip


def large_network(name: str, num_classes: int, size: int, normalise: bool) -> Any:
    """MobileNet v2 is Keras's own; its ResNets are not torchvision's (the stride is elsewhere), so they are written here."""
    image = x = keras.Input((size, size, 3))
    if normalise:
        scale = [1 / (255 * std) for std in asked.IMAGENET_STD]
        x = layers.Rescaling(scale, [-mean / std for mean, std in zip(asked.IMAGENET_MEAN, asked.IMAGENET_STD, strict=True)])(x)
    if name == "mobilenet_v2":
        base = keras.applications.MobileNetV2((size, size, 3), include_top=False, weights=None, pooling="avg")
        x = layers.Dropout(0.2)(base(x))
    else:
        x = _resnet(x, *{"resnet18": ((2, 2, 2, 2), False), "resnet50": ((3, 4, 6, 3), True)}[name])
    return keras.Model(image, layers.Dense(num_classes, dtype="float32")(x))


def _resnet(x: Any, depths: tuple[int, ...], bottleneck: bool) -> Any:
    x = _conv(layers.ZeroPadding2D(3)(x), 64, 7, 2, "valid")
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for stage, depth in enumerate(depths):
        for block in range(depth):
            stride = 2 if stage and not block else 1
            x = _block(x, 64 * 2**stage, stride, bottleneck)
    return layers.GlobalAveragePooling2D()(x)


def _block(x: Any, width: int, stride: int, bottleneck: bool) -> Any:
    outputs = 4 * width if bottleneck else width
    shortcut = x
    if stride > 1 or x.shape[-1] != outputs:
        shortcut = _conv(x, outputs, 1, stride, "valid", activation=False)
    if bottleneck:
        y = _conv(x, width, 1, 1, "valid")
        y = _conv(layers.ZeroPadding2D(1)(y), width, 3, stride, "valid")
        y = _conv(y, outputs, 1, 1, "valid", activation=False)
    else:
        y = _conv(layers.ZeroPadding2D(1)(x), width, 3, stride, "valid")
        y = _conv(y, outputs, 3, 1, "same", activation=False)
    return layers.ReLU()(layers.Add()([shortcut, y]))


def _conv(x: Any, filters: int, kernel: int, stride: int, padding: str, activation: bool = True) -> Any:
    x = layers.Conv2D(filters, kernel, stride, padding, use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
    return layers.ReLU()(x) if activation else x
