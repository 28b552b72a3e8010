"""The lectures' network for 26 letters (part 4, "CNN example"): 5,666 parameters, 101,530 connections.

It is LeNet-1 with 26 outputs: Y. LeCun et al., "Handwritten digit recognition with a back-propagation network", NIPS 1989,
fig. 2 and the table of links from H2 to H3, without arXiv id; 2,578 parameters and 98,442 connections with its own ten outputs.
The slide's "2600 synaptic weights" is that figure: 26 outputs alone have 5,018.

The lecture says only that a neuron of the third hidden layer "may have synaptic connections from several feature maps"; which
ones is the paper's table: 20 of 48 links.

Deviations: logits come out, where the paper squashes them once more and trains on squared error with targets of +-1.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from striate.arithmetic import output_size
from striate.layers import LinkedConv2d, ScaledTanh, Subsampling, lecun_uniform_
from striate.models.variant import FixedSizeNetwork, Variant

C3_LINKS = (
    (0,), (0, 1), (0, 1), (1,), (0, 1), (0, 1),
    (2,), (2, 3), (2, 3), (3,), (2, 3), (2, 3),
)  # fmt: skip
"""The maps of S2 that each of C3's twelve filters reads."""


class LettersCNN(FixedSizeNetwork):
    """Its last convolution, 4x4 on a 4x4 map, is the dense layer ``output``. A map's activation follows each layer."""

    def __init__(self, num_classes: int, in_channels: int, input_size: tuple[int, int]) -> None:
        super().__init__(in_channels, input_size)
        self.c1 = nn.Conv2d(in_channels, 4, 5)
        self.s2 = Subsampling(4)
        self.c3 = LinkedConv2d(C3_LINKS, 4, 5)
        self.s4 = Subsampling(12)
        self.squash = ScaledTanh()
        size = input_size
        for kernel, stride in ((5, 1), (2, 2), (5, 1), (2, 2)):
            size = output_size(size, kernel, stride)
        self.head_path, self.embedding_dim = "output", 12 * size[0] * size[1]
        self.output = nn.Linear(self.embedding_dim, num_classes)
        self.channels, self.strides = (4, 12), (2, 4)
        self.stage_paths = {"stem": (), "1": ("c1", "s2"), "2": ("c3", "s4")}
        self.apply(self.initialize)

    def initialize(self, layer: nn.Module) -> None:
        lecun_uniform_(layer)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        self.check_input(x)
        s2 = self.squash(self.s2(self.squash(self.c1(x))))
        s4 = self.squash(self.s4(self.squash(self.c3(s2))))
        return [s2, s4]

    def embed(self, x: Tensor) -> Tensor:
        return self.feature_maps(x)[-1].flatten(1)


_letters = partial(
    Variant, build=LettersCNN, in_channels=1, input_size=(28, 28), min_size=(16, 16), fixed_size=True, recipe="letters_cnn",
    resize=None, paper="Y. LeCun et al., Handwritten digit recognition with a back-propagation network, NIPS 1989", year=1989,
)  # fmt: skip
VARIANTS = (
    _letters("letters_cnn", num_classes=26, mean=(0.1723,), std=(0.3310,)),  # of emnist letters
    _letters("lenet1", num_classes=10, mean=(0.1307,), std=(0.3081,)),  # of MNIST
)
