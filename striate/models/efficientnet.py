"""EfficientNet B0 to B7 (table 1, scaled in width, depth and resolution).

M. Tan, Q. Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019, arXiv:1905.11946. Its
MBConv is the inverted residual of MobileNet v2 (arXiv:1801.04381) with squeeze and excitation (arXiv:1709.01507) before the
last convolution, sized by the channels that enter the block.

Parameter names are torchvision's. Deviations, all as the published weights have them: convolutions pad the same on both sides,
where TensorFlow's "same" pads an even image more at its end; batch norms of B0 to B4 have PyTorch's epsilon 1e-5 and momentum
0.1, where the paper's and those of B5 to B7 have 1e-3 and 0.01; B2 reads 288 x 288 pixels, where the paper's read 260 x 260.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from striate.layers import ConvNormAct, SqueezeExcitation, StochasticDepth
from striate.models.variant import Network, PaperRow, Variant


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of ``divisor``, halves upwards, at least one of it; the next one where that loses over 10 %."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


Norm = Callable[[int], nn.Module]
"""A normalisation of so many channels."""


def mbconv(in_channels: int, out_channels: int, expansion: int, kernel: int, stride: int, norm: Norm) -> nn.Sequential:
    """1x1 up by ``expansion``, depthwise, squeeze and excitation, 1x1 down without an activation."""
    wide, conv = expansion * in_channels, partial(ConvNormAct, norm=norm, activation=nn.SiLU)
    block = nn.Sequential() if expansion == 1 else nn.Sequential(conv(in_channels, wide, 1))
    block.append(conv(wide, wide, kernel, stride, groups=wide))
    block.append(SqueezeExcitation(wide, in_channels // 4, nn.SiLU))
    return block.append(ConvNormAct(wide, out_channels, 1, norm=norm, activation=None))


class Residual(nn.Module):
    """A block, beside a shortcut where it keeps its input's shape; in training left out for a share of the images."""

    def __init__(self, block: nn.Sequential, shortcut: bool, drop: float) -> None:
        super().__init__()
        self.block, self.shortcut, self.stochastic_depth = block, shortcut, StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return self.stochastic_depth(y) + x if self.shortcut else y


class Stage(NamedTuple):
    """A row of the table: ``depth`` blocks of ``channels`` outputs, of which the first strides."""

    block: Callable[[int, int, int, int, int, Norm], nn.Sequential]
    expansion: int
    kernel: int
    stride: int
    channels: int
    depth: int


TABLE_1 = (
    Stage(mbconv, 1, 3, 1, 16, 1),
    Stage(mbconv, 6, 3, 2, 24, 2),
    Stage(mbconv, 6, 5, 2, 40, 2),
    Stage(mbconv, 6, 3, 2, 80, 3),
    Stage(mbconv, 6, 5, 1, 112, 3),
    Stage(mbconv, 6, 5, 2, 192, 4),
    Stage(mbconv, 6, 3, 1, 320, 1),
)


class EfficientNet(Network):
    """A strided stem, ``stages``, a 1x1 convolution to ``head`` channels; all are scaled by ``width``, stages by ``depth`` too.

    The share of images for which a block is left out grows linearly, from none towards 0.2 after the last.
    """

    def __init__(
        self, num_classes: int, in_channels: int, *, dropout: float, norm: Norm = nn.BatchNorm2d, width: float = 1,
        depth: float = 1, stages: Sequence[Stage] = TABLE_1, stem: int = 32, head: int = 1280,
    ) -> None:  # fmt: skip
        super().__init__()
        conv = partial(ConvNormAct, norm=norm, activation=nn.SiLU)
        channels, self.embedding_dim = round_channels(width * stem), round_channels(width * head)
        self.features = nn.Sequential(conv(in_channels, channels, 3, 2))
        self.channels, self.strides, self.stage_paths = (), (), {"stem": ("features.0",)}
        depths = [math.ceil(depth * stage.depth) for stage in stages]
        for stage, repeats in zip(stages, depths, strict=True):
            out_channels, blocks, before = round_channels(width * stage.channels), nn.Sequential(), len(self.features) - 1
            for index in range(repeats):
                stride = stage.stride if index == 0 else 1
                block = stage.block(channels, out_channels, stage.expansion, stage.kernel, stride, norm)
                drop = 0.2 * (sum(depths[:before]) + index) / sum(depths)
                blocks.append(Residual(block, stride == 1 and channels == out_channels, drop))
                channels = out_channels
            self.features.append(blocks)
            self._add_to_map(f"features.{before + 1}", channels, stage.stride)
        self.features.append(conv(channels, self.embedding_dim, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.embedding_dim, num_classes))
        self.head_path = "classifier.1"
        self.apply(self.initialize)

    def _add_to_map(self, path: str, channels: int, stride: int) -> None:
        """A stage that strides begins the next map, as the first one does; another one replaces the last map."""
        if self.channels and stride == 1:
            self.channels = (*self.channels[:-1], channels)
            self.stage_paths[str(len(self.channels))] += (path,)
        else:
            self.channels, self.strides = (*self.channels, channels), (*self.strides, 2 << len(self.strides))
            self.stage_paths[str(len(self.channels))] = (path,)

    def initialize(self, layer: nn.Module) -> None:
        """As the authors' code: He et al.'s normal by fan-out, a depthwise filter's own; the head uniform by its outputs."""
        if isinstance(layer, nn.Conv2d):
            fan_out = math.prod(layer.kernel_size) * layer.out_channels // layer.groups
            nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out))
        elif isinstance(layer, nn.Linear):
            bound = 1 / math.sqrt(layer.out_features)
            nn.init.uniform_(layer.weight, -bound, bound)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        return self.walk(x, self.stage_paths)

    def embed(self, x: Tensor) -> Tensor:
        pooled = self.avgpool(self.features[-1](self.feature_maps(x)[-1])).flatten(1)
        embedding: Tensor = self.classifier[0](pooled)
        return embedding


_row = partial(PaperRow, note="the table prints the resolution that a stage reads; its output is the next row's")
_TABLE_1_PRINTED = (
    _row("1: Conv3x3", "features.0", (32, 112, 112)),
    _row("2: MBConv1, k3x3", "features.1", (16, 112, 112)),
    _row("3: MBConv6, k3x3", "features.2", (24, 56, 56)),
    _row("4: MBConv6, k5x5", "features.3", (40, 28, 28)),
    _row("5: MBConv6, k3x3", "features.4", (80, 14, 14)),
    _row("6: MBConv6, k5x5", "features.5", (112, 14, 14)),
    _row("7: MBConv6, k5x5", "features.6", (192, 7, 7)),
    _row("8: MBConv6, k3x3", "features.7", (320, 7, 7)),
    PaperRow("9: Conv1x1 & Pooling & FC", "features.8", (1280, 7, 7), "the size before pooling"),
)


def _variant(
    name: str, width: float, depth: float, dropout: float, size: int, resize: int, top1: float, top5: float,
    *, norm: Norm = nn.BatchNorm2d, paper_size: int | None = None, paper_table: tuple[PaperRow, ...] = (),
) -> Variant:  # fmt: skip
    side = paper_size or size
    return Variant(
        name, EfficientNet, {"width": width, "depth": depth, "dropout": dropout, "norm": norm}, input_size=(size, size),
        resize=resize, interpolation="bicubic", recipe="efficientnet", year=2019,
        paper="M. Tan, Q. Le, EfficientNet, ICML 2019, arXiv:1905.11946", paper_table=paper_table,
        accuracy=f"top-1 {top1} %, top-5 {top5} % (ImageNet validation, one {side} x {side} crop)",
    )  # fmt: skip


_google = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
VARIANTS = (
    _variant("efficientnet_b0", 1.0, 1.0, 0.2, 224, 256, 77.1, 93.3, paper_table=_TABLE_1_PRINTED),
    _variant("efficientnet_b1", 1.0, 1.1, 0.2, 240, 256, 79.1, 94.4),
    _variant("efficientnet_b2", 1.1, 1.2, 0.3, 288, 288, 80.1, 94.9, paper_size=260),
    _variant("efficientnet_b3", 1.2, 1.4, 0.3, 300, 320, 81.6, 95.7),
    _variant("efficientnet_b4", 1.4, 1.8, 0.4, 380, 384, 82.9, 96.4),
    _variant("efficientnet_b5", 1.6, 2.2, 0.4, 456, 456, 83.6, 96.7, norm=_google),
    _variant("efficientnet_b6", 1.8, 2.6, 0.5, 528, 528, 84.0, 96.8, norm=_google),
    _variant("efficientnet_b7", 2.0, 3.1, 0.5, 600, 600, 84.3, 97.0, norm=_google),
)
