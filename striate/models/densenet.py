"""DenseNet-BC for ImageNet (table 1).

G. Huang, Z. Liu, L. van der Maaten, K. Weinberger, "Densely connected convolutional networks", CVPR 2017, arXiv:1608.06993.
Parameter names are torchvision's; the published files still say ``norm.1`` for ``norm1``: see :func:`renamed`. Table 1 of the
last version has DenseNet-264 where earlier ones had ``densenet161``, of 48 channels a layer, whose weights are published.

Feature maps are what a block hands to the transition behind it, without batch norm; the last one is normalised and rectified.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from striate.layers import he_normal_
from striate.models.variant import Network, PaperRow, Variant


class DenseLayer(nn.Module):
    """BN, ReLU, 1x1 to ``4 * growth`` channels, BN, ReLU, 3x3 to ``growth`` channels, put behind those that came in."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.relu1 = nn.BatchNorm2d(in_channels), nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, 4 * growth, 1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(4 * growth), nn.ReLU()
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.relu1(self.norm1(x)))
        # Each layer copies all before it once: as fast as one buffer for the block, and autograd allows it.
        return torch.cat((x, self.conv2(self.relu2(self.norm2(y)))), 1)


class Transition(nn.Sequential):
    """BN, ReLU, 1x1 to half the channels, average pooling to half the size."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.norm, self.relu = nn.BatchNorm2d(in_channels), nn.ReLU()
        self.conv, self.pool = nn.Conv2d(in_channels, in_channels // 2, 1, bias=False), nn.AvgPool2d(2)


class DenseNet(Network):
    """A stem, dense blocks of ``depths`` layers with transitions between them, and the head."""

    def __init__(self, num_classes: int, in_channels: int, *, depths: tuple[int, ...], growth: int = 32) -> None:
        super().__init__()
        width, self.features = 2 * growth, nn.Sequential()
        self.features.conv0 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
        self.features.norm0, self.features.relu0 = nn.BatchNorm2d(width), nn.ReLU()
        self.features.pool0 = nn.MaxPool2d(3, 2, 1)
        self.channels, self.stage_paths = (), {"stem": ("features.conv0", "features.norm0")}
        for stage, depth in enumerate(depths, 1):
            before: tuple[str, ...] = ()
            if stage > 1:
                self.features.add_module(f"transition{stage - 1}", Transition(width))
                width, before = width // 2, (f"features.transition{stage - 1}",)
            block = nn.Sequential()
            for index in range(1, depth + 1):
                block.add_module(f"denselayer{index}", DenseLayer(width, growth))
                width += growth
            self.features.add_module(f"denseblock{stage}", block)
            self.channels, self.stage_paths[str(stage)] = (*self.channels, width), (*before, f"features.denseblock{stage}")
        self.features.norm5 = nn.BatchNorm2d(width)
        self.stage_paths[str(len(depths))] += ("features.norm5",)
        self.strides = tuple(4 << stage for stage in range(len(depths)))
        self.relu, self.avgpool, self.classifier = nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Linear(width, num_classes)
        self.head_path, self.embedding_dim = "classifier", width
        self.apply(self.initialize)

    def initialize(self, layer: nn.Module) -> None:
        """He et al., arXiv:1502.01852; the head PyTorch's, its biases 0."""
        if isinstance(layer, nn.Conv2d):
            he_normal_(layer)
        elif isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        maps = []
        for name, module in self.features.named_children():
            x = module(x)
            if name.startswith("denseblock"):
                maps.append(x)
        return [*maps[:-1], self.relu(x)]

    def embed(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.avgpool(self.feature_maps(x)[-1]).flatten(1)
        return embedding


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict whose layers may have their old names (``denselayer1.norm.1.weight``) under today's (``norm1.weight``)."""
    return {re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name): tensor for name, tensor in state.items()}


def _table_1(*channels: int) -> tuple[PaperRow, ...]:
    """The table prints sizes alone; ``channels`` are those of the stem and each block, by the growth and depths it prints."""
    sides = (56, 28, 14, 7)
    rows = [PaperRow("Convolution", "features.conv0", (channels[0], 112, 112))]
    rows.append(PaperRow("Pooling", "features.pool0", (channels[0], 56, 56)))
    for stage, (width, side) in enumerate(zip(channels[1:], sides, strict=True), 1):
        rows.append(PaperRow(f"Dense Block ({stage})", f"features.denseblock{stage}", (width, side, side)))
        if stage < len(sides):
            rows.append(
                PaperRow(f"Transition Layer ({stage})", f"features.transition{stage}", (width // 2, side // 2, side // 2))
            )
    rows += [PaperRow("7x7 global average pool", "avgpool", (channels[-1], 1, 1))]
    return (*rows, PaperRow("1000D fully-connected", "classifier", (1000,)))


_paper = "G. Huang et al., Densely connected convolutional networks, CVPR 2017, arXiv:1608.06993"
_variant = partial(Variant, build=DenseNet, min_size=(29, 29), recipe="densenet", year=2016, paper=_paper)
_error = "top-1 / top-5 error {} / {} % (ImageNet validation, one crop, table 3)".format
VARIANTS = (
    _variant(
        "densenet121", arguments={"depths": (6, 12, 24, 16)}, accuracy=_error("25.02", "7.71"),
        paper_table=_table_1(64, 256, 512, 1024, 1024),
    ),
    _variant(
        "densenet169", arguments={"depths": (6, 12, 32, 32)}, accuracy=_error("23.80", "6.85"),
        paper_table=_table_1(64, 256, 512, 1280, 1664),
    ),
    _variant(
        "densenet201", arguments={"depths": (6, 12, 48, 32)}, accuracy=_error("22.58", "6.34"),
        paper_table=_table_1(64, 256, 512, 1792, 1920),
    ),
    _variant(
        "densenet161", arguments={"depths": (6, 12, 36, 24), "growth": 48},
        accuracy="top-1 error 22.2 % (ImageNet validation, one crop, the authors' page)",
        paper_table=_table_1(96, 384, 768, 2112, 2208),
    ),
)  # fmt: skip
