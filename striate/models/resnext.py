"""ResNeXt-50 32x4d for ImageNet (table 1): ResNet-50 whose bottlenecks convolve 32 groups of 4 channels.

S. Xie, R. Girshick, P. Dollar, Z. Tu, K. He, "Aggregated residual transformations for deep neural networks", CVPR 2017,
arXiv:1611.05431 (the block of figure 3c). Parameter names are torchvision's. No deviations.
"""

from __future__ import annotations

from functools import partial

from striate.models.resnet import Bottleneck, ResNet, table_1
from striate.models.variant import Variant

VARIANTS = (
    Variant(
        "resnext50_32x4d",
        ResNet,
        {"depths": (3, 4, 6, 3), "block": partial(Bottleneck, groups=32, base_width=4)},
        recipe="resnext",
        paper="S. Xie et al., Aggregated residual transformations, CVPR 2017, arXiv:1611.05431",
        year=2016,
        accuracy="top-1 error 22.2 % (ImageNet validation, one crop, table 3)",
        paper_table=table_1(256),
    ),
)
