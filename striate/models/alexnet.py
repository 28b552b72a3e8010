"""AlexNet: as published in 2012, as the lectures draw it, as Caffe ships it, and in the one tower whose weights are in use.

A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet classification with deep convolutional neural networks", NIPS 2012, fig. 2,
without arXiv id; and, for one tower, A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks",
arXiv:1404.5997.

- ``alexnet_2012``: 60,965,224 parameters. Its two towers, one a GPU, are two groups in the second, fourth and fifth convolution;
  the third reads both. The paper prints images of 224x224, from which its own 55x55 maps do not follow: from 227x227 they do.
- ``alexnet_lecture``: the table of part 4, 62,378,344 parameters: no groups, no response normalisation. It stops at Conv 5; what
  follows is the paper's.
- ``alexnet_caffe``: bvlc_alexnet of Y. Jia et al., arXiv:1408.5093. Its response normalisation has k = 1 and alpha = 1e-4 / 5;
  biases that start at 1 in the paper start at 0.1.
- ``alexnet``: torchvision's, and its names: one tower, no response normalisation, dropout before the dense layers, an adaptive
  pool so that any size fits, PyTorch's own initialisation. The others' layers are named the same way.

Deviations of ``alexnet_2012``: the mean colour is subtracted, not the mean image; the response normalisation reads across the
border of the towers, as in the paper's formula and in Caffe, where the authors' program normalised each GPU's maps alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from striate.models.foreign import ForeignNames
from striate.models.pooled_stages import FixedPooledStages, PooledStages, local_response_norm
from striate.models.variant import PaperRow, Variant


class AlexNet2012(FixedPooledStages):
    """Five convolutions and three dense layers.

    Args:
        groups: towers.
        norm: after the first two convolutions' ReLU.
        bias: of the second, fourth and fifth convolution and of both hidden dense layers at first, so that ReLUs start awake.
    """

    def __init__(
        self, num_classes: int, in_channels: int, input_size: tuple[int, int], *, groups: int = 2,
        norm: Callable[[], nn.Module] = local_response_norm, bias: float = 1.0,
    ) -> None:  # fmt: skip
        features = nn.Sequential(
            nn.Conv2d(in_channels, 96, 11, 4), nn.ReLU(), norm(), nn.MaxPool2d(3, 2),
            nn.Conv2d(96, 256, 5, padding=2, groups=groups), nn.ReLU(), norm(), nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1, groups=groups), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, groups=groups), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        super().__init__(num_classes, in_channels, input_size, features)
        self.apply(self.initialize)
        for path in ("features.4", "features.10", "features.12", "classifier.0", "classifier.3"):
            nn.init.constant_(self.get_parameter(f"{path}.bias"), bias)


class AlexNet(PooledStages):
    """One tower of 64, 192, 384, 256 and 256 channels."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 64, 11, 4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(),
            nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Linear(4096, num_classes),
        )  # fmt: skip
        self.set_stages()


_FIGURE_2 = (
    PaperRow("first convolutional layer", "features.0", (96, 55, 55), "two towers of 48"),
    PaperRow("second", "features.4", (256, 27, 27), "two towers of 128"),
    PaperRow("third", "features.8", (384, 13, 13), "two towers of 192"),
    PaperRow("fourth", "features.10", (384, 13, 13), "two towers of 192"),
    PaperRow("fifth", "features.12", (256, 13, 13), "two towers of 128"),
    PaperRow("first fully-connected layer", "classifier.0", (4096,), "two towers of 2048"),
    PaperRow("second", "classifier.3", (4096,), "two towers of 2048"),
    PaperRow("output", "classifier.6", (1000,)),
)
_LECTURE = (
    PaperRow("Conv 1", "features.0", (96, 55, 55)),
    PaperRow("Max Pool 1", "features.3", (96, 27, 27)),
    PaperRow("Conv 2", "features.4", (256, 27, 27)),
    PaperRow("Max Pool 2", "features.7", (256, 13, 13)),
    PaperRow("Conv 3", "features.8", (384, 13, 13)),
    PaperRow("Conv 4", "features.10", (384, 13, 13)),
    PaperRow("Conv 5", "features.12", (256, 13, 13)),
)
_alexnet = partial(
    Variant, build=AlexNet2012, input_size=(227, 227), min_size=(67, 67), fixed_size=True, recipe="alexnet", year=2012,
    std=(1 / 255,) * 3,  # pixels are centred, not scaled
    paper="A. Krizhevsky et al., ImageNet classification with deep convolutional neural networks, NIPS 2012",
)  # fmt: skip
VARIANTS = (
    Variant(
        "alexnet", AlexNet, min_size=(63, 63), recipe="alexnet", year=2014,
        paper="A. Krizhevsky, One weird trick for parallelizing convolutional neural networks, arXiv:1404.5997",
        accuracy="top-1 error 42.33 % (ImageNet 2012 validation, trained on one GPU in batches of 128)",
    ),
    _alexnet(
        "alexnet_2012", paper_table=_FIGURE_2,
        accuracy="top-1/top-5 error 40.7/18.2 % (ImageNet 2012 validation, ten crops); top-5 15.3 % (test, 7 networks)",
    ),
    _alexnet("alexnet_lecture", arguments={"groups": 1, "norm": nn.Identity}, paper_table=_LECTURE),
    _alexnet(
        "alexnet_caffe", arguments={"norm": partial(local_response_norm, k=1.0, alpha=1e-4 / 5), "bias": 0.1},
        mean=(122.68 / 255, 116.67 / 255, 104.01 / 255), paper_table=_FIGURE_2,
        accuracy="top-1/top-5 accuracy 57.1/80.2 % (ImageNet 2012 validation, centre crop; Caffe's model zoo)",
    ),
)  # fmt: skip
_CAFFE = {
    "features.0": "conv1", "features.4": "conv2", "features.8": "conv3", "features.10": "conv4", "features.12": "conv5",
    "classifier.0": "fc6", "classifier.3": "fc7", "classifier.6": "fc8",
}  # fmt: skip
CAFFE_NAMES = {"alexnet_caffe": ForeignNames(_CAFFE, bgr=True)}
"""Of bvlc_alexnet; untested on the published file."""
