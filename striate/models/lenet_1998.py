"""LeNet-5 as published, 60,000 trainable parameters, and LeNet-4 beside it.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86 (1998),
without arXiv id. LeNet-5: fig. 2, and table I for what C3 reads. LeNet-1 (1989, ``letters_cnn.py``) is the same class, smaller.

LeNet-4 has no published table. Section III-C: four maps, eight subsampling maps "connected in pairs" to them, sixteen maps,
sixteen subsampling maps, a fully connected layer of 120 units, ten outputs; "about 260,000 connections and about 17,000 free
parameters". ``lenet4`` is an interpretation: four subsampling maps, each of the sixteen maps reads them all. It has 51,090
parameters and 298,386 connections; 17,000 cannot be, since 120 units on sixteen 5x5 maps alone have 48,120. LeNet-3, which the
lecture lists, has no published definition at all and is not built.

The ten units of LeNet-5's output are radial basis functions: squared distances to a fixed +-1 code of 84, a 7x12 bitmap of the
digit. Logits are minus these distances, so that the largest logit is the paper's least penalty. Cross-entropy over them is the
paper's equation (9) without its constant exp(-j), the penalty of a class for rubbish.

Deviations: the bitmaps are drawn here, after the paper's fig. 3; for other than ten classes the code is random, from a fixed
seed; the codes never learn (the paper fixes them "at least initially"). LeNet-4's image and output are taken to be LeNet-5's
and LeNet-1's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

import torch
from torch import Tensor, nn

from striate.arithmetic import output_size
from striate.layers import LinkedConv2d, ScaledTanh, Subsampling, lecun_uniform_
from striate.models.variant import FixedSizeNetwork, PaperRow, Variant

C3_LINKS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip
"""Table I: the maps of S2 that each of C3's sixteen filters reads."""

DIGITS = """
..###.. ...##.. .#####. .#####. .....#. ####### ..####. ####### .#####. .#####.
.##.##. ..###.. ##...## ##...## ....##. ##..... .##.... .....## ##...## ##...##
##...## .####.. ##...## .....## ...###. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## ..####. ##..... ##..... ....##. ##...## ##...##
##...## ...##.. .....## .....## .##.##. ######. ##..... ....##. .##.##. ##...##
##...## ...##.. ....##. ..####. ##..##. .....## ######. ...##.. ..###.. .######
##...## ...##.. ...##.. .....## ##..##. .....## ##...## ...##.. .##.##. .....##
##...## ...##.. ..##... .....## ####### .....## ##...## ..##... ##...## .....##
##...## ...##.. .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... .....## ....##. .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ....##. ##...## ##...## .##.... ##...## ....##.
..###.. .###### ####### .#####. ....##. .#####. .#####. .##.... .#####. .####..
"""
"""Bitmaps of the digits 0 to 9, each 7 wide and 12 high."""


def codes(num_classes: int, width: int) -> list[list[float]]:
    """A code of +-1 for each class: the bitmaps for ten classes of width 84, otherwise the same random ones in every run."""
    if (num_classes, width) == (10, 84):
        digits = zip(*(line.split() for line in DIGITS.split("\n") if line), strict=True)
        return [[1.0 if pixel == "#" else -1.0 for row in digit for pixel in row] for digit in digits]
    random = Random(1998)
    return [[1.0 if random.random() < 0.5 else -1.0 for _ in range(width)] for _ in range(num_classes)]


class RadialBasis(nn.Module):
    """Minus the squared distance to each class's fixed code, the buffer ``weight`` [out_features, in_features]."""

    weight: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        if out_features < 1:
            raise ValueError(f"RadialBasis: out_features is {out_features}; a head needs at least 1 output")
        self.register_buffer("weight", torch.tensor(codes(out_features, in_features)))

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_features] -> [N, out_features], at most 0."""
        return -(x[:, None] - self.weight).square().sum(2)


class LeNet(FixedSizeNetwork):
    """The layers bear the paper's names: C convolves, S subsamples, F is dense; a scaled tanh follows each but the output.

    Args:
        maps: of C1 and S2; of C3 and S4.
        links: for each map of C3 the maps of S2 it reads; None: all of them.
        c5, f6: units; 0: no such layer.
        output: makes the last layer of so many inputs and classes.
    """

    def __init__(
        self, num_classes: int, in_channels: int, input_size: tuple[int, int], *, maps: tuple[int, int],
        links: Sequence[Sequence[int]] | None = None, c5: int = 0, f6: int = 0,
        output: Callable[[int, int], nn.Module] = nn.Linear,
    ) -> None:  # fmt: skip
        super().__init__(in_channels, input_size)
        self.c1, self.s2 = nn.Conv2d(in_channels, maps[0], 5), Subsampling(maps[0])
        self.c3 = nn.Conv2d(maps[0], maps[1], 5) if links is None else LinkedConv2d(links, maps[0], 5)
        self.s4 = Subsampling(maps[1])
        self.c5 = nn.Conv2d(maps[1], c5, 5) if c5 else None
        size = input_size
        for kernel, stride in ((5, 1), (2, 2), (5, 1), (2, 2), *([(5, 1)] if c5 else [])):
            size = output_size(size, kernel, stride)
        flattened = (c5 or maps[1]) * size[0] * size[1]
        self.f6 = nn.Linear(flattened, f6) if f6 else None
        self.output = output(f6 or flattened, num_classes)
        self.squash = ScaledTanh()
        self.channels, self.strides = maps, (2, 4)
        self.stage_paths = {"stem": (), "1": ("c1", "s2"), "2": ("c3", "s4")}
        self.head_path, self.embedding_dim = "output", f6 or flattened
        self.apply(self.initialize)

    def initialize(self, layer: nn.Module) -> None:
        """Appendix A: uniform within 2.4 / fan-in."""
        lecun_uniform_(layer)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        self.check_input(x)
        s2 = self.squash(self.s2(self.squash(self.c1(x))))
        s4 = self.squash(self.s4(self.squash(self.c3(s2))))
        return [s2, s4]

    def embed(self, x: Tensor) -> Tensor:
        x = self.feature_maps(x)[-1]
        if self.c5 is not None:
            x = self.squash(self.c5(x))
        x = x.flatten(1)
        return x if self.f6 is None else self.squash(self.f6(x))

    def reset_head(self, num_classes: int) -> None:
        """As every network's; radial basis functions get the codes of ``num_classes`` classes."""
        if isinstance(self.output, RadialBasis):
            self.output = RadialBasis(self.embedding_dim, num_classes).to(self.output.weight).train(self.output.training)
        else:
            super().reset_head(num_classes)


_lenet = partial(
    Variant, build=LeNet, num_classes=10, in_channels=1, input_size=(32, 32), min_size=(32, 32), fixed_size=True,
    resize=28,  # "28 by 28 fields, centred in 32 by 32" (section III-A)
    mean=(0.1 / 1.275,), std=(1 / 1.275,),  # background -0.1, ink 1.175
    paper="Y. LeCun et al., Gradient-based learning applied to document recognition, Proc. IEEE 1998", year=1998,
)  # fmt: skip
VARIANTS = (
    _lenet("lenet4", arguments={"maps": (4, 16), "c5": 120}, recipe="lenet1", accuracy="error 1.1 % (MNIST test)"),
    _lenet(
        "lenet5_1998", arguments={"maps": (6, 16), "links": C3_LINKS, "c5": 120, "f6": 84, "output": RadialBasis},
        recipe="lenet5_1998", accuracy="error 0.95 % (MNIST test); 0.8 % trained with distortions",
        paper_table=(
            PaperRow("C1: feature maps", "c1", (6, 28, 28)),
            PaperRow("S2: f. maps", "s2", (6, 14, 14)),
            PaperRow("C3: f. maps", "c3", (16, 10, 10)),
            PaperRow("S4: f. maps", "s4", (16, 5, 5)),
            PaperRow("C5: layer", "c5", (120,)),
            PaperRow("F6: layer", "f6", (84,)),
            PaperRow("OUTPUT", "output", (10,)),
        ),
    ),
)  # fmt: skip
