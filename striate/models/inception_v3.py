"""Inception v3 (table 1, with batch norm in the auxiliary classifier: section 4).

C. Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016, arXiv:1512.00567.

The network is that of the authors' published code and weights (Inception v3 in TensorFlow's model garden), whose beginning is not
quite the table's: a 1x1 convolution to 80 channels, a 3x3 one and a max pool, where the paper prints 3x3, 3x3 of stride 2 and
3x3. From that code too: initialisation, 20 % dropout, and 0.4 as the weight of the auxiliary loss, which the paper leaves open.

Names are torchvision's. Its weights were trained on pixels in -1..1, which it makes of pixels less ImageNet's mean
(``transform_input``); here the record's mean and deviation of 0.5 do the same. Deviations from the authors' code: average pools
count the padding, as torchvision's do; under an image too small for the auxiliary classifier's 5x5 filters (below 299 pixels,
where the authors shrink the filters) the map is averaged to 5x5, so that published weights fit any size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.layers import BasicConv2d
from striate.models.variant import Network, PaperRow, Variant


class InceptionA(nn.Module):
    """35x35: the 5x5 of GoogLeNet beside its factors, two 3x3 (figure 5)."""

    def __init__(self, in_channels: int, projection: int) -> None:
        super().__init__()
        self.branch1x1 = BasicConv2d(in_channels, 64)
        self.branch5x5_1, self.branch5x5_2 = BasicConv2d(in_channels, 48), BasicConv2d(48, 64, 5)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = BasicConv2d(in_channels, 64), BasicConv2d(64, 96, 3)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, 3)
        self.pool, self.branch_pool = nn.AvgPool2d(3, 1, 1), BasicConv2d(in_channels, projection)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, double, self.branch_pool(self.pool(x))], 1)


class InceptionB(nn.Module):
    """35x35 to 17x17: strided convolutions beside a max pool (figure 10)."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3 = BasicConv2d(in_channels, 384, 3, 2, padding=0)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = BasicConv2d(in_channels, 64), BasicConv2d(64, 96, 3)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, 3, 2, padding=0)
        self.pool = nn.MaxPool2d(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, self.pool(x)], 1)


class InceptionC(nn.Module):
    """17x17: 7x7 convolutions as 1x7 and 7x1 (figure 6)."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.branch1x1 = BasicConv2d(in_channels, 192)
        self.branch7x7_1, self.branch7x7_2 = BasicConv2d(in_channels, width), BasicConv2d(width, width, (1, 7))
        self.branch7x7_3 = BasicConv2d(width, 192, (7, 1))
        self.branch7x7dbl_1, self.branch7x7dbl_2 = BasicConv2d(in_channels, width), BasicConv2d(width, width, (7, 1))
        self.branch7x7dbl_3, self.branch7x7dbl_4 = BasicConv2d(width, width, (1, 7)), BasicConv2d(width, width, (7, 1))
        self.branch7x7dbl_5 = BasicConv2d(width, 192, (1, 7))
        self.pool, self.branch_pool = nn.AvgPool2d(3, 1, 1), BasicConv2d(in_channels, 192)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(self.pool(x))], 1)


class InceptionD(nn.Module):
    """17x17 to 8x8: as figure 10, one branch with 1x7 and 7x1."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = BasicConv2d(in_channels, 192), BasicConv2d(192, 320, 3, 2, padding=0)
        self.branch7x7x3_1, self.branch7x7x3_2 = BasicConv2d(in_channels, 192), BasicConv2d(192, 192, (1, 7))
        self.branch7x7x3_3, self.branch7x7x3_4 = BasicConv2d(192, 192, (7, 1)), BasicConv2d(192, 192, 3, 2, padding=0)
        self.pool = nn.MaxPool2d(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, self.pool(x)], 1)


class InceptionE(nn.Module):
    """8x8: 1x3 and 3x1 side by side, for a wider map (figure 7)."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch1x1 = BasicConv2d(in_channels, 320)
        self.branch3x3_1 = BasicConv2d(in_channels, 384)
        self.branch3x3_2a, self.branch3x3_2b = BasicConv2d(384, 384, (1, 3)), BasicConv2d(384, 384, (3, 1))
        self.branch3x3dbl_1, self.branch3x3dbl_2 = BasicConv2d(in_channels, 448), BasicConv2d(448, 384, 3)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = BasicConv2d(384, 384, (1, 3)), BasicConv2d(384, 384, (3, 1))
        self.pool, self.branch_pool = nn.AvgPool2d(3, 1, 1), BasicConv2d(in_channels, 192)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        wide = [self.branch3x3_2a(three), self.branch3x3_2b(three), self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return torch.cat([self.branch1x1(x), *wide, self.branch_pool(self.pool(x))], 1)


class AuxiliaryClassifier(nn.Module):
    """5x5 average pool of stride 3, 1x1 and 5x5 convolutions, logits (figure 8)."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv0, self.conv1 = BasicConv2d(in_channels, 128), BasicConv2d(128, 768, 5, padding=0)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        # 17 is the least side whose pooled map, (17 - 5) // 3 + 1 = 5 pixels wide, the 5x5 filters still fit.
        x = F.avg_pool2d(x, 5, 3) if min(x.shape[2:]) >= 17 else F.adaptive_avg_pool2d(x, 5)
        logits: Tensor = self.fc(F.adaptive_avg_pool2d(self.conv1(self.conv0(x)), 1).flatten(1))
        return logits


STAGES = {
    "stem": ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"),
    "1": ("maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
    "2": ("maxpool2", "Mixed_5b", "Mixed_5c", "Mixed_5d"),
    "3": ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    "4": ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
}


class InceptionV3(Network):
    """Five convolutions, eleven Inception blocks; the auxiliary classifier reads the last 17x17 map."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = BasicConv2d(in_channels, 32, 3, 2, padding=0)
        self.Conv2d_2a_3x3, self.Conv2d_2b_3x3 = BasicConv2d(32, 32, 3, padding=0), BasicConv2d(32, 64, 3)
        self.maxpool1 = nn.MaxPool2d(3, 2)
        self.Conv2d_3b_1x1, self.Conv2d_4a_3x3 = BasicConv2d(64, 80), BasicConv2d(80, 192, 3, padding=0)
        self.maxpool2 = nn.MaxPool2d(3, 2)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = InceptionA(192, 32), InceptionA(256, 64), InceptionA(288, 64)
        self.Mixed_6a = InceptionB(288)
        self.Mixed_6b, self.Mixed_6c = InceptionC(768, 128), InceptionC(768, 160)
        self.Mixed_6d, self.Mixed_6e = InceptionC(768, 160), InceptionC(768, 192)
        self.AuxLogits = AuxiliaryClassifier(768, num_classes)
        self.Mixed_7a, self.Mixed_7b, self.Mixed_7c = InceptionD(768), InceptionE(1280), InceptionE(2048)
        self.avgpool, self.dropout, self.fc = nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2), nn.Linear(2048, num_classes)
        self.channels, self.strides = (192, 288, 768, 2048), (4, 8, 16, 32)
        self.stage_paths = {
            stage: tuple(name for name in names if not name.startswith("maxpool")) for stage, names in STAGES.items()
        }
        self.head_path, self.embedding_dim = "fc", 2048
        self.aux_head_paths, self.aux_weight = ("AuxLogits.fc",), 0.4
        self.apply(self.initialize)

    def initialize(self, layer: nn.Module) -> None:
        """Normal, cut at twice its deviation: 0.1 in convolutions, 0.01 in the head; in the auxiliary one 0.01 and 0.001."""
        if isinstance(layer, nn.Conv2d):
            std = 0.01 if layer is self.AuxLogits.conv1.conv else 0.1
        elif isinstance(layer, nn.Linear):
            std = 0.01 if layer.in_features == self.embedding_dim else 0.001
            nn.init.zeros_(layer.bias)
        else:
            return
        nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        return self.walk(x, STAGES)

    def pooled(self, last_map: Tensor) -> Tensor:
        """[N, 2048, H, W] -> [N, 2048]."""
        embedding: Tensor = self.dropout(self.avgpool(last_map)).flatten(1)
        return embedding

    def embed(self, x: Tensor) -> Tensor:
        return self.pooled(self.feature_maps(x)[-1])

    def forward_with_aux(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        *_, before_last, last = self.feature_maps(x)
        return self.fc(self.pooled(last)), (self.AuxLogits(before_last),)


# The paper prints each row's input; its output is the next row's.
TABLE_1 = (
    PaperRow("conv 3x3/2", "Conv2d_1a_3x3", (32, 149, 149)),
    PaperRow("conv 3x3/1", "Conv2d_2a_3x3", (32, 147, 147)),
    PaperRow("conv padded 3x3/1", "Conv2d_2b_3x3", (64, 147, 147)),
    PaperRow("pool 3x3/2", "maxpool1", (64, 73, 73)),
    PaperRow("conv 3x3/1", "Conv2d_3b_1x1", (80, 71, 71), "the published network has a 1x1 here, so that the map stays 73x73"),
    PaperRow("conv 3x3/2", "maxpool2", (192, 35, 35), "the published network has a 3x3 of stride 1 and this max pool"),
    PaperRow("conv 3x3/1", "Mixed_5b", (288, 35, 35), "no such layer: the first block reads 192 channels and makes 256"),
    PaperRow("3 x Inception (figure 5)", "Mixed_6a", (768, 17, 17), "with the reduction of figure 10"),
    PaperRow("5 x Inception (figure 6)", "Mixed_7a", (1280, 8, 8), "four blocks and a reduction"),
    PaperRow("2 x Inception (figure 7)", "Mixed_7c", (2048, 8, 8)),
    PaperRow("pool 8x8", "avgpool", (2048, 1, 1)),
    PaperRow("linear", "fc", (1000,)),
)

VARIANTS = (
    Variant(
        "inception_v3", InceptionV3, input_size=(299, 299), min_size=(75, 75), recipe="inception_v3", resize=342,
        mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), year=2015, paper_table=TABLE_1,
        paper="C. Szegedy et al., Rethinking the Inception architecture, CVPR 2016, arXiv:1512.00567",
        accuracy="top-1 error 21.2 %, top-5 5.6 % (ImageNet validation, 1 crop); 17.3 % and 3.5 % (4 networks, many crops)",
    ),
)  # fmt: skip
