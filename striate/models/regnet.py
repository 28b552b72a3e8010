"""RegNetY 400MF to 32GF (section 4 and figures 3 and 16).

I. Radosavovic, R. Kosaraju, R. Girshick, K. He, P. Dollar, "Designing network design spaces", CVPR 2020, arXiv:2003.13678. A
network is a depth, three numbers from which equations 2 to 4 make the width of every block, and the width of a group; blocks of
one width are a stage.

Parameter names are torchvision's. Deviation: where a width is no multiple of the group width, the published weights round halves
up and never take off more than 10 %; the paper's networks take the nearest multiple, halves to even. So 800MF (stages 2 and 4)
and 8GF (stage 1) are wider here than printed.
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import Any

from torch import Tensor, nn

from striate.layers import ConvNormAct, SqueezeExcitation
from striate.models.efficientnet import round_channels
from striate.models.variant import Network, PaperRow, Variant


def block_widths(depth: int, w_0: int, w_a: float, w_m: float) -> list[int]:
    """Equations 2 to 4: ``w_0 + w_a j`` for block j; of that the nearest ``w_0`` times a power of ``w_m``, in multiples of 8."""
    powers = [round(math.log((w_0 + w_a * block) / w_0, w_m)) for block in range(depth)]
    return [8 * round(w_0 * w_m**power / 8) for power in powers]


def stage_sizes(depth: int, w_0: int, w_a: float, w_m: float, group_width: int) -> list[tuple[int, int]]:
    """Width and number of blocks of each stage, in multiples of ``group_width``."""
    stages = groupby(block_widths(depth, w_0, w_a, w_m))
    return [(round_channels(width, group_width), len(list(blocks))) for width, blocks in stages]


class Block(nn.Module):
    """1x1, 3x3 in groups of ``group_width`` channels, squeeze and excitation, 1x1, all as wide as the output."""

    def __init__(self, in_channels: int, width: int, stride: int, group_width: int) -> None:
        super().__init__()
        same = stride == 1 and in_channels == width
        self.proj = nn.Identity() if same else ConvNormAct(in_channels, width, 1, stride, activation=None)
        self.f = nn.Sequential()
        self.f.add_module("a", ConvNormAct(in_channels, width, 1))
        self.f.add_module("b", ConvNormAct(width, width, 3, stride, groups=width // group_width))
        self.f.add_module("se", SqueezeExcitation(width, in_channels // 4))
        self.f.add_module("c", ConvNormAct(width, width, 1, activation=None))
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.activation(self.proj(x) + self.f(x))
        return out


class RegNet(Network):
    """A strided stem of 32 channels, then stages, each of which halves the map in its first block."""

    def __init__(
        self, num_classes: int, in_channels: int, *, depth: int, w_0: int, w_a: float, w_m: float, group_width: int
    ) -> None:
        super().__init__()
        width = 32
        self.stem, self.trunk_output = ConvNormAct(in_channels, width, 3, 2), nn.Sequential()
        self.channels, self.strides, self.stage_paths = (), (), {"stem": ("stem",)}
        for stage, (stage_width, blocks) in enumerate(stage_sizes(depth, w_0, w_a, w_m, group_width), 1):
            layer = nn.Sequential()
            for index in range(blocks):
                layer.add_module(f"block{stage}-{index}", Block(width, stage_width, 1 if index else 2, group_width))
                width = stage_width
            self.trunk_output.add_module(f"block{stage}", layer)
            self.channels, self.strides = (*self.channels, width), (*self.strides, 2 << stage)
            self.stage_paths[str(stage)] = (f"trunk_output.block{stage}",)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(width, num_classes)
        self.head_path, self.embedding_dim = "fc", width
        self.apply(self.initialize)

    def initialize(self, layer: nn.Module) -> None:
        """As the authors' code: He et al.'s normal by fan-out, in groups too; the head's of 0.01 with biases 0."""
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=math.sqrt(2 / (math.prod(layer.kernel_size) * layer.out_channels)))
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        x, maps = self.stem(x), []
        for stage in self.trunk_output:
            x = stage(x)
            maps.append(x)
        return maps

    def embed(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.avgpool(self.feature_maps(x)[-1]).flatten(1)
        return embedding


def _variant(
    name: str, depth: int, w_0: int, w_a: float, w_m: float, group_width: int, error: float, widths: tuple[int, ...]
) -> Variant:
    """``widths`` are those that figure 16 prints; sizes follow from figure 3."""
    arguments: dict[str, Any] = {"depth": depth, "w_0": w_0, "w_a": w_a, "w_m": w_m, "group_width": group_width}
    rows = [PaperRow("stem", "stem", (32, 112, 112))]
    for stage, (printed, (ours, _)) in enumerate(zip(widths, stage_sizes(**arguments), strict=True), 1):
        note = "" if ours == printed else f"{ours} channels in the published weights, which round otherwise"
        rows.append(PaperRow(f"stage {stage}", f"trunk_output.block{stage}", (printed, 112 >> stage, 112 >> stage), note))
    return Variant(
        name, RegNet, arguments, recipe="regnet", year=2020, paper_table=tuple(rows),
        paper="I. Radosavovic et al., Designing network design spaces, CVPR 2020, arXiv:2003.13678",
        accuracy=f"top-1 error {error} % (ImageNet validation, one 224 x 224 crop, mean of 5 runs)",
    )  # fmt: skip


VARIANTS = (
    _variant("regnet_y_400mf", 16, 48, 27.89, 2.09, 8, 25.9, (48, 104, 208, 440)),
    _variant("regnet_y_800mf", 14, 56, 38.84, 2.40, 16, 23.7, (64, 128, 320, 768)),
    _variant("regnet_y_1_6gf", 27, 48, 20.71, 2.65, 24, 22.0, (48, 120, 336, 888)),
    _variant("regnet_y_3_2gf", 21, 80, 42.63, 2.66, 24, 21.0, (72, 216, 576, 1512)),
    _variant("regnet_y_8gf", 17, 192, 76.82, 2.19, 56, 20.1, (168, 448, 896, 2016)),
    _variant("regnet_y_16gf", 18, 200, 106.23, 2.48, 112, 19.6, (224, 448, 1232, 3024)),
    _variant("regnet_y_32gf", 20, 232, 115.89, 2.53, 232, 19.0, (232, 696, 1392, 3712)),
)
