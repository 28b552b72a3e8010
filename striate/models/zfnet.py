"""ZFNet, 62,357,608 parameters: AlexNet with a finer first layer, found by looking at what its layers had learnt.

M. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, arXiv:1311.2901, fig. 3.

The figure prints sizes but no padding. Of what gives 110, 55, 26 and 13, this is one: a pixel around the image, one around each
3x3 convolution, none around the 5x5, and pools that round up. "Contrast normalized across feature maps" after the first two
pools is taken to be AlexNet's response normalisation with AlexNet's constants; the paper names none. Layer 7 and the classes
follow layer 6 as in AlexNet. Names are our own: the layers of ``features`` and ``classifier``, counted, as in ``alexnet_2012``.

Deviations: the mean colour is subtracted, where the paper subtracts each pixel's mean; first-layer filters are not rescaled to
a norm of 0.1 while training; weights "initialized to 10^-2" are drawn with that standard deviation.
"""

from __future__ import annotations

from torch import nn

from striate.models.pooled_stages import FixedPooledStages, local_response_norm
from striate.models.variant import PaperRow, Variant


class ZFNet(FixedPooledStages):
    """Five convolutions and three dense layers."""

    def __init__(self, num_classes: int, in_channels: int, input_size: tuple[int, int]) -> None:
        features = nn.Sequential(
            nn.Conv2d(in_channels, 96, 7, 2, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), local_response_norm(),
            nn.Conv2d(96, 256, 5, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), local_response_norm(),
            nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
        )  # fmt: skip
        super().__init__(num_classes, in_channels, input_size, features)
        self.apply(self.initialize)


VARIANTS = (
    Variant(
        "zfnet", ZFNet, min_size=(47, 47), fixed_size=True, recipe="zfnet", std=(1 / 255,) * 3, year=2013,
        paper="M. Zeiler, R. Fergus, Visualizing and understanding convolutional networks, ECCV 2014, arXiv:1311.2901",
        accuracy="top-1/top-5 error 38.4/16.5 % (ImageNet 2012 validation, ten crops); top-5 14.8 % (test, 6 networks)",
        paper_table=(
            PaperRow("Layer 1: convolution", "features.0", (96, 110, 110)),
            PaperRow("Layer 1", "features.3", (96, 55, 55)),
            PaperRow("Layer 2: convolution", "features.4", (256, 26, 26)),
            PaperRow("Layer 2", "features.7", (256, 13, 13)),
            PaperRow("Layer 3", "features.9", (384, 13, 13)),
            PaperRow("Layer 4", "features.11", (384, 13, 13)),
            PaperRow("Layer 5", "features.14", (256, 6, 6)),
            PaperRow("Layer 6", "classifier.0", (4096,)),
            PaperRow("Layer 7", "classifier.3", (4096,)),
            PaperRow("Output", "classifier.6", (1000,), "C class softmax"),
        ),
    ),
)  # fmt: skip
