"""GoogLeNet (table 1).

C. Szegedy et al., "Going deeper with convolutions", CVPR 2015, arXiv:1409.4842.

``googlenet_2014`` is the paper's: 5x5 convolutions, local response norm (figure 3), no batch norm. What the paper leaves open is
as in BVLC's Caffe model, made with its first author's help: norms over 5 channels with alpha 0.0001 and beta 0.75, "Xavier"
initialisation with biases of 0.2, and pixels on the 0..255 scale less the mean; hence the record's deviation of 1/255.

``googlenet`` is the network whose weights torchvision publishes, converted from TensorFlow: batch norm in place of response norm,
3x3 where the paper has 5x5 (an error in that conversion's source, kept because the weights need it), a 2x2 max pool before
inception (5a), and 20 % dropout instead of 40 %. Those weights were trained on pixels in -1..1. torchvision normalises by
ImageNet's mean and deviation and transforms the result (``transform_input``), which comes to the same; here the record's mean
and deviation of 0.5 do it, and the network has no such switch.

Names are torchvision's. Deviations: pools adapt to other image sizes, at 224 pixels they are the paper's; the classifiers return
logits, without softmax.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.layers import BasicConv2d
from striate.models.foreign import ForeignNames
from striate.models.variant import Network, PaperRow, Variant

INCEPTIONS = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}
"""Filters: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection."""
MAPS = ("norm2", "inception3b", "inception4e", "inception5b")
"""The last module of each stage."""


class Inception(nn.Module):
    """1x1, 3x3 and 5x5 convolutions and a max pool side by side, 1x1 convolutions narrowing what they read (figure 2b)."""

    def __init__(self, in_channels: int, filters: tuple[int, int, int, int, int, int], batch_norm: bool) -> None:
        super().__init__()
        conv = partial(BasicConv2d, norm=batch_norm)
        one, reduce3, three, reduce5, five, projection = filters
        self.out_channels = one + three + five + projection
        self.branch1 = conv(in_channels, one)
        self.branch2 = nn.Sequential(conv(in_channels, reduce3), conv(reduce3, three, 3))
        self.branch3 = nn.Sequential(conv(in_channels, reduce5), conv(reduce5, five, 3 if batch_norm else 5))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(in_channels, projection))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class AuxiliaryClassifier(nn.Module):
    """Section 5: 5x5 average pool of stride 3, 128 1x1 filters, 1024 units, 70 % dropout, logits."""

    def __init__(self, in_channels: int, num_classes: int, batch_norm: bool) -> None:
        super().__init__()
        fit = nn.AdaptiveAvgPool2d(4)  # leaves 4x4 as it is
        self.pool = fit if batch_norm else nn.Sequential(nn.AvgPool2d(5, 3), fit)
        self.conv = BasicConv2d(in_channels, 128, norm=batch_norm)
        self.fc1, self.fc2 = nn.Linear(128 * 4 * 4, 1024), nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(0.7)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.fc1(self.conv(self.pool(x)).flatten(1)))
        logits: Tensor = self.fc2(self.dropout(hidden))
        return logits


class GoogLeNet(Network):
    """Nine Inception blocks after three convolutions; the auxiliary classifiers read (4a) and (4d)."""

    def __init__(self, num_classes: int, in_channels: int, *, batch_norm: bool) -> None:
        super().__init__()
        self.batch_norm = batch_norm
        conv = partial(BasicConv2d, norm=batch_norm)
        pool = partial(nn.MaxPool2d, 3, 2, ceil_mode=True)
        norm = nn.Identity if batch_norm else partial(nn.LocalResponseNorm, 5, alpha=0.0001, beta=0.75)
        self.conv1, self.maxpool1, self.norm1 = conv(in_channels, 64, 7, 2), pool(), norm()
        self.conv2, self.conv3, self.norm2 = conv(64, 64), conv(64, 192, 3), norm()
        self.maxpool2, width = pool(), 192
        widths = {"norm2": width}
        for name, filters in INCEPTIONS.items():
            if name == "inception4a":
                self.maxpool3 = pool()
            if name == "inception5a":
                self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True) if batch_norm else pool()
            block = Inception(width, filters, batch_norm)
            self.add_module(name, block)
            widths[name] = width = block.out_channels
        self.trunk = tuple(name for name, _ in self.named_children())
        self.aux1 = AuxiliaryClassifier(widths["inception4a"], num_classes, batch_norm)
        self.aux2 = AuxiliaryClassifier(widths["inception4d"], num_classes, batch_norm)
        self.avgpool, self.dropout = nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2 if batch_norm else 0.4)
        self.fc = nn.Linear(width, num_classes)
        self.channels, self.strides = tuple(widths[name] for name in MAPS), (4, 8, 16, 32)
        self.stage_paths = {
            "stem": ("conv1",), "1": ("conv2", "conv3"), "2": ("inception3a", "inception3b"),
            "3": tuple(f"inception4{letter}" for letter in "abcde"), "4": ("inception5a", "inception5b"),
        }  # fmt: skip
        self.head_path, self.embedding_dim = "fc", width
        self.aux_head_paths, self.aux_weight = ("aux1.fc2", "aux2.fc2"), 0.3
        self.apply(self.initialize)

    def initialize(self, layer: nn.Module) -> None:
        """With batch norm a normal of deviation 0.01 cut at twice that; without, Caffe's Xavier: uniform, variance 1 / fan-in."""
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            return
        if self.batch_norm:
            nn.init.trunc_normal_(layer.weight, std=0.01, a=-0.02, b=0.02)
        else:
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")
        if layer.bias is not None:
            classifier = isinstance(layer, nn.Linear) and layer.in_features == self.embedding_dim
            nn.init.constant_(layer.bias, 0 if self.batch_norm or classifier else 0.2)

    def outputs(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The name and output of each module up to the pool before the head, in order."""
        for name in self.trunk:
            x = self.get_submodule(name)(x)
            yield name, x

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        return [output for name, output in self.outputs(x) if name in MAPS]

    def pooled(self, last_map: Tensor) -> Tensor:
        """[N, 1024, H, W] -> [N, 1024]."""
        embedding: Tensor = self.dropout(self.avgpool(last_map)).flatten(1)
        return embedding

    def embed(self, x: Tensor) -> Tensor:
        return self.pooled(self.feature_maps(x)[-1])

    def forward_with_aux(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        wanted = ("inception4a", "inception4d", "inception5b")
        first, second, last = [output for name, output in self.outputs(x) if name in wanted]
        return self.fc(self.pooled(last)), (self.aux1(first), self.aux2(second))


TABLE_1 = (
    PaperRow("convolution 7x7/2", "conv1", (64, 112, 112)),
    PaperRow("max pool 3x3/2", "maxpool1", (64, 56, 56)),
    PaperRow("convolution 3x3/1", "conv3", (192, 56, 56)),
    PaperRow("max pool 3x3/2", "maxpool2", (192, 28, 28)),
    PaperRow("inception (3a)", "inception3a", (256, 28, 28)),
    PaperRow("inception (3b)", "inception3b", (480, 28, 28)),
    PaperRow("max pool 3x3/2", "maxpool3", (480, 14, 14)),
    PaperRow("inception (4a)", "inception4a", (512, 14, 14)),
    PaperRow("inception (4b)", "inception4b", (512, 14, 14)),
    PaperRow("inception (4c)", "inception4c", (512, 14, 14)),
    PaperRow("inception (4d)", "inception4d", (528, 14, 14)),
    PaperRow("inception (4e)", "inception4e", (832, 14, 14)),
    PaperRow("max pool 3x3/2", "maxpool4", (832, 7, 7)),
    PaperRow("inception (5a)", "inception5a", (832, 7, 7)),
    PaperRow("inception (5b)", "inception5b", (1024, 7, 7)),
    PaperRow("avg pool 7x7/1", "avgpool", (1024, 1, 1)),
    PaperRow("dropout (40%)", "dropout", (1024, 1, 1)),
    PaperRow("linear", "fc", (1000,)),
)

_googlenet = partial(
    Variant, build=GoogLeNet, recipe="googlenet", year=2014, paper_table=TABLE_1,
    paper="C. Szegedy et al., Going deeper with convolutions, CVPR 2015, arXiv:1409.4842",
)  # fmt: skip

VARIANTS = (
    _googlenet(
        "googlenet", arguments={"batch_norm": True}, min_size=(15, 15), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5),
        accuracy="top-1 error 30.22 %, top-5 10.47 % (ImageNet validation, 1 crop; the published weights, not the paper)",
    ),
    # Training needs 5x5 pixels under the auxiliary classifiers' pool; without them 31 pixels would do.
    _googlenet(
        "googlenet_2014", arguments={"batch_norm": False}, min_size=(79, 79),
        mean=(123 / 255, 117 / 255, 104 / 255), std=(1 / 255, 1 / 255, 1 / 255),
        accuracy="top-5 error 10.07 % (ImageNet validation, 1 crop), 7.89 % (144 crops), 6.67 % (7 networks, 144 crops)",
    ),
)  # fmt: skip

_BRANCHES = {
    "branch1": "1x1", "branch2.0": "3x3_reduce", "branch2.1": "3x3", "branch3.0": "5x5_reduce", "branch3.1": "5x5",
    "branch4.1": "pool_proj",
}  # fmt: skip
_CAFFE = {
    "conv1.conv": "conv1/7x7_s2", "conv2.conv": "conv2/3x3_reduce", "conv3.conv": "conv2/3x3",
    **{
        f"{block}.{branch}.conv": f"inception_{block.removeprefix('inception')}/{name}"
        for block in INCEPTIONS for branch, name in _BRANCHES.items()
    },
    **{
        f"aux{number}.{layer}": f"loss{number}/{name}"
        for number in (1, 2) for layer, name in (("conv.conv", "conv"), ("fc1", "fc"), ("fc2", "classifier"))
    },
    "fc": "loss3/classifier",
}  # fmt: skip
CAFFE_NAMES = {"googlenet_2014": ForeignNames(_CAFFE, bgr=True)}
"""Of bvlc_googlenet; untested on the published file."""
