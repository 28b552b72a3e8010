"""What a network of ours is called in the weight files of Caffe and Keras, and what their networks do otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ForeignNames:
    """The names of one variant's layers in another framework's file.

    Attributes:
        layers: module path -> the file's layer, in the order of the network. Caffe has two for a batch norm: ``norm scale``.
            A convolution of the file may have a bias where ours has none: the batch norm listed next takes it in.
        mean, std: what the file's network subtracts and divides by, RGB on the 0..1 scale; None: the variant's own.
        bgr: its first convolution reads blue, green and red.
        norm_eps: epsilon of its batch norms. Where ours is another, the difference goes into the running variance.
        flattened: dense layer -> (channels, height, width) of the map it reads, where the file flattens channels last.
        differs: what no weights can make up for, in one sentence; said where such a file is loaded.
    """

    layers: Mapping[str, str]
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    bgr: bool = False
    norm_eps: float = 1e-5
    flattened: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    differs: str = ""


CAFFE_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
"""The mean colour of ImageNet, RGB, that Caffe's networks (and Keras's copies of them) subtract from 0..255."""
CAFFE_STD = (1 / 255, 1 / 255, 1 / 255)
"""They divide by nothing."""
