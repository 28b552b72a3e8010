"""MobileNet v2 for ImageNet (table 2).

M. Sandler, A. Howard, M. Zhu, A. Zhmoginov, L.-C. Chen, "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018,
arXiv:1801.04381. Parameter names and initialisation are torchvision's: the paper says nothing of the latter. Deviation: the
paper's last layer is a 1x1 convolution after the pooling; on 1x1 maps that is the dense layer here. It names no dropout;
0.2 before the head is that of the authors' and torchvision's code. Table 2 prints what each row reads, ours what it writes.
"""

from __future__ import annotations

from torch import Tensor, nn

from striate.layers import ConvNormAct, ReLU6
from striate.models.variant import Network, PaperRow, Variant

BOTTLENECKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Table 2: expansion t, output channels c, repetitions n, stride s of the first."""


class InvertedResidual(nn.Module):
    """1x1 up to ``expansion`` times the channels, 3x3 depthwise, 1x1 down without an activation; a shortcut where sizes agree."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        width, self.residual = expansion * in_channels, stride == 1 and in_channels == out_channels
        self.conv = nn.Sequential(
            *([ConvNormAct(in_channels, width, 1, activation=ReLU6)] if expansion > 1 else []),
            ConvNormAct(width, width, 3, stride, groups=width, activation=ReLU6),
            nn.Conv2d(width, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(Network):
    """A 3x3 stem, seven rows of inverted residuals, a 1x1 convolution to 1280 channels, and the head on their means."""

    last = (1, 3, 6, 13, 18)
    """Which of ``features`` end a stage: those before a stride, and the end."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(ConvNormAct(in_channels, 32, 3, 2, activation=ReLU6))
        width = 32
        for expansion, out_channels, repetitions, stride in BOTTLENECKS:
            for index in range(repetitions):
                self.features.append(InvertedResidual(width, out_channels, stride if index == 0 else 1, expansion))
                width = out_channels
        self.features.append(ConvNormAct(width, 1280, 1, activation=ReLU6))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, num_classes))
        self.channels, self.strides = (16, 24, 32, 96, 1280), (2, 4, 8, 16, 32)
        self.stage_paths = {"stem": ("features.0",)}
        for stage, (before, last) in enumerate(zip((0, *self.last), self.last, strict=False), 1):
            self.stage_paths[str(stage)] = tuple(f"features.{index}" for index in range(before + 1, last + 1))
        self.head_path, self.embedding_dim = "classifier.1", 1280
        self.apply(self.initialize)

    def initialize(self, layer: nn.Module) -> None:
        """He et al., arXiv:1502.01852, by fan-out; the head normal with deviation 0.01."""
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        maps = []
        for index, block in enumerate(self.features):
            x = block(x)
            if index in self.last:
                maps.append(x)
        return maps

    def embed(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.classifier[0](self.avgpool(self.features(x)).flatten(1))
        return embedding


VARIANTS = (
    Variant(
        "mobilenet_v2",
        MobileNetV2,
        recipe="mobilenet_v2",
        paper="M. Sandler et al., MobileNetV2, CVPR 2018, arXiv:1801.04381",
        year=2018,
        accuracy="top-1 72.0 % (ImageNet validation, table 4)",
        paper_table=(
            PaperRow("conv2d", "features.0", (32, 112, 112)),
            PaperRow("bottleneck t=1", "features.1", (16, 112, 112)),
            PaperRow("bottleneck t=6, 2 times", "features.3", (24, 56, 56)),
            PaperRow("bottleneck t=6, 3 times", "features.6", (32, 28, 28)),
            PaperRow("bottleneck t=6, 4 times", "features.10", (64, 14, 14)),
            PaperRow("bottleneck t=6, 3 times", "features.13", (96, 14, 14)),
            PaperRow("bottleneck t=6, 3 times", "features.16", (160, 7, 7)),
            PaperRow("bottleneck t=6", "features.17", (320, 7, 7)),
            PaperRow("conv2d 1x1", "features.18", (1280, 7, 7)),
            PaperRow("avgpool 7x7", "avgpool", (1280, 1, 1)),
            PaperRow("conv2d 1x1", "classifier.1", (1000,)),
        ),
    ),
)
