"""Residual networks for ImageNet (table 1) and CIFAR-10 (section 4.2).

K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition", CVPR 2016, arXiv:1512.03385.
Parameter names are torchvision's, and for CIFAR those of akamaster/pytorch_resnet_cifar10. Deviations: a bottleneck strides in
its 3x3 convolution, as the published weights do (v1.5); the ``_v1`` ones stride in the first 1x1, as the paper does. The CIFAR
networks' parameter-free shortcut (option A) puts half of its zero channels before the others and half after, and their images
are normalised with ImageNet's mean and standard deviation, where the paper subtracts the mean image: both as those weights do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from striate.models.foreign import CAFFE_MEAN, CAFFE_STD, ForeignNames
from striate.models.variant import Network, PaperRow, Variant


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size but for its stride; the batch norm behind it has the bias."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)


class ZeroPadding(nn.Module):
    """Option A: every ``stride``-th pixel, and zeros for the new channels."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.before = stride, (out_channels - in_channels) // 2
        self.after = out_channels - in_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Option B: a 1x1 convolution and a batch norm."""
    return nn.Sequential(conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


Shortcut = Callable[[int, int, int], nn.Module]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    overwrites: ClassVar[bool] = True

    def __init__(self, in_channels: int, planes: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.out_channels = planes
        self.conv1, self.bn1 = conv(in_channels, planes, 3, stride), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, 3), nn.BatchNorm2d(planes)
        self.relu = nn.ReLU()
        same = stride == 1 and in_channels == planes
        self.downsample = nn.Identity() if same else shortcut(in_channels, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.relu(self.bn2(self.conv2(y)) + self.downsample(x))
        return out


class Bottleneck(nn.Module):
    """1x1 down, 3x3 in ``groups`` of ``base_width`` channels (at 64 planes), 1x1 up to 4 times the planes, beside a shortcut.

    ``scale``: name and maker (of so many channels) of a module that scales the channels before the two are added.
    """

    overwrites: ClassVar[bool] = True

    def __init__(
        self, in_channels: int, planes: int, stride: int, shortcut: Shortcut, *, groups: int = 1, base_width: int = 64,
        stride_in_1x1: bool = False, scale: tuple[str, Callable[[int], nn.Module]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        width, self.out_channels = planes * base_width // 64 * groups, 4 * planes
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1, self.bn1 = conv(in_channels, width, 1, first), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, second, groups), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, self.out_channels, 1), nn.BatchNorm2d(self.out_channels)
        self.scale_path = ""
        if scale is not None:
            self.scale_path, make = scale
            self.add_module(self.scale_path, make(self.out_channels))
        self.relu = nn.ReLU()
        same = stride == 1 and in_channels == self.out_channels
        self.downsample = nn.Identity() if same else shortcut(in_channels, self.out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        if self.scale_path:
            y = self.get_submodule(self.scale_path)(y)
        out: Tensor = self.relu(y + self.downsample(x))
        return out


class ResNet(Network):
    """``depths`` blocks a stage; each stage after the first halves the map and doubles the planes.

    ``cifar``: 16 planes at first, a 3x3 stem that keeps the size, option A, and the head's name ``linear``.
    """

    overwrites: ClassVar[bool] = True

    def __init__(
        self, num_classes: int, in_channels: int, *, depths: tuple[int, ...],
        block: Callable[[int, int, int, Shortcut], BasicBlock | Bottleneck] = BasicBlock, cifar: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        planes, stem_stride = (16, 1) if cifar else (64, 4)
        self.conv1 = conv(in_channels, planes, 3) if cifar else conv(in_channels, planes, 7, 2)
        self.bn1, self.relu = nn.BatchNorm2d(planes), nn.ReLU()
        self.maxpool = nn.Identity() if cifar else nn.MaxPool2d(3, 2, 1)
        self.channels, self.stage_paths, width = (), {"stem": ("conv1", "bn1")}, planes
        for stage, depth in enumerate(depths, 1):
            layer = nn.Sequential()
            for index in range(depth):
                stride = 2 if stage > 1 and index == 0 else 1
                unit = block(width, planes << stage - 1, stride, ZeroPadding if cifar else projection)
                layer.append(unit)
                width = unit.out_channels
            self.add_module(f"layer{stage}", layer)
            self.channels, self.stage_paths[str(stage)] = (*self.channels, width), (f"layer{stage}",)
        self.strides = tuple(stem_stride << stage for stage in range(len(depths)))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.head_path, self.embedding_dim = "linear" if cifar else "fc", width
        self.add_module(self.head_path, nn.Linear(width, num_classes))
        self.apply(self.initialize)

    def initialize(self, layer: nn.Module) -> None:
        """He et al., arXiv:1502.01852, by fan-out, as torchvision reads the paper; the head stays PyTorch's."""
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        x, maps = self.maxpool(self.relu(self.bn1(self.conv1(x)))), []
        for stage in range(1, len(self.channels) + 1):
            x = self.get_submodule(f"layer{stage}")(x)
            maps.append(x)
        return maps

    def embed(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.avgpool(self.feature_maps(x)[-1]).flatten(1)
        return embedding


def table_1(first: int, conv1: str = "conv1", pool: str = "avgpool", fc: str = "fc") -> tuple[PaperRow, ...]:
    """The paper's table for 224 x 224 pixels, ``first`` being the channels out of conv2_x: 64 or, with bottlenecks, 256."""
    stages = [(first << stage, 56 >> stage) for stage in range(4)]
    rows = (PaperRow(f"conv{i + 1}_x", f"layer{i}", (width, side, side)) for i, (width, side) in enumerate(stages, 1))
    head = PaperRow("average pool", pool, (8 * first, 1, 1)), PaperRow("1000-d fc", fc, (1000,))
    return (PaperRow("conv1", conv1, (64, 112, 112)), *rows, *head)


_resnet = partial(Variant, build=ResNet, year=2015, paper="K. He et al., Deep residual learning, CVPR 2016, arXiv:1512.03385")
_sizes = tuple(PaperRow(f"{side} x {side}", f"layer{i}", (512 // side, side, side)) for i, side in enumerate((32, 16, 8), 1))
_cifar = partial(_resnet, num_classes=10, input_size=(32, 32), resize=None, recipe="resnet_cifar", paper_table=_sizes)
_basic, _deep = (partial(_resnet, recipe="resnet", paper_table=table_1(channels)) for channels in (64, 256))
_error = "top-1 / top-5 error {} % (ImageNet validation, 10 crops, table 3{})".format
_V1 = partial(Bottleneck, stride_in_1x1=True)
VARIANTS = (
    _basic("resnet18", arguments={"depths": (2, 2, 2, 2)}, accuracy="top-1 error 27.88 % (ImageNet validation, 10 crops)"),
    _basic("resnet34", arguments={"depths": (3, 4, 6, 3)}, accuracy=_error("24.52 / 7.46", ", option B")),
    _deep("resnet50", arguments={"depths": (3, 4, 6, 3), "block": Bottleneck}, accuracy=_error("22.85 / 6.71", "; of v1")),
    _deep("resnet101", arguments={"depths": (3, 4, 23, 3), "block": Bottleneck}, accuracy=_error("21.75 / 6.05", "; of v1")),
    _deep("resnet152", arguments={"depths": (3, 8, 36, 3), "block": Bottleneck}, accuracy=_error("21.43 / 5.71", "; of v1")),
    _deep("resnet50_v1", arguments={"depths": (3, 4, 6, 3), "block": _V1}, accuracy=_error("22.85 / 6.71", "")),
    _deep("resnet101_v1", arguments={"depths": (3, 4, 23, 3), "block": _V1}, accuracy=_error("21.75 / 6.05", "")),
    _deep("resnet152_v1", arguments={"depths": (3, 8, 36, 3), "block": _V1}, accuracy=_error("21.43 / 5.71", "")),
    *(
        _cifar(
            f"resnet{6 * n + 2}_cifar", arguments={"depths": (n, n, n), "cifar": True}, accuracy=f"error {e} % (CIFAR-10 test)"
        )
        for n, e in ((3, 8.75), (5, 7.51), (7, 7.17), (9, 6.97), (18, 6.43))
    ),
)


def _names(stem: tuple[str, str], head: str, layers: Callable[[int, int, int], tuple[str, str]]) -> dict[str, str]:
    """Module path -> name for ResNet-50; ``layers`` names convolution and norm by stage, block and place, 0 the shortcut's."""
    names = {"conv1": stem[0], "bn1": stem[1]}
    for stage, depth in enumerate((3, 4, 6, 3), 1):
        for block in range(depth):
            for place in range(0 if block == 0 else 1, 4):
                ours = (f"conv{place}", f"bn{place}") if place else ("downsample.0", "downsample.1")
                names |= zip((f"layer{stage}.{block}.{path}" for path in ours), layers(stage, block, place), strict=True)
    return names | {"fc": head}


def _caffe_layers(stage: int, block: int, place: int) -> tuple[str, str]:
    unit = f"{stage + 1}{'abcdef'[block]}_branch{('1', '2a', '2b', '2c')[place]}"
    return f"res{unit}", f"bn{unit} scale{unit}"


def _keras_layers(stage: int, block: int, place: int) -> tuple[str, str]:
    unit = f"conv{stage + 1}_block{block + 1}_{place}"
    return f"{unit}_conv", f"{unit}_bn"


_foreign = partial(ForeignNames, mean=CAFFE_MEAN, std=CAFFE_STD, bgr=True)
CAFFE_NAMES = {
    "resnet50_v1": _foreign(
        _names(("conv1", "bn_conv1 scale_conv1"), "fc1000", _caffe_layers),
        differs="Caffe's pooling does not pad: its windows lie a pixel further down and right",
    )
}
"""Of the authors' ResNet-50; untested on the published file."""
KERAS_NAMES = {
    "resnet50_v1": _foreign(_names(("conv1_conv", "conv1_bn"), "predictions", _keras_layers), norm_eps=1.001e-5)
}  # fmt: skip
"""Of keras.applications.ResNet50; untested on the published file."""
