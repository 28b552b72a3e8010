"""MobileNet v3 for ImageNet, large and small (tables 1 and 2).

A. Howard, M. Sandler, G. Chu et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244. The squeeze and excitation in
its blocks is J. Hu et al.'s, arXiv:1709.01507, with a hard sigmoid and a quarter of the channels between.

Parameter names, initialisation and dropout are torchvision's. Deviations: the two 1x1 convolutions after the pooling are dense
layers here, which compute the same, with 0.2 of dropout before the last (the paper's 0.8 is the share it keeps); table 2
also ticks squeeze and excitation in the last convolution before the pooling, where the published weights have none.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from striate.layers import ConvNormAct, SqueezeExcitation
from striate.models.variant import Network, PaperRow, Variant

NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
RE, HS = nn.ReLU, nn.Hardswish


class Row(NamedTuple):
    """One "bneck" of a table: kernel, channels between and out, squeeze and excitation, nonlinearity, stride."""

    kernel: int
    expanded: int
    out: int
    excite: bool
    nonlinearity: type[nn.Module]
    stride: int


LARGE = (
    Row(3, 16, 16, False, RE, 1), Row(3, 64, 24, False, RE, 2), Row(3, 72, 24, False, RE, 1), Row(5, 72, 40, True, RE, 2),
    Row(5, 120, 40, True, RE, 1), Row(5, 120, 40, True, RE, 1), Row(3, 240, 80, False, HS, 2), Row(3, 200, 80, False, HS, 1),
    Row(3, 184, 80, False, HS, 1), Row(3, 184, 80, False, HS, 1), Row(3, 480, 112, True, HS, 1), Row(3, 672, 112, True, HS, 1),
    Row(5, 672, 160, True, HS, 2), Row(5, 960, 160, True, HS, 1), Row(5, 960, 160, True, HS, 1),
)  # fmt: skip
SMALL = (
    Row(3, 16, 16, True, RE, 2), Row(3, 72, 24, False, RE, 2), Row(3, 88, 24, False, RE, 1), Row(5, 96, 40, True, HS, 2),
    Row(5, 240, 40, True, HS, 1), Row(5, 240, 40, True, HS, 1), Row(5, 120, 48, True, HS, 1), Row(5, 144, 48, True, HS, 1),
    Row(5, 288, 96, True, HS, 2), Row(5, 576, 96, True, HS, 1), Row(5, 576, 96, True, HS, 1),
)  # fmt: skip


class InvertedResidual(nn.Module):
    """1x1 up, depthwise, squeeze and excitation, 1x1 down without an activation; a shortcut where sizes agree."""

    def __init__(self, in_channels: int, row: Row) -> None:
        super().__init__()
        width, conv = row.expanded, partial(ConvNormAct, norm=NORM, activation=row.nonlinearity)
        self.residual = row.stride == 1 and in_channels == row.out
        self.block = nn.Sequential()
        if width != in_channels:
            self.block.append(conv(in_channels, width, 1))
        self.block.append(conv(width, width, row.kernel, row.stride, groups=width))
        if row.excite:
            squeezed = -(-width // 32) * 8  # a quarter, up to the next multiple of 8
            self.block.append(SqueezeExcitation(width, squeezed, nn.ReLU, nn.Hardsigmoid))
        self.block.append(ConvNormAct(width, row.out, 1, norm=NORM, activation=None))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + y if self.residual else y


class MobileNetV3(Network):
    """A 3x3 stem, ``rows``, a 1x1 convolution to 6 times the channels, their means, a dense layer of ``width``, and the head."""

    def __init__(self, num_classes: int, in_channels: int, *, rows: tuple[Row, ...], width: int) -> None:
        super().__init__()
        conv = partial(ConvNormAct, norm=NORM, activation=HS)
        ins, last = (16, *(row.out for row in rows)), 6 * rows[-1].out
        blocks = (InvertedResidual(channels, row) for channels, row in zip(ins, rows, strict=False))
        self.features = nn.Sequential(conv(in_channels, 16, 3, 2), *blocks, conv(ins[-1], last, 1))
        # A row that strides begins a stage, as the first one does.
        starts = [index for index, row in enumerate(rows, 1) if row.stride == 2 or index == 1]
        ends = [*(start - 1 for start in starts[1:]), len(rows) + 1]
        self.stage_paths = {"stem": ("features.0",)}
        for stage, (start, end) in enumerate(zip(starts, ends, strict=True), 1):
            self.stage_paths[str(stage)] = tuple(f"features.{index}" for index in range(start, end + 1))
        self.channels = (*(ins[end] for end in ends[:-1]), last)
        self.strides = tuple(2 * rows[0].stride << stage for stage in range(len(ends)))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Linear(last, width), HS(), nn.Dropout(0.2), nn.Linear(width, num_classes))
        self.head_path, self.embedding_dim = "classifier.3", width
        self.apply(self.initialize)

    def initialize(self, layer: nn.Module) -> None:
        """He et al., arXiv:1502.01852, by fan-out; dense layers normal with deviation 0.01; biases 0."""
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        return self.walk(x, self.stage_paths)

    def embed(self, x: Tensor) -> Tensor:
        dense, activation, dropout, _ = self.classifier
        embedding: Tensor = dropout(activation(dense(self.avgpool(self.features(x)).flatten(1))))
        return embedding


def _table(rows: tuple[Row, ...], sides: tuple[int, ...], last: int, width: int) -> tuple[PaperRow, ...]:
    """A table's bnecks, the sides of the maps they write (it prints what each row reads), and its last two widths."""
    end, bnecks = len(rows) + 1, zip(rows, sides, strict=True)
    return (
        PaperRow("conv2d, 3x3", "features.0", (16, 112, 112)),
        *(PaperRow(f"bneck, {r.kernel}x{r.kernel}", f"features.{i}", (r.out, s, s)) for i, (r, s) in enumerate(bnecks, 1)),
        PaperRow("conv2d, 1x1", f"features.{end}", (last, sides[-1], sides[-1])),
        PaperRow("pool, 7x7", "avgpool", (last, 1, 1)),
        PaperRow("conv2d 1x1, NBN", "classifier.1", (width,)),
        PaperRow("conv2d 1x1, NBN", "classifier.3", (1000,)),
    )


_paper = "A. Howard et al., MobileNetV3, ICCV 2019, arXiv:1905.02244"
_variant = partial(Variant, build=MobileNetV3, recipe="mobilenet_v3", year=2019, paper=_paper)
VARIANTS = (
    _variant(
        "mobilenet_v3_large",
        arguments={"rows": LARGE, "width": 1280},
        accuracy="top-1 75.2 % (ImageNet validation, table 3)",
        paper_table=_table(LARGE, (112, 56, 56, 28, 28, 28, 14, 14, 14, 14, 14, 14, 7, 7, 7), 960, 1280),
    ),
    _variant(
        "mobilenet_v3_small",
        arguments={"rows": SMALL, "width": 1024},
        accuracy="top-1 67.4 % (ImageNet validation, table 3)",
        paper_table=_table(SMALL, (56, 28, 28, 14, 14, 14, 14, 14, 7, 7, 7), 576, 1024),
    ),
)
