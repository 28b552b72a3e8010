"""Sizes, counts and receptive fields of convolutional layers: exact integers, no torch.

Sizes are (height, width) in pixels, shapes (channels, height, width). An integer stands for a pair of equal ones.

Source: V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285.
"""

from striate.arithmetic.counts import (
    Convolution,
    Dense,
    Layer,
    Pooling,
    Row,
    TransposedConvolution,
    chain,
    dense_equivalent,
)
from striate.arithmetic.receptive_field import ReceptiveField, receptive_fields
from striate.arithmetic.sizes import (
    Axis,
    DoesNotFit,
    Padding,
    Pair,
    Rounding,
    Shape,
    Size,
    axes,
    output_size,
    pair,
    transposed_output_size,
    unread,
)

__all__ = [
    "Axis",
    "Convolution",
    "Dense",
    "DoesNotFit",
    "Layer",
    "Padding",
    "Pair",
    "Pooling",
    "ReceptiveField",
    "Rounding",
    "Row",
    "Shape",
    "Size",
    "TransposedConvolution",
    "axes",
    "chain",
    "dense_equivalent",
    "output_size",
    "pair",
    "receptive_fields",
    "transposed_output_size",
    "unread",
]
