"""VGG with 11, 13, 16 and 19 layers, with and without batch norm (table 1, columns A, B, D and E).

K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015, arXiv:1409.1556.
The lecture's table of VGG-16 has two convolutions in the third block; there are three.

Parameter names are torchvision's. Deviations, all torchvision's: an adaptive pool makes any size fit; batch norm after each
convolution in ``_bn`` (the paper, older than batch norm, has none); convolutions start as He et al., arXiv:1502.01852, say, by
fan-out, where the paper starts its deeper networks from its trained shallowest.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from striate.models.foreign import CAFFE_MEAN, CAFFE_STD, ForeignNames
from striate.models.pooled_stages import PooledStages, dense_classifier
from striate.models.variant import PaperRow, Variant

WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the five stages."""


class VGG(PooledStages):
    """``depths`` 3x3 convolutions a stage."""

    def __init__(self, num_classes: int, in_channels: int, *, depths: tuple[int, ...], batch_norm: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential()
        for depth, width in zip(depths, WIDTHS, strict=True):
            for _ in range(depth):
                self.features.append(nn.Conv2d(in_channels, width, 3, padding=1))
                if batch_norm:
                    self.features.append(nn.BatchNorm2d(width))
                self.features.append(nn.ReLU())
                in_channels = width
            self.features.append(nn.MaxPool2d(2))
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = dense_classifier(512 * 7 * 7, num_classes)
        self.set_stages()
        self.apply(self.initialize)

    def initialize(self, layer: nn.Module) -> None:
        """Convolutions by He et al., dense layers normal with standard deviation 0.01 as the paper's, biases 0."""
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _table(depths: tuple[int, ...], batch_norm: bool) -> tuple[PaperRow, ...]:
    """Table 1 prints the channels; the sizes are section 2.1's: 224 at first, halved by each pool."""
    rows, place, size = [], 0, 224
    for depth, width in zip(depths, WIDTHS, strict=True):
        for _ in range(depth):
            rows.append(PaperRow(f"conv3-{width}", f"features.{place}", (width, size, size)))
            place += 3 if batch_norm else 2
        size //= 2
        rows.append(PaperRow("maxpool", f"features.{place}", (width, size, size)))
        place += 1
    dense = (("FC-4096", 0, 4096), ("FC-4096", 3, 4096), ("FC-1000", 6, 1000))
    return (*rows, *(PaperRow(name, f"classifier.{place}", (width,)) for name, place, width in dense))


_vgg = partial(
    Variant, build=VGG, min_size=(32, 32), recipe="vgg", year=2014,
    paper="K. Simonyan, A. Zisserman, Very deep convolutional networks, ICLR 2015, arXiv:1409.1556",
)  # fmt: skip
# Depths of each column of table 1, and errors of table 3.
_COLUMNS = {
    "vgg11": ((1, 1, 2, 2, 2), "29.6/10.4 % (ImageNet 2012 validation, shorter side 256, whole image)"),
    "vgg13": ((2, 2, 2, 2, 2), "28.7/9.9 % (ImageNet 2012 validation, shorter side 256, whole image)"),
    "vgg16": ((2, 2, 3, 3, 3), "25.6/8.1 % (ImageNet 2012 validation, shorter side 384, whole image)"),
    "vgg19": ((2, 2, 4, 4, 4), "25.5/8.0 % (ImageNet 2012 validation, shorter side 384, whole image)"),
}
VARIANTS = (
    *(
        _vgg(name, arguments={"depths": depths}, accuracy=f"top-1/top-5 error {error}", paper_table=_table(depths, False))
        for name, (depths, error) in _COLUMNS.items()
    ),
    *(
        _vgg(f"{name}_bn", arguments={"depths": depths, "batch_norm": True}, paper_table=_table(depths, True))
        for name, (depths, _) in _COLUMNS.items()
    ),
)


def _vgg16_names(convolution: str, *dense: str) -> dict[str, str]:
    """Module path -> a name with the stage and the number within it; convolutions lie two places apart, and a pool between."""
    depths = _COLUMNS["vgg16"][0]
    places = {(s, n): 2 * (sum(depths[:s]) + n) + s for s, depth in enumerate(depths) for n in range(depth)}
    names = {f"features.{place}": convolution.format(s + 1, n + 1) for (s, n), place in places.items()}
    return names | {f"classifier.{place}": name for place, name in zip((0, 3, 6), dense, strict=True)}


_foreign = partial(ForeignNames, mean=CAFFE_MEAN, std=CAFFE_STD, bgr=True)
CAFFE_NAMES = {"vgg16": _foreign(_vgg16_names("conv{}_{}", "fc6", "fc7", "fc8"))}
"""Of the authors' VGG_ILSVRC_16_layers; untested on the published file."""
KERAS_NAMES = {
    "vgg16": _foreign(
        _vgg16_names("block{}_conv{}", "fc1", "fc2", "predictions"), flattened={"classifier.0": (512, 7, 7)}
    )
}  # fmt: skip
"""Of keras.applications.VGG16; untested on the published file."""
