"""The lectures' network for 26 letters (part 4, "CNN example"): 5,666 parameters, 101,530 connections.

It is LeNet-1 with 26 outputs: Y. LeCun et al., "Handwritten digit recognition with a back-propagation network", NIPS 1989,
fig. 2 and the table of links from H2 to H3, without arXiv id; 2,578 parameters and 98,442 connections with its own ten outputs.
The slide's "2600 synaptic weights" is that figure: 26 outputs alone have 5,018.

The lecture says only that a neuron of the third hidden layer "may have synaptic connections from several feature maps"; which
ones is the paper's table: 20 of 48 links. The last convolution, 4x4 on a 4x4 map, is the dense layer ``output``.

Deviations: logits come out, where the paper squashes them once more and trains on squared error with targets of +-1.
"""

from __future__ import annotations

from functools import partial

from striate.models.lenet_1998 import LeNet
from striate.models.variant import PaperRow, Variant

C3_LINKS = (
    (0,), (0, 1), (0, 1), (1,), (0, 1), (0, 1),
    (2,), (2, 3), (2, 3), (3,), (2, 3), (2, 3),
)  # fmt: skip
"""The maps of S2 that each of C3's twelve filters reads."""

_FIGURE_2 = (
    PaperRow("H1", "c1", (4, 24, 24)),
    PaperRow("H2", "s2", (4, 12, 12)),
    PaperRow("H3", "c3", (12, 8, 8)),
    PaperRow("H4", "s4", (12, 4, 4)),
)
_lenet1 = partial(
    Variant, build=LeNet, arguments={"maps": (4, 12), "links": C3_LINKS}, in_channels=1, input_size=(28, 28), min_size=(16, 16),
    fixed_size=True, resize=None, year=1989,
    paper="Y. LeCun et al., Handwritten digit recognition with a back-propagation network, NIPS 1989",
)  # fmt: skip
VARIANTS = (
    _lenet1(
        "letters_cnn", num_classes=26, recipe="letters_cnn", mean=(0.1723,), std=(0.3310,),  # of EMNIST letters
        paper_table=(*_FIGURE_2, PaperRow("output", "output", (26,), "the lecture's; the paper has 10")),
    ),
    _lenet1(
        "lenet1", num_classes=10, recipe="lenet1", mean=(0.1307,), std=(0.3081,),  # of MNIST
        accuracy="error 1.7 % (MNIST test, by Proc. IEEE 1998)",
        paper_table=(*_FIGURE_2, PaperRow("output", "output", (10,))),
    ),
)  # fmt: skip
