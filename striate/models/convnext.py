"""ConvNeXt tiny, small, base and large (section 3.1 and table 9).

Z. Liu, H. Mao, C.-Y. Wu, C. Feichtenhofer, T. Darrell, S. Xie, "A ConvNet for the 2020s", CVPR 2022, arXiv:2201.03545.

Parameter names are torchvision's. No deviation.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from striate.layers import LayerNorm2d, StochasticDepth
from striate.models.variant import Network, PaperRow, Variant


class Permute(nn.Module):
    """Reorders dimensions."""

    def __init__(self, *dimensions: int) -> None:
        super().__init__()
        self.dimensions = dimensions

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.dimensions)


class ConvNeXtBlock(nn.Module):
    """7x7 depthwise, layer norm, dense up to 4 times the channels, GELU, dense down; scaled, and added to the input."""

    def __init__(self, channels: int, drop: float) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(torch.full((channels, 1, 1), 1e-6))
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            Permute(0, 2, 3, 1),
            nn.LayerNorm(channels, eps=1e-6),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
            Permute(0, 3, 1, 2),
        )
        self.stochastic_depth = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.stochastic_depth(self.layer_scale * self.block(x))
        return out


class ConvNeXt(Network):
    """A 4x4 patch stem, then stages of ``depths`` blocks, ``width`` channels in the first and twice the last one's in the next.

    The share of images for which a block is left out grows linearly from 0 to ``drop`` at the last.
    """

    def __init__(self, num_classes: int, in_channels: int, *, depths: tuple[int, ...], width: int, drop: float) -> None:
        super().__init__()
        norm = partial(LayerNorm2d, eps=1e-6)
        self.channels = tuple(width << stage for stage in range(len(depths)))
        self.strides = tuple(4 << stage for stage in range(len(depths)))
        self.features = nn.Sequential(nn.Sequential(nn.Conv2d(in_channels, width, 4, 4), norm(width)))
        self.stage_paths = {"stem": ("features.0",), "1": ("features.1",)}
        drops = (drop * block / (sum(depths) - 1) for block in range(sum(depths)))
        for stage, (channels, depth) in enumerate(zip(self.channels, depths, strict=True)):
            if stage:
                self.features.append(nn.Sequential(norm(channels // 2), nn.Conv2d(channels // 2, channels, 2, 2)))
                self.stage_paths[str(stage + 1)] = (f"features.{2 * stage}", f"features.{2 * stage + 1}")
            self.features.append(nn.Sequential(*(ConvNeXtBlock(channels, next(drops)) for _ in range(depth))))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.embedding_dim = self.channels[-1]
        self.classifier = nn.Sequential(norm(self.embedding_dim), nn.Flatten(), nn.Linear(self.embedding_dim, num_classes))
        self.head_path = "classifier.2"
        self.apply(self.initialize)

    def initialize(self, layer: nn.Module) -> None:
        """Table 5: weights from a normal of 0.02, truncated, biases 0."""
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index % 2:  # between the stages come the layers that halve the map
                maps.append(x)
        return maps

    def embed(self, x: Tensor) -> Tensor:
        norm, flatten, _ = self.classifier
        embedding: Tensor = flatten(norm(self.avgpool(self.feature_maps(x)[-1])))
        return embedding


_TABLE_9 = (
    PaperRow("stem", "features.0", (96, 56, 56)),
    PaperRow("res2", "features.1", (96, 56, 56)),
    PaperRow("res3", "features.3", (192, 28, 28)),
    PaperRow("res4", "features.5", (384, 14, 14)),
    PaperRow("res5", "features.7", (768, 7, 7)),
)


def _variant(
    name: str, depths: tuple[int, ...], width: int, drop: float, resize: int, top1: float, table: tuple[PaperRow, ...] = ()
) -> Variant:
    return Variant(
        name, ConvNeXt, {"depths": depths, "width": width, "drop": drop}, min_size=(32, 32), resize=resize,
        recipe="convnext", paper="Z. Liu et al., A ConvNet for the 2020s, CVPR 2022, arXiv:2201.03545", year=2022,
        accuracy=f"top-1 {top1} % (ImageNet validation, one 224 x 224 crop, no other data)", paper_table=table,
    )  # fmt: skip


VARIANTS = (
    _variant("convnext_tiny", (3, 3, 9, 3), 96, 0.1, 236, 82.1, _TABLE_9),
    _variant("convnext_small", (3, 3, 27, 3), 96, 0.4, 230, 83.1),
    _variant("convnext_base", (3, 3, 27, 3), 128, 0.5, 232, 83.8),
    _variant("convnext_large", (3, 3, 27, 3), 192, 0.5, 232, 84.3),
)
