"""Inception v4 (figure 9) and Inception-ResNet v2 (figure 15).

C. Szegedy, S. Ioffe, V. Vanhoucke, A. Alemi, "Inception-v4, Inception-ResNet and the impact of residual connections on learning",
AAAI 2017, arXiv:1602.07261.

Inception v4 is the paper's. Inception-ResNet v2 is that of the authors' published code and weights, which is not quite the
paper's: its stem is that of Inception v3 and one block more (320 channels at 35x35) instead of figure 3 (384), it has 10, 20
and 10 residual blocks instead of 5, 10 and 5, the last one without ReLU and unscaled, and a 1x1 convolution to 1536 channels
before the pool. The paper's own widths do not add up (1154 in figure 17 and 2048 in figure 19, where 1152 and 2144 channels
are concatenated), and the sizes that figure 15 prints are those of v1: so it has no table here. Residuals are scaled by 0.17,
0.10 and 0.20 (section 3.3 says 0.1 to 0.3). Initialisation is that code's.

Names are timm's. Average pools leave the padding out of their means.
"""

from __future__ import annotations

from functools import partial
from math import prod, sqrt

import torch
from torch import Tensor, nn

from striate.layers import BasicConv2d
from striate.models.variant import Network, PaperRow, Variant

Filters = tuple[int, int | tuple[int, int]]
"""Output channels and kernel size of one convolution."""


def chain(in_channels: int, *filters: Filters, valid_stride: int | None = None) -> nn.Module:
    """Convolutions one after another that keep the size, or whose last one, of stride ``valid_stride``, does not pad."""
    layers: list[nn.Module] = []
    for number, (out_channels, kernel) in enumerate(filters, 1):
        shrinks = valid_stride is not None and number == len(filters)
        stride, padding = (valid_stride or 1, 0) if shrinks else (1, None)
        layers.append(BasicConv2d(in_channels, out_channels, kernel, stride, padding=padding))
        in_channels = out_channels
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def pool_and_project(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), BasicConv2d(in_channels, out_channels))


class Branches(nn.Module):
    """Modules side by side, their outputs concatenated; they are named ``branch0``, ``branch1``, ... or as told."""

    def __init__(self, *branches: nn.Module, names: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.names = names or tuple(f"branch{number}" for number in range(len(branches)))
        for name, branch in zip(self.names, branches, strict=True):
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.get_submodule(name)(x) for name in self.names], 1)


class Residual(Branches):
    """Branches, brought back to ``channels`` by a 1x1 convolution, scaled and added to the input (figures 16, 17 and 19)."""

    def __init__(self, channels: int, width: int, scale: float, *branches: nn.Module, relu: bool = True) -> None:
        super().__init__(*branches)
        self.scale, self.conv2d, self.relu = scale, nn.Conv2d(width, channels, 1), nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(x + self.scale * self.conv2d(super().forward(x)))
        return out


def inception_a() -> nn.Module:
    """Figure 4."""
    return Branches(
        chain(384, (96, 1)),
        chain(384, (64, 1), (96, 3)),
        chain(384, (64, 1), (96, 3), (96, 3)),
        pool_and_project(384, 96),
    )


def reduction_a(in_channels: int, k: int, l: int, m: int, n: int) -> nn.Module:  # noqa: E741
    """Figure 7, with the letters of table 1."""
    return Branches(
        chain(in_channels, (n, 3), valid_stride=2),
        chain(in_channels, (k, 1), (l, 3), (m, 3), valid_stride=2),
        nn.MaxPool2d(3, 2),
    )


def inception_b() -> nn.Module:
    """Figure 5."""
    return Branches(
        chain(1024, (384, 1)),
        chain(1024, (192, 1), (224, (1, 7)), (256, (7, 1))),
        chain(1024, (192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))),
        pool_and_project(1024, 128),
    )


def reduction_b() -> nn.Module:
    """Figure 8."""
    return Branches(
        chain(1024, (192, 1), (192, 3), valid_stride=2),
        chain(1024, (256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3), valid_stride=2),
        nn.MaxPool2d(3, 2),
    )


class InceptionC(nn.Module):
    """Figure 6: two branches end in 1x3 and 3x1 side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.branch0 = BasicConv2d(1536, 256)
        self.branch1_0 = BasicConv2d(1536, 384)
        self.branch1_1a, self.branch1_1b = BasicConv2d(384, 256, (1, 3)), BasicConv2d(384, 256, (3, 1))
        self.branch2_0 = BasicConv2d(1536, 384)
        self.branch2_1, self.branch2_2 = BasicConv2d(384, 448, (3, 1)), BasicConv2d(448, 512, (1, 3))
        self.branch2_3a, self.branch2_3b = BasicConv2d(512, 256, (1, 3)), BasicConv2d(512, 256, (3, 1))
        self.branch3 = pool_and_project(1536, 256)

    def forward(self, x: Tensor) -> Tensor:
        one = self.branch1_0(x)
        two = self.branch2_2(self.branch2_1(self.branch2_0(x)))
        wide = [self.branch1_1a(one), self.branch1_1b(one), self.branch2_3a(two), self.branch2_3b(two)]
        return torch.cat([self.branch0(x), *wide, self.branch3(x)], 1)


def mixed_5b() -> nn.Module:
    """As figure 5 of Inception v3's paper; Inception-ResNet v2 alone has it."""
    return Branches(
        chain(192, (96, 1)),
        chain(192, (48, 1), (64, 5)),
        chain(192, (64, 1), (96, 3), (96, 3)),
        pool_and_project(192, 64),
    )


def residual_a() -> nn.Module:
    """Figure 16."""
    return Residual(320, 128, 0.17, chain(320, (32, 1)), chain(320, (32, 1), (32, 3)), chain(320, (32, 1), (48, 3), (64, 3)))


def residual_b() -> nn.Module:
    """Figure 17."""
    return Residual(1088, 384, 0.10, chain(1088, (192, 1)), chain(1088, (128, 1), (160, (1, 7)), (192, (7, 1))))


def residual_reduction_b() -> nn.Module:
    """Figure 18."""
    return Branches(
        chain(1088, (256, 1), (384, 3), valid_stride=2),
        chain(1088, (256, 1), (288, 3), valid_stride=2),
        chain(1088, (256, 1), (288, 3), (320, 3), valid_stride=2),
        nn.MaxPool2d(3, 2),
    )


def residual_c(scale: float = 0.20, relu: bool = True) -> nn.Module:
    """Figure 19."""
    sides = chain(2080, (192, 1)), chain(2080, (192, 1), (224, (1, 3)), (256, (3, 1)))
    return Residual(2080, 448, scale, *sides, relu=relu)


def stem(in_channels: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Three 3x3 convolutions: to 149, 147 and again 147 pixels from 299."""
    return BasicConv2d(in_channels, 32, 3, 2, padding=0), BasicConv2d(32, 32, 3, padding=0), BasicConv2d(32, 64, 3)


class Inception(Network):
    """What the two have in common: how they begin to train, and how they end."""

    global_pool: nn.Module
    head_drop: nn.Module

    def initialize(self, layer: nn.Module) -> None:
        """Convolutions: normal of variance about 2 / fan-in, cut at twice its deviation; the head: Glorot's uniform; biases 0."""
        if isinstance(layer, nn.Conv2d):
            std = sqrt(2 * 1.3 / prod(layer.weight.shape[1:]))  # 1.3 makes up for what the cut takes off the variance
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
        elif isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)

    def embed(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.head_drop(self.global_pool(self.feature_maps(x)[-1]))
        return embedding


class InceptionV4(Inception):
    """The stem of figure 3, then 4, 7 and 3 blocks with a reduction between."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        maxpool = nn.MaxPool2d(3, 2)
        self.features = nn.Sequential(
            *stem(in_channels),
            Branches(maxpool, BasicConv2d(64, 96, 3, 2, padding=0), names=("maxpool", "conv")),
            Branches(
                chain(160, (64, 1), (96, 3), valid_stride=1),
                chain(160, (64, 1), (64, (1, 7)), (64, (7, 1)), (96, 3), valid_stride=1),
            ),
            Branches(BasicConv2d(192, 192, 3, 2, padding=0), maxpool, names=("conv", "maxpool")),
            *(inception_a() for _ in range(4)),
            reduction_a(384, 192, 224, 256, 384),
            *(inception_b() for _ in range(7)),
            reduction_b(),
            *(InceptionC() for _ in range(3)),
        )
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head_drop, self.last_linear = nn.Dropout(0.2), nn.Linear(1536, num_classes)
        self.channels, self.strides = (192, 384, 1024, 1536), (4, 8, 16, 32)
        self.ends = (3, 5, 10, 18, 22)
        stages = zip((0, *self.ends), self.ends, strict=False)
        self.stage_paths = {
            str(stage or "stem"): tuple(f"features.{number}" for number in range(first, end))
            for stage, (first, end) in enumerate(stages)
        }
        self.head_path, self.embedding_dim = "last_linear", 1536
        self.apply(self.initialize)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        maps = []
        for number, block in enumerate(self.features, 1):
            x = block(x)
            if number in self.ends[1:]:
                maps.append(x)
        return maps


class InceptionResNetV2(Inception):
    """The stem of Inception v3 and one block, then 10, 20 and 10 residual blocks with a reduction between."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv2d_1a, self.conv2d_2a, self.conv2d_2b = stem(in_channels)
        self.maxpool_3a = nn.MaxPool2d(3, 2)
        self.conv2d_3b, self.conv2d_4a = BasicConv2d(64, 80), BasicConv2d(80, 192, 3, padding=0)
        self.maxpool_5a, self.mixed_5b = nn.MaxPool2d(3, 2), mixed_5b()
        self.repeat = nn.Sequential(*(residual_a() for _ in range(10)))
        self.mixed_6a = reduction_a(320, 256, 256, 384, 384)
        self.repeat_1 = nn.Sequential(*(residual_b() for _ in range(20)))
        self.mixed_7a = residual_reduction_b()
        self.repeat_2 = nn.Sequential(*(residual_c() for _ in range(9)))
        self.block8, self.conv2d_7b = residual_c(scale=1.0, relu=False), BasicConv2d(2080, 1536)
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head_drop, self.classif = nn.Dropout(0.2), nn.Linear(1536, num_classes)
        self.channels, self.strides = (192, 320, 1088, 1536), (4, 8, 16, 32)
        self.stage_paths = {
            "stem": ("conv2d_1a", "conv2d_2a", "conv2d_2b"),
            "1": ("conv2d_3b", "conv2d_4a"),
            "2": ("mixed_5b", "repeat"),
            "3": ("mixed_6a", "repeat_1"),
            "4": ("mixed_7a", "repeat_2", "block8", "conv2d_7b"),
        }
        self.head_path, self.embedding_dim = "classif", 1536
        self.apply(self.initialize)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        x = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x)))
        first = self.conv2d_4a(self.conv2d_3b(self.maxpool_3a(x)))
        second = self.repeat(self.mixed_5b(self.maxpool_5a(first)))
        third = self.repeat_1(self.mixed_6a(second))
        last = self.conv2d_7b(self.block8(self.repeat_2(self.mixed_7a(third))))
        return [first, second, third, last]


FIGURES_3_AND_9 = (
    PaperRow("3x3 conv (32, stride 2, V)", "features.0", (32, 149, 149)),
    PaperRow("3x3 conv (32, V)", "features.1", (32, 147, 147)),
    PaperRow("3x3 conv (64)", "features.2", (64, 147, 147)),
    PaperRow("filter concat", "features.3", (160, 73, 73)),
    PaperRow("filter concat", "features.4", (192, 71, 71)),
    PaperRow("filter concat", "features.5", (384, 35, 35)),
    PaperRow("4 x Inception-A", "features.9", (384, 35, 35)),
    PaperRow("Reduction-A", "features.10", (1024, 17, 17)),
    PaperRow("7 x Inception-B", "features.17", (1024, 17, 17)),
    PaperRow("Reduction-B", "features.18", (1536, 8, 8)),
    PaperRow("3 x Inception-C", "features.21", (1536, 8, 8)),
    PaperRow("average pooling", "global_pool", (1536,)),
    PaperRow("dropout (keep 0.8)", "head_drop", (1536,)),
    PaperRow("softmax", "last_linear", (1000,)),
)

_inception = partial(
    Variant, input_size=(299, 299), min_size=(75, 75), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bicubic",
    year=2016, paper="C. Szegedy et al., Inception-v4, Inception-ResNet, AAAI 2017, arXiv:1602.07261",
)  # fmt: skip

VARIANTS = (
    _inception(
        "inception_v4", InceptionV4, recipe="inception_v4", resize=341, paper_table=FIGURES_3_AND_9,
        accuracy="top-1 error 20.0 %, top-5 5.0 % (ImageNet validation less its blacklisted images, 1 crop)",
    ),
    _inception(
        "inception_resnet_v2", InceptionResNetV2, recipe="inception_resnet", resize=333,
        accuracy="top-1 error 19.9 %, top-5 4.9 % (ImageNet validation less its blacklisted images, 1 crop)",
    ),
)  # fmt: skip
