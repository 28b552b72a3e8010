"""SE-ResNet-50 for ImageNet (table 1): ResNet-50 whose bottlenecks scale their channels before the shortcut joins.

J. Hu, L. Shen, S. Albanie, G. Sun, E. Wu, "Squeeze-and-excitation networks", CVPR 2018, arXiv:1709.01507. ``seresnet50`` has
timm's parameter names and strides in the 3x3 convolutions (v1.5), as those weights do. ``seresnet50_caffe`` is the authors'
network: it strides in the first 1x1, and its pooling does not pad but rounds up; its names are those of timm's
``legacy_seresnet50``, into which their weights were converted.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from striate.layers import SqueezeExcitation
from striate.models.resnet import Bottleneck, ResNet, conv, projection, table_1
from striate.models.variant import Network, Variant


def excitation(channels: int) -> SqueezeExcitation:
    """With the paper's reduction ratio 16."""
    return SqueezeExcitation(channels, channels // 16)


class CaffeSEResNet(Network):
    """ResNet with the strides, the pooling and the names of the authors' Caffe files."""

    def __init__(self, num_classes: int, in_channels: int, *, depths: tuple[int, ...]) -> None:
        super().__init__()
        self.layer0 = nn.Sequential()
        self.layer0.conv1, self.layer0.bn1, self.layer0.relu1 = conv(in_channels, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU()
        self.pool0 = nn.MaxPool2d(3, 2, ceil_mode=True)
        block = partial(Bottleneck, shortcut=projection, stride_in_1x1=True, scale=("se_module", excitation))
        width, self.channels, self.stage_paths = 64, (), {"stem": ("layer0",)}
        for stage, depth in enumerate(depths, 1):
            layer = nn.Sequential()
            for index in range(depth):
                layer.append(block(width, 32 << stage, 2 if stage > 1 and index == 0 else 1))
                width = 128 << stage
            self.add_module(f"layer{stage}", layer)
            self.channels, self.stage_paths[str(stage)] = (*self.channels, width), (f"layer{stage}",)
        self.strides = tuple(4 << stage for stage in range(len(depths)))
        self.avg_pool, self.last_linear = nn.AdaptiveAvgPool2d(1), nn.Linear(width, num_classes)
        self.head_path, self.embedding_dim = "last_linear", width
        self.apply(self.initialize)

    def initialize(self, layer: nn.Module) -> None:
        """He et al., arXiv:1502.01852, by fan-out; the head stays PyTorch's."""
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        x, maps = self.pool0(self.layer0(x)), []
        for stage in range(1, len(self.channels) + 1):
            x = self.get_submodule(f"layer{stage}")(x)
            maps.append(x)
        return maps

    def embed(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.avg_pool(self.feature_maps(x)[-1]).flatten(1)
        return embedding


_se_resnet = partial(
    Variant, recipe="se_resnet", year=2017, paper="J. Hu et al., Squeeze-and-excitation networks, CVPR 2018, arXiv:1709.01507",
    accuracy="top-1 / top-5 error 23.29 / 6.62 % (ImageNet validation, one crop, table 2)",
)  # fmt: skip
VARIANTS = (
    _se_resnet(
        "seresnet50",
        ResNet,
        {"depths": (3, 4, 6, 3), "block": partial(Bottleneck, scale=("se", excitation))},
        interpolation="bicubic",
        paper_table=table_1(256),
    ),
    _se_resnet(
        "seresnet50_caffe",
        CaffeSEResNet,
        {"depths": (3, 4, 6, 3)},
        min_size=(3, 3),
        paper_table=table_1(256, "layer0.conv1", "avg_pool", "last_linear"),
    ),
)
