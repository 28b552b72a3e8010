"""Sizes, counts and receptive fields of convolutional layers: exact integers, no torch.

Sizes are (height, width) in pixels, shapes (channels, height, width). An integer stands for a pair of equal ones.

Source: V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285.
"""

from striate.arithmetic.chain import Row, chain
from striate.arithmetic.counts import (
    Convolution,
    Dense,
    Elementwise,
    GlobalPooling,
    Layer,
    Pooling,
    TransposedConvolution,
    dense_equivalent,
)
from striate.arithmetic.formulas import parameter_formula, size_formula
from striate.arithmetic.notation import parse_network
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
from striate.arithmetic.table import ShapeTable, shape_table

__all__ = [
    "Axis",
    "Convolution",
    "Dense",
    "DoesNotFit",
    "Elementwise",
    "GlobalPooling",
    "Layer",
    "Padding",
    "Pair",
    "Pooling",
    "ReceptiveField",
    "Rounding",
    "Row",
    "Shape",
    "ShapeTable",
    "Size",
    "TransposedConvolution",
    "axes",
    "chain",
    "dense_equivalent",
    "output_size",
    "pair",
    "parameter_formula",
    "parse_network",
    "receptive_fields",
    "shape_table",
    "size_formula",
    "transposed_output_size",
    "unread",
]
