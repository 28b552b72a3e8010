"""The small network for Fashion-MNIST: 225,034 parameters, no paper.

conv 32 3x3 valid, ReLU, max-pool 2, conv 64 3x3 valid, ReLU, max-pool 2, flatten 1600, dense 128, ReLU, dropout, dense 10.
The data set: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", arXiv:1708.07747.

Deviations: ReLU comes after each max-pool. The two commute, since both only compare (the larger of two rectified numbers is
the larger number rectified), and a quarter of the numbers is left to rectify. Weights: PyTorch's own initialisation.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from striate.arithmetic import output_size
from striate.models.variant import FixedSizeNetwork, Variant


class FashionCNN(FixedSizeNetwork):
    """Two convolutions and two dense layers. ``dropout`` is a probability."""

    def __init__(self, num_classes: int, in_channels: int, input_size: tuple[int, int], dropout: float = 0.25) -> None:
        super().__init__(in_channels, input_size)
        self.conv1 = nn.Conv2d(in_channels, 32, 3)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.pool2 = nn.MaxPool2d(2)
        size = input_size
        for kernel, stride in ((3, 1), (2, 2), (3, 1), (2, 2)):
            size = output_size(size, kernel, stride)
        self.fc1 = nn.Linear(64 * size[0] * size[1], 128)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(128, num_classes)
        self.channels, self.strides = (32, 64), (2, 4)
        self.stage_paths = {"stem": (), "1": ("conv1",), "2": ("conv2",)}
        self.head_path, self.embedding_dim = "fc2", 128

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        self.check_input(x)
        first = F.relu(self.pool1(self.conv1(x)))
        second = F.relu(self.pool2(self.conv2(first)))
        return [first, second]

    def embed(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.dropout(F.relu(self.fc1(self.feature_maps(x)[-1].flatten(1))))
        return embedding


VARIANTS = (
    Variant(
        "fashion_cnn", FashionCNN, num_classes=10, in_channels=1, input_size=(28, 28), min_size=(10, 10), fixed_size=True,
        recipe="fashion_cnn", mean=(0.2860,), std=(0.3530,), resize=None,
        paper="H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST (the data set), arXiv:1708.07747", year=2017,
    ),
)  # fmt: skip
