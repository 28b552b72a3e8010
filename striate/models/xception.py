"""Xception (figure 5).

F. Chollet, "Xception: deep learning with depthwise separable convolutions", CVPR 2017, arXiv:1610.02357.

Initialisation is Glorot's uniform, as in the author's Keras code. Names are timm's (``legacy_xception``), and so is the batch
norm's epsilon (1e-5; Keras has 1e-3). The maps are taken before the ReLU that the next block begins with.
"""

from __future__ import annotations

from torch import Tensor, nn

from striate.models.variant import Network, PaperRow, Variant


class SeparableConv2d(nn.Module):
    """A 3x3 convolution of each channel alone, then a 1x1 one across them, nothing in between."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, 1, 1, groups=in_channels, bias=False)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pointwise(self.conv1(x))
        return out


class Block(nn.Module):
    """ReLU, separable convolution and batch norm for each of ``widths``, then a max pool where it strides, beside a shortcut."""

    def __init__(self, in_channels: int, widths: tuple[int, ...], stride: int = 1, *, relu_first: bool = True) -> None:
        super().__init__()
        same = stride == 1 and widths[-1] == in_channels
        self.skip = nn.Identity() if same else nn.Conv2d(in_channels, widths[-1], 1, stride, bias=False)
        self.skipbn = nn.Identity() if same else nn.BatchNorm2d(widths[-1])
        self.rep = nn.Sequential()
        for before, width in zip((in_channels, *widths), widths, strict=False):
            if relu_first or len(self.rep):
                self.rep.append(nn.ReLU())
            self.rep.extend([SeparableConv2d(before, width), nn.BatchNorm2d(width)])
        if stride > 1:
            self.rep.append(nn.MaxPool2d(3, stride, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.rep(x) + self.skipbn(self.skip(x))
        return out


class Xception(Network):
    """Entry flow to ``block3``, eight blocks of middle flow, exit flow from ``block12``."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(in_channels, 32, 3, 2, bias=False), nn.BatchNorm2d(32)
        self.conv2, self.bn2 = nn.Conv2d(32, 64, 3, bias=False), nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.block1 = Block(64, (128, 128), 2, relu_first=False)
        self.block2, self.block3 = Block(128, (256, 256), 2), Block(256, (728, 728), 2)
        middle = tuple(f"block{number}" for number in range(4, 12))
        for name in middle:
            self.add_module(name, Block(728, (728, 728, 728)))
        self.block12 = Block(728, (728, 1024), 2)
        self.conv3, self.bn3 = SeparableConv2d(1024, 1536), nn.BatchNorm2d(1536)
        self.conv4, self.bn4 = SeparableConv2d(1536, 2048), nn.BatchNorm2d(2048)
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.dropout, self.fc = nn.Dropout(0.5), nn.Linear(2048, num_classes)
        self.channels, self.strides = (128, 256, 728, 2048), (4, 8, 16, 32)
        self.stage_paths = {
            "stem": ("conv1", "bn1", "conv2", "bn2"), "1": ("block1",), "2": ("block2",), "3": ("block3", *middle),
            "4": ("block12", "conv3", "bn3", "conv4", "bn4"),
        }  # fmt: skip
        self.head_path, self.embedding_dim = "fc", 2048
        self.apply(self.initialize)

    def initialize(self, layer: nn.Module) -> None:
        """Glorot's uniform, the fans of a depthwise convolution counted over all its channels; biases 0."""
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        x = self.relu(self.bn1(self.conv1(x)))
        x, maps = self.relu(self.bn2(self.conv2(x))), []
        for stage in ("1", "2", "3"):
            for name in self.stage_paths[stage]:
                x = self.get_submodule(name)(x)
            maps.append(x)
        x = self.relu(self.bn3(self.conv3(self.block12(x))))
        return [*maps, self.relu(self.bn4(self.conv4(x)))]

    def embed(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.dropout(self.global_pool(self.feature_maps(x)[-1]))
        return embedding


FIGURE_5 = (
    PaperRow("entry flow", "block3", (728, 19, 19)),
    PaperRow("middle flow", "block11", (728, 19, 19)),
    PaperRow("exit flow: global average pooling", "global_pool", (2048,)),
)

VARIANTS = (
    Variant(
        "xception", Xception, input_size=(299, 299), min_size=(7, 7), recipe="xception", resize=333, interpolation="bicubic",
        mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), year=2016, paper_table=FIGURE_5,
        paper="F. Chollet, Xception: deep learning with depthwise separable convolutions, CVPR 2017, arXiv:1610.02357",
        accuracy="top-1 accuracy 79.0 %, top-5 94.5 % (ImageNet validation, 1 crop)",
    ),
)  # fmt: skip
