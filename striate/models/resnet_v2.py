"""Residual networks with full pre-activation for ImageNet (figure 4e; the layers are those of ResNet's table 1).

K. He, X. Zhang, S. Ren, J. Sun, "Identity mappings in deep residual networks", ECCV 2016, arXiv:1603.05027. Parameter names and
preprocessing are timm's ``resnetv2_*``, the head among them: a 1x1 convolution on the means. Deviation: a bottleneck strides in
its 3x3 convolution, as those weights do.

Feature maps are what a stage hands to the next, without batch norm; the last one is normalised and rectified.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from striate.models.resnet import conv
from striate.models.variant import Network, Variant


class PreActivation(nn.Module):
    """Batch norm, ReLU and convolution, once for each of the ``kernels``, beside a shortcut.

    The first 3x3 one strides; a shortcut that changes size or channels is a 1x1 convolution that reads the first ReLU.
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...], kernels: tuple[int, ...], stride: int) -> None:
        super().__init__()
        self.relu, self.num_convs = nn.ReLU(), len(kernels)
        self.projects = stride > 1 or in_channels != widths[-1]
        if self.projects:
            self.downsample = nn.Sequential()
            self.downsample.conv = conv(in_channels, widths[-1], 1, stride)
        for number, (width, kernel) in enumerate(zip(widths, kernels, strict=True), 1):
            self.add_module(f"norm{number}", nn.BatchNorm2d(in_channels))
            self.add_module(f"conv{number}", conv(in_channels, width, kernel, stride if number == kernels.index(3) + 1 else 1))
            in_channels = width

    def forward(self, x: Tensor) -> Tensor:
        shortcut = y = x
        for number in range(1, self.num_convs + 1):
            y = self.relu(self.get_submodule(f"norm{number}")(y))
            if number == 1 and self.projects:
                shortcut = self.downsample(y)
            y = self.get_submodule(f"conv{number}")(y)
        return shortcut + y


class ResNetV2(Network):
    """A stem without batch norm, ``depths`` blocks a stage, a batch norm and ReLU behind the last, and the head."""

    def __init__(self, num_classes: int, in_channels: int, *, depths: tuple[int, ...], bottleneck: bool = True) -> None:
        super().__init__()
        self.stem, self.stages = nn.Sequential(), nn.Sequential()
        self.stem.conv, self.stem.pool = conv(in_channels, 64, 7, 2), nn.MaxPool2d(3, 2, 1)
        width, self.channels, self.stage_paths = 64, (), {"stem": ("stem",)}
        kernels, expansions = ((1, 3, 1), (1, 1, 4)) if bottleneck else ((3, 3), (1, 1))
        for stage, depth in enumerate(depths):
            blocks = nn.Sequential()
            widths = tuple(64 * expansion << stage for expansion in expansions)
            for index in range(depth):
                blocks.append(PreActivation(width, widths, kernels, 2 if stage > 0 and index == 0 else 1))
                width = widths[-1]
            layer = nn.Sequential()
            layer.blocks = blocks
            self.stages.append(layer)
            self.channels, self.stage_paths[str(stage + 1)] = (*self.channels, width), (f"stages.{stage}",)
        self.norm, self.relu, self.head = nn.BatchNorm2d(width), nn.ReLU(), nn.Sequential()
        self.head.global_pool, self.head.fc, self.head.flatten = (
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, num_classes, 1),
            nn.Flatten(),
        )
        self.stage_paths[str(len(depths))] += ("norm",)
        self.strides = tuple(4 << stage for stage in range(len(depths)))
        self.head_path, self.embedding_dim = "head.fc", width
        self.apply(self.initialize)

    def initialize(self, layer: nn.Module) -> None:
        """He et al., arXiv:1502.01852, by fan-out; the head, alone with biases, normal with deviation 0.01, as timm has it."""
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [*maps[:-1], self.relu(self.norm(x))]

    def embed(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, embedding_dim], the means that the head reads as maps of one pixel."""
        embedding: Tensor = self.head[0](self.feature_maps(x)[-1]).flatten(1)
        return embedding

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> logits [N, num_classes]."""
        logits: Tensor = self.head(self.feature_maps(x)[-1])
        return logits


_resnet = partial(
    Variant, build=ResNetV2, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bicubic", recipe="resnet", year=2016,
    paper="K. He et al., Identity mappings in deep residual networks, ECCV 2016, arXiv:1603.05027",
)  # fmt: skip
_error = "top-1 / top-5 error {} % (ImageNet validation, one crop of 320 x 320, table 5)".format
VARIANTS = (
    _resnet("resnet18_v2", arguments={"depths": (2, 2, 2, 2), "bottleneck": False}, resize=248),
    _resnet("resnet34_v2", arguments={"depths": (3, 4, 6, 3), "bottleneck": False}, resize=248),
    _resnet("resnet50_v2", arguments={"depths": (3, 4, 6, 3)}, resize=235),
    _resnet("resnet101_v2", arguments={"depths": (3, 4, 23, 3)}, resize=235),
    _resnet("resnet152_v2", arguments={"depths": (3, 8, 36, 3)}, resize=235, accuracy=_error("21.1 / 5.5")),
    _resnet("resnet200_v2", arguments={"depths": (3, 24, 36, 3)}, resize=235, accuracy=_error("20.7 / 5.3")),
)
