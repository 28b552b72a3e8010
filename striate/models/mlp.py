"""The fully connected network that the lectures start from: every pixel linked to every hidden neuron.

Source: the lectures, part 0, "Even a simple 16x16 image": 256 inputs, 100 hidden neurons, 26 outputs, 28,326 parameters
(the slide prints 28,236: two digits swapped). ``build("mlp", num_classes=26, input_size=(16, 16))`` is that network; the
variant's own size is MNIST's, for which 100 hidden neurons are 79,510 parameters.

Deviations: the lecture names no activation here; ReLU, which it recommends further on (part 4).
"""

from __future__ import annotations

from itertools import pairwise
from math import prod

from torch import Tensor, nn

from striate.layers import he_normal_
from striate.models.variant import FixedSizeNetwork, Variant


class MLP(FixedSizeNetwork):
    """Flatten, then dense layers. It has no feature maps: no neuron of it has a place in the image."""

    def __init__(self, num_classes: int, in_channels: int, input_size: tuple[int, int], hidden: tuple[int, ...] = (100,)) -> None:
        super().__init__(in_channels, input_size)
        widths = (in_channels * prod(input_size), *hidden)
        self.hidden = nn.Sequential()
        for fan_in, width in pairwise(widths):
            self.hidden.extend((nn.Linear(fan_in, width), nn.ReLU()))
        self.output = nn.Linear(widths[-1], num_classes)
        self.channels, self.strides, self.stage_paths = (), (), {"stem": ()}
        self.head_path, self.embedding_dim = "output", widths[-1]
        self.apply(self.initialize)

    def initialize(self, layer: nn.Module) -> None:
        he_normal_(layer)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        self.check_input(x)
        return []

    def embed(self, x: Tensor) -> Tensor:
        self.check_input(x)
        embedding: Tensor = self.hidden(x.flatten(1))
        return embedding


VARIANTS = (
    Variant(
        "mlp", MLP, num_classes=10, in_channels=1, input_size=(28, 28), min_size=(1, 1), fixed_size=True, recipe="mlp",
        mean=(0.1307,), std=(0.3081,), resize=None,
        paper="D. Rumelhart, G. Hinton, R. Williams, Learning representations by back-propagating errors, Nature 1986", year=1986,
    ),
)  # fmt: skip
