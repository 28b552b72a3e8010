"""SqueezeNet 1.0 (table 1) and 1.1 for ImageNet.

F. Iandola, S. Han, M. Moskewicz, K. Ashraf, W. Dally, K. Keutzer, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters
and <0.5MB model size", 2016, arXiv:1602.07360. 1.1 is the authors' later one, with 2.4 times fewer MACs at the same accuracy.
Parameter names are torchvision's. Table 1 prints sizes for images of 227 x 227 pixels, which the authors' files read, though it
says 224, as the published weights read. Deviation, as those weights have it: the authors' files pad the last convolution by 1.

The head is a 1x1 convolution on the last map, rectified and then averaged: logits are at least 0, and as ReLU stands between,
they are not the head's reading of the averaged map that ``embed`` returns.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from striate.models.variant import Network, PaperRow, Variant


class Fire(nn.Module):
    """1x1 to ``squeezed`` channels, then 1x1 and 3x3 side by side, each to half of ``out_channels``."""

    def __init__(self, in_channels: int, squeezed: int, out_channels: int) -> None:
        super().__init__()
        self.squeeze, self.squeeze_activation = nn.Conv2d(in_channels, squeezed, 1), nn.ReLU()
        self.expand1x1, self.expand1x1_activation = nn.Conv2d(squeezed, out_channels // 2, 1), nn.ReLU()
        self.expand3x3, self.expand3x3_activation = nn.Conv2d(squeezed, out_channels // 2, 3, padding=1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        return torch.cat((self.expand1x1_activation(self.expand1x1(x)), self.expand3x3_activation(self.expand3x3(x))), 1)


FIRES = ((16, 128), (16, 128), (32, 256), (32, 256), (48, 384), (48, 384), (64, 512), (64, 512))
"""Table 1: channels squeezed to and expanded to, of fire2 to fire9."""


class SqueezeNet(Network):
    """A convolution of ``stem`` channels, eight fires, a pooling before the first and before each of the ``pooled`` ones."""

    def __init__(self, num_classes: int, in_channels: int, *, stem: int, kernel: int, pooled: tuple[int, ...]) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(in_channels, stem, kernel, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True))
        width, self.channels, self.stage_paths = stem, (), {"stem": ("features.0",)}
        for number, (squeezed, out_channels) in enumerate(FIRES, 2):
            if number in pooled:
                self.channels = (*self.channels, width)
                self.features.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            stage = str(len(self.channels) + 1)
            self.stage_paths[stage] = (*self.stage_paths.get(stage, ()), f"features.{len(self.features)}")
            self.features.append(Fire(width, squeezed, out_channels))
            width = out_channels
        self.channels, self.strides = (*self.channels, width), tuple(4 << stage for stage in range(len(pooled) + 1))
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(width, num_classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head_path, self.embedding_dim = "classifier.1", width
        self.apply(self.initialize)

    def initialize(self, layer: nn.Module) -> None:
        """As the authors' Caffe files: uniform with variance 1 / fan-in, the head normal with deviation 0.01; biases 0."""
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            if layer in self.features.modules():
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")
            else:
                nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        maps = []
        for index, module in enumerate(self.features):
            if index > 2 and isinstance(module, nn.MaxPool2d):
                maps.append(x)
            x = module(x)
        return [*maps, x]

    def embed(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, embedding_dim], the means of the map that the head reads."""
        embedding: Tensor = self.classifier[3](self.features(x)).flatten(1)
        return embedding

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> logits [N, num_classes], each at least 0."""
        logits: Tensor = self.classifier(self.features(x)).flatten(1)
        return logits


_TABLE_1 = (
    PaperRow("conv1", "features.0", (96, 111, 111), "printed for 227 x 227 pixels, which the authors' files read; 109 here"),
    PaperRow("maxpool1", "features.2", (96, 55, 55), "54 here"),
    PaperRow("fire2", "features.3", (128, 55, 55), "54 here"),
    PaperRow("fire3", "features.4", (128, 55, 55), "54 here"),
    PaperRow("fire4", "features.5", (256, 55, 55), "54 here"),
    PaperRow("maxpool4", "features.6", (256, 27, 27)),
    PaperRow("fire5", "features.7", (256, 27, 27)),
    PaperRow("fire6", "features.8", (384, 27, 27)),
    PaperRow("fire7", "features.9", (384, 27, 27)),
    PaperRow("fire8", "features.10", (512, 27, 27)),
    PaperRow("maxpool8", "features.11", (512, 13, 13)),
    PaperRow("fire9", "features.12", (512, 13, 13)),
    PaperRow("conv10", "classifier.1", (1000, 13, 13)),
    PaperRow("avgpool10", "classifier.3", (1000, 1, 1)),
)
_paper = "F. Iandola et al., SqueezeNet, 2016, arXiv:1602.07360"
_variant = partial(Variant, build=SqueezeNet, recipe="squeezenet", year=2016, paper=_paper)
VARIANTS = (
    _variant(
        "squeezenet1_0",
        arguments={"stem": 96, "kernel": 7, "pooled": (5, 9)},
        min_size=(21, 21),
        accuracy="top-1 57.5 %, top-5 80.3 % (ImageNet validation, table 2)",
        paper_table=_TABLE_1,
    ),
    _variant(
        "squeezenet1_1",
        arguments={"stem": 64, "kernel": 3, "pooled": (4, 6)},
        min_size=(17, 17),
        accuracy="top-5 at least 80.3 % (ImageNet validation, the authors' page)",
    ),
)
