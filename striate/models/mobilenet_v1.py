"""MobileNet v1 for ImageNet (table 1).

A. Howard, M. Zhu, B. Chen et al., "MobileNets: efficient convolutional neural networks for mobile vision applications", 2017,
arXiv:1704.04861. Parameter names are those of timm's ``mobilenetv1_100``. Deviations, as those weights and the authors' code
have them: ReLU6, where the paper says ReLU; convolutions pad the same on both sides, where TensorFlow's "same" pads an even
image more at its end. The paper says nothing of initialisation: PyTorch's stays.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from striate.layers import ReLU6
from striate.models.foreign import CAFFE_MEAN, ForeignNames
from striate.models.variant import Network, PaperRow, Variant

STAGES = ((64,), (128, 128), (256, 256), (512,) * 6, (1024, 1024))
"""Table 1: output channels of the depthwise separable convolutions; each stage but the first begins with stride 2."""


class DepthwiseSeparable(nn.Module):
    """3x3 depthwise, then 1x1 pointwise, each with a batch norm and ReLU6 (figure 3)."""

    overwrites: ClassVar[bool] = True

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv_pw, self.bn2 = nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
        self.act = ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.bn2(self.conv_pw(self.act(self.bn1(self.conv_dw(x))))))
        return y


class MobileNetV1(Network):
    """A 3x3 stem with stride 2, 13 depthwise separable convolutions, the head on their means."""

    overwrites: ClassVar[bool] = True

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = nn.Conv2d(in_channels, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32)
        self.act, self.blocks = ReLU6(), nn.Sequential()
        self.stage_paths, width = {"stem": ("conv_stem", "bn1")}, 32
        for stage, outs in enumerate(STAGES):
            blocks = nn.Sequential()
            for index, out_channels in enumerate(outs):
                blocks.append(DepthwiseSeparable(width, out_channels, 2 if stage > 0 and index == 0 else 1))
                width = out_channels
            self.blocks.append(blocks)
            self.stage_paths[str(stage + 1)] = (f"blocks.{stage}",)
        self.channels, self.strides = tuple(outs[-1] for outs in STAGES), (2, 4, 8, 16, 32)
        self.global_pool, self.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(width, num_classes)
        self.head_path, self.embedding_dim = "classifier", width

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        x, maps = self.act(self.bn1(self.conv_stem(x))), []
        for blocks in self.blocks:
            x = blocks(x)
            maps.append(x)
        return maps

    def embed(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.global_pool(self.feature_maps(x)[-1]).flatten(1)
        return embedding


def _table_1() -> tuple[PaperRow, ...]:
    """Each row's output is the next row's input, which the paper prints."""
    separable = (  # block, channels in, channels out, side
        ("0.0", 32, 64, 112), ("1.0", 64, 128, 56), ("1.1", 128, 128, 56), ("2.0", 128, 256, 28), ("2.1", 256, 256, 28),
        ("3.0", 256, 512, 14), *((f"3.{index}", 512, 512, 14) for index in range(1, 6)), ("4.0", 512, 1024, 7),
        ("4.1", 1024, 1024, 7),
    )  # fmt: skip
    rows = [PaperRow("Conv / s2", "conv_stem", (32, 112, 112))]
    for block, before, after, side in separable:
        note = "printed with stride 2, though its maps stay 7x7" if block == "4.1" else ""
        rows.append(PaperRow("Conv dw", f"blocks.{block}.conv_dw", (before, side, side), note))
        rows.append(PaperRow("Conv 1x1", f"blocks.{block}.conv_pw", (after, side, side)))
    return (*rows, PaperRow("Avg Pool 7x7", "global_pool", (1024, 1, 1)), PaperRow("FC", "classifier", (1000,)))


VARIANTS = (
    Variant(
        "mobilenet_v1",
        MobileNetV1,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        recipe="mobilenet_v1",
        paper="A. Howard et al., MobileNets, 2017, arXiv:1704.04861",
        year=2017,
        accuracy="top-1 70.6 % (ImageNet validation, table 4)",
        paper_table=_table_1(),
    ),
)


def _names(stem: str, depthwise: list[str], pointwise: list[str], norm: str, head: str) -> dict[str, str]:
    """Module path -> name, the names of the 13 blocks' layers in order; ``norm`` makes a convolution's name its norm's."""
    names = {"conv_stem": stem, "bn1": norm.format(stem)}
    paths = [f"blocks.{stage}.{index}" for stage, outs in enumerate(STAGES) for index in range(len(outs))]
    for path, first, second in zip(paths, depthwise, pointwise, strict=True):
        names |= {f"{path}.conv_dw": first, f"{path}.bn1": norm.format(first)}
        names |= {f"{path}.conv_pw": second, f"{path}.bn2": norm.format(second)}
    return names | {"classifier": head}


_CAFFE_BLOCKS = [*("2_1", "2_2", "3_1", "3_2", "4_1", "4_2"), *(f"5_{n}" for n in range(1, 7)), "6"]
CAFFE_NAMES = {
    "mobilenet_v1": ForeignNames(
        _names(
            "conv1", [f"conv{block}/dw" for block in _CAFFE_BLOCKS], [f"conv{block}/sep" for block in _CAFFE_BLOCKS],
            "{0}/bn {0}/scale", "fc7",
        ),
        mean=CAFFE_MEAN, std=(1 / (255 * 0.017),) * 3, bgr=True, differs="Caffe's network has ReLU where this one has ReLU6",
    )
}  # fmt: skip
"""Of shicai's MobileNet-Caffe; untested on the published file."""
KERAS_NAMES = {
    "mobilenet_v1": ForeignNames(
        _names(
            "conv1", [f"conv_dw_{n}" for n in range(1, 14)], [f"conv_pw_{n}" for n in range(1, 14)], "{0}_bn", "conv_preds"
        ),
        norm_eps=1e-3,
        differs="Keras pads a convolution of stride 2 below and right alone: its windows lie a pixel further down and right",
    )
}  # fmt: skip
"""Of keras.applications.MobileNet; untested on the published file."""
