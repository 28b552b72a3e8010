"""ShuffleNet v2 for ImageNet (table 5).

N. Ma, X. Zhang, H.-T. Zheng, J. Sun, "ShuffleNet V2: practical guidelines for efficient CNN architecture design", ECCV 2018,
arXiv:1807.11164. Parameter names are torchvision's. The paper says nothing of initialisation: PyTorch's stays.

The last feature map is stage 4's: conv5, which only widens it for the head, belongs to the classifier.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from striate.layers import ConvNormAct
from striate.models.variant import Network, PaperRow, Variant


def depthwise(channels: int, stride: int) -> ConvNormAct:
    """3x3, a filter a channel, batch norm, no activation."""
    return ConvNormAct(channels, channels, 3, stride, groups=channels, activation=None)


class ShuffleUnit(nn.Module):
    """Half of the channels pass by, the others through 1x1, 3x3 depthwise, 1x1; then both halves are shuffled (figure 3c).

    With ``stride`` 2 all channels go both ways, past by 3x3 depthwise and 1x1 (figure 3d).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.split = stride == 1
        self.branch1 = (
            nn.Sequential() if self.split else nn.Sequential(*depthwise(in_channels, 2), *ConvNormAct(in_channels, half, 1))
        )
        self.branch2 = nn.Sequential(
            *ConvNormAct(half if self.split else in_channels, half, 1), *depthwise(half, stride), *ConvNormAct(half, half, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1) if self.split else (x, x)
        # Shuffled: the channels of both branches take turns.
        return torch.stack((self.branch1(left), self.branch2(right)), 2).flatten(1, 2)


class ShuffleNetV2(Network):
    """A stem of 24 channels, stages of 4, 8 and 4 units of so many ``widths``, conv5 with the last of these, and the head."""

    def __init__(self, num_classes: int, in_channels: int, *, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv1, self.maxpool = ConvNormAct(in_channels, 24, 3, 2), nn.MaxPool2d(3, 2, 1)
        self.channels, self.strides, self.stage_paths = (24, *widths[:3]), (4, 8, 16, 32), {"stem": (), "1": ("conv1",)}
        for stage, depth in enumerate((4, 8, 4), 2):
            before, width = self.channels[stage - 2 : stage]
            units = (ShuffleUnit(width, width, 1) for _ in range(depth - 1))
            self.add_module(f"stage{stage}", nn.Sequential(ShuffleUnit(before, width, 2), *units))
            self.stage_paths[str(stage)] = (f"stage{stage}",)
        self.conv5, self.avgpool = ConvNormAct(widths[2], widths[3], 1), nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[3], num_classes)
        self.head_path, self.embedding_dim = "fc", widths[3]

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        maps = [self.maxpool(self.conv1(x))]
        for stage in ("stage2", "stage3", "stage4"):
            maps.append(self.get_submodule(stage)(maps[-1]))
        return maps

    def embed(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.avgpool(self.conv5(self.feature_maps(x)[-1])).flatten(1)
        return embedding


def _variant(name: str, widths: tuple[int, int, int, int], error: float) -> Variant:
    shapes = ((24, 112), (24, 56), *zip(widths[:3], (28, 14, 7), strict=True), (widths[3], 7), (widths[3], 1))
    layers = {
        "Conv1": "conv1", "MaxPool": "maxpool", "Stage2": "stage2", "Stage3": "stage3", "Stage4": "stage4",
        "Conv5": "conv5", "GlobalPool": "avgpool",
    }  # fmt: skip
    rows = (PaperRow(*layer, (width, side, side)) for layer, (width, side) in zip(layers.items(), shapes, strict=True))
    return Variant(
        name,
        ShuffleNetV2,
        {"widths": widths},
        recipe="shufflenet_v2",
        paper="N. Ma et al., ShuffleNet V2, ECCV 2018, arXiv:1807.11164",
        year=2018,
        accuracy=f"top-1 error {error} % (ImageNet validation, one crop, table 8)",
        paper_table=(*rows, PaperRow("FC", "fc", (1000,))),
    )


VARIANTS = (
    _variant("shufflenet_v2_x0_5", (48, 96, 192, 1024), 39.7),
    _variant("shufflenet_v2_x1_0", (116, 232, 464, 1024), 30.6),
    _variant("shufflenet_v2_x1_5", (176, 352, 704, 1024), 27.4),
    _variant("shufflenet_v2_x2_0", (244, 488, 976, 2048), 25.1),
)
