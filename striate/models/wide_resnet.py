"""WRN-50-2-bottleneck for ImageNet (table 8): ResNet-50 whose 3x3 convolutions are twice as wide.

S. Zagoruyko, N. Komodakis, "Wide residual networks", BMVC 2016, arXiv:1605.07146. Parameter names are torchvision's. Deviation:
a bottleneck strides in its 3x3 convolution, as the published weights do.
"""

from __future__ import annotations

from functools import partial

from striate.models.resnet import Bottleneck, ResNet
from striate.models.variant import Variant

VARIANTS = (
    Variant(
        "wide_resnet50_2",
        ResNet,
        {"depths": (3, 4, 6, 3), "block": partial(Bottleneck, base_width=128)},
        recipe="wide_resnet",
        paper="S. Zagoruyko, N. Komodakis, Wide residual networks, BMVC 2016, arXiv:1605.07146",
        year=2016,
        accuracy="top-1 / top-5 error 21.9 / 6.03 % (ImageNet validation, one crop, table 8)",
    ),
)
