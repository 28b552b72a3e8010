"""LeNet-5 as the lectures draw it (part 4, the table "LeNet5"): 61,706 parameters; and as Caffe ships it: 431,080.

After Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86
(1998), fig. 2, without arXiv id. As published it is ``lenet5_1998``, in ``lenet_1998.py``.

Deviations from the paper, all the lecture's: C3 reads every map of S2 (no table of links); the pooling layers average, with
no coefficient, bias or activation; tanh is not scaled; a dense layer in place of the ten RBF units. Its softmax is left to
decoding. Pictures of 28x28 lie in the middle of 32x32, as in the paper. Our own: weights as PyTorch initialises them, since
the paper's bound of 2.4 / fan-in goes with its scaled tanh.

``lenet_caffe`` is examples/mnist/lenet.prototxt of Y. Jia et al., "Caffe", arXiv:1408.5093, with its names: wider, max-pooled,
one ReLU, on 28x28 pixels that are divided by 256 and not centred.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from striate.arithmetic import output_size
from striate.models.variant import FixedSizeNetwork, PaperRow, Variant


class LeNet5(FixedSizeNetwork):
    """The layers bear the paper's names: C convolves, S pools, F is dense."""

    def __init__(self, num_classes: int, in_channels: int, input_size: tuple[int, int]) -> None:
        super().__init__(in_channels, input_size)
        self.c1 = nn.Conv2d(in_channels, 6, 5)
        self.s2 = nn.AvgPool2d(2)
        self.c3 = nn.Conv2d(6, 16, 5)
        self.s4 = nn.AvgPool2d(2)
        self.c5 = nn.Conv2d(16, 120, 5)
        size = input_size
        for kernel, stride in ((5, 1), (2, 2), (5, 1), (2, 2), (5, 1)):
            size = output_size(size, kernel, stride)
        self.f6 = nn.Linear(120 * size[0] * size[1], 84)
        self.output = nn.Linear(84, num_classes)
        self.channels, self.strides = (6, 16), (2, 4)
        self.stage_paths = {"stem": (), "1": ("c1",), "2": ("c3",)}
        self.head_path, self.embedding_dim = "output", 84

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        self.check_input(x)
        s2 = self.s2(torch.tanh(self.c1(x)))
        s4 = self.s4(torch.tanh(self.c3(s2)))
        return [s2, s4]

    def embed(self, x: Tensor) -> Tensor:
        c5 = torch.tanh(self.c5(self.feature_maps(x)[-1]))
        return torch.tanh(self.f6(c5.flatten(1)))


class CaffeLeNet(FixedSizeNetwork):
    """Two convolutions and two dense layers ("inner products"). Nothing but the max follows a convolution."""

    def __init__(self, num_classes: int, in_channels: int, input_size: tuple[int, int]) -> None:
        super().__init__(in_channels, input_size)
        self.conv1, self.pool1 = nn.Conv2d(in_channels, 20, 5), nn.MaxPool2d(2)
        self.conv2, self.pool2 = nn.Conv2d(20, 50, 5), nn.MaxPool2d(2)
        size = input_size
        for kernel, stride in ((5, 1), (2, 2), (5, 1), (2, 2)):
            size = output_size(size, kernel, stride)
        self.ip1, self.relu1 = nn.Linear(50 * size[0] * size[1], 500), nn.ReLU()
        self.ip2 = nn.Linear(500, num_classes)
        self.channels, self.strides = (20, 50), (2, 4)
        self.stage_paths = {"stem": (), "1": ("conv1",), "2": ("conv2",)}
        self.head_path, self.embedding_dim = "ip2", 500
        self.apply(self.initialize)

    def initialize(self, layer: nn.Module) -> None:
        """Caffe's filler "xavier": uniform of variance 1 / fan-in; biases 0."""
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        self.check_input(x)
        pool1 = self.pool1(self.conv1(x))
        return [pool1, self.pool2(self.conv2(pool1))]

    def embed(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.relu1(self.ip1(self.feature_maps(x)[-1].flatten(1)))
        return embedding


VARIANTS = (
    Variant(
        "lenet5", LeNet5, num_classes=10, in_channels=1, input_size=(32, 32), min_size=(32, 32), fixed_size=True,
        recipe="lenet5", mean=(0.1001,), std=(0.2752,), resize=28,  # MNIST's with its border
        paper="Y. LeCun et al., Gradient-based learning applied to document recognition, Proc. IEEE 1998", year=1998,
        paper_table=(
            PaperRow("Conv 1", "c1", (6, 28, 28)),
            PaperRow("Avg. pooling 1", "s2", (6, 14, 14)),
            PaperRow("Conv 2", "c3", (16, 10, 10)),
            PaperRow("Avg. pooling 2", "s4", (16, 5, 5)),
            PaperRow("Conv 3", "c5", (120,)),
            PaperRow("Fully Connected 1", "f6", (84,)),
            PaperRow("Fully Connected 2", "output", (10,)),
        ),
    ),
    Variant(
        "lenet_caffe", CaffeLeNet, num_classes=10, in_channels=1, input_size=(28, 28), min_size=(16, 16), fixed_size=True,
        recipe="lenet5", mean=(0.0,), std=(256 / 255,), resize=None,
        paper="Y. Jia et al., Caffe: convolutional architecture for fast feature embedding, arXiv:1408.5093", year=2014,
        accuracy="error about 0.9 % (MNIST test, 10,000 steps, Caffe's tutorial)",
    ),
)  # fmt: skip
