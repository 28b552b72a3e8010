"""EfficientNetV2 S (table 4), M and L.

M. Tan, Q. Le, "EfficientNetV2: smaller models and faster training", ICML 2021, arXiv:2104.00298. The paper prints S alone; M and
L are those of the authors' code. S is that of the paper's third version: the first had 272 and 1792 channels in stages 6 and 7.

Parameter names are torchvision's. Deviations, as the published weights have them: convolutions pad the same on both sides, as in
``efficientnet``; batch norms have momentum 0.1, as in the authors' code, where the text says 0.01 (0.99 in TensorFlow's terms).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import nn

from striate.layers import ConvNormAct
from striate.models.efficientnet import EfficientNet, Norm, Stage, mbconv
from striate.models.variant import PaperRow, Variant


def fused_mbconv(in_channels: int, out_channels: int, expansion: int, kernel: int, stride: int, norm: Norm) -> nn.Sequential:
    """Up by ``expansion`` in one full convolution, 1x1 down without an activation; one convolution where nothing expands."""
    conv = partial(ConvNormAct, norm=norm, activation=nn.SiLU)
    if expansion == 1:
        return nn.Sequential(conv(in_channels, out_channels, kernel, stride))
    wide = expansion * in_channels
    down = ConvNormAct(wide, out_channels, 1, norm=norm, activation=None)
    return nn.Sequential(conv(in_channels, wide, kernel, stride), down)


OPERATORS = (
    (fused_mbconv, 1, 3, 1),
    (fused_mbconv, 4, 3, 2),
    (fused_mbconv, 4, 3, 2),
    (mbconv, 4, 3, 2),
    (mbconv, 6, 3, 1),
    (mbconv, 6, 3, 2),
    (mbconv, 6, 3, 1),
)
"""Block, expansion, kernel and stride of stages 1 to 7; S ends with the sixth."""


def _variant(
    name: str, channels: tuple[int, ...], depths: tuple[int, ...], dropout: float, size: int, top1: float,
    paper_table: tuple[PaperRow, ...] = (),
) -> Variant:  # fmt: skip
    stages = tuple(Stage(*row, *sizes) for row, sizes in zip(OPERATORS, zip(channels, depths, strict=True), strict=False))
    norm = partial(nn.BatchNorm2d, eps=1e-3)
    return Variant(
        name, EfficientNet, {"stages": stages, "stem": channels[0], "dropout": dropout, "norm": norm},
        input_size=(size, size), resize=size, recipe="efficientnet_v2",
        paper="M. Tan, Q. Le, EfficientNetV2, ICML 2021, arXiv:2104.00298", year=2021, paper_table=paper_table,
        accuracy=f"top-1 {top1} % (ImageNet validation, one {size} x {size} crop, no other data)",
    )  # fmt: skip


_row = partial(PaperRow, note="printed as channels and a stride; the size follows")
_TABLE_4 = (
    _row("0: Conv3x3", "features.0", (24, 192, 192)),
    _row("1: Fused-MBConv1, k3x3", "features.1", (24, 192, 192)),
    _row("2: Fused-MBConv4, k3x3", "features.2", (48, 96, 96)),
    _row("3: Fused-MBConv4, k3x3", "features.3", (64, 48, 48)),
    _row("4: MBConv4, k3x3, SE0.25", "features.4", (128, 24, 24)),
    _row("5: MBConv6, k3x3, SE0.25", "features.5", (160, 24, 24)),
    _row("6: MBConv6, k3x3, SE0.25", "features.6", (256, 12, 12)),
    _row("7: Conv1x1 & Pooling & FC", "features.7", (1280, 12, 12)),
)
_S, _M, _L = (24, 48, 64, 128, 160, 256), (24, 48, 80, 160, 176, 304, 512), (32, 64, 96, 192, 224, 384, 640)
_half = (0.5, 0.5, 0.5)
VARIANTS = (
    _variant("efficientnet_v2_s", _S, (2, 4, 4, 6, 9, 15), 0.2, 384, 83.9, _TABLE_4),
    _variant("efficientnet_v2_m", _M, (3, 5, 5, 7, 14, 18, 5), 0.3, 480, 85.1),
    replace(
        _variant("efficientnet_v2_l", _L, (4, 7, 7, 10, 19, 25, 7), 0.4, 480, 85.7),
        interpolation="bicubic",
        mean=_half,
        std=_half,
    ),
)
