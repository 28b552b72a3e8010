"""What one number of an output is made of, as records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Position = tuple[int, ...]

DOUBLE = 2.0**-53
"""Half the distance from 1 to the next number of float64: what this arithmetic itself may be off, relative to a result."""


@dataclass(frozen=True)
class Window:
    """The numbers that go into one output, and what each is multiplied by.

    Attributes:
        fixed: a position in the input, with None in the dimensions that the window covers.
        axes: positions along each of those: the channels, or the features of a dense layer, first.
        inside: [*taps], False in the padding.
        values: [channels, *taps], 0 in the padding.
        weights: likewise; what the values are multiplied by. Under a maximum 1 for the winner.
    """

    fixed: tuple[int | None, ...]
    axes: tuple[tuple[int, ...], ...]
    inside: NDArray[np.bool_]
    values: Floats
    weights: Floats

    def without_batch(self, shape: Sequence[int]) -> Window:
        """The same, its positions as in a tensor of ``shape`` without its batch."""
        fixed = self.fixed[1:] if len(shape) > 1 and shape[0] == 1 else self.fixed
        return replace(self, fixed=fixed)

    @property
    def products(self) -> Floats:
        """[channels, *taps]."""
        return self.values * self.weights

    @property
    def sums(self) -> Floats:
        """[channels]."""
        sums: Floats = self.products.reshape(len(self.values), -1).sum(1)
        return sums

    def position(self, place: Sequence[int]) -> Position:
        """In the input, of one number of ``values``."""
        moving = iter(axis[at] for axis, at in zip(self.axes, place, strict=True))
        return tuple(next(moving) if each is None else each for each in self.fixed)

    def place(self, position: Sequence[int]) -> tuple[int, ...] | None:
        """Where in ``values`` the number at a position of the input stands; None: outside the window."""
        if any(want is not None and want != each for want, each in zip(self.fixed, position, strict=True)):
            return None
        moving = [each for want, each in zip(self.fixed, position, strict=True) if want is None]
        found = tuple(axis.index(each) if each in axis else -1 for axis, each in zip(self.axes, moving, strict=True))
        return None if -1 in found else found


@dataclass(frozen=True)
class Term:
    """One number that goes in.

    Attributes:
        input: which of the operation's inputs.
        position: in it.
        value: the number.
        weight: what it is multiplied by; None where the result is no sum of products.
    """

    input: int
    position: Position
    value: float
    weight: float | None = None

    def without_batch(self, shape: Sequence[int]) -> Term:
        """The same, its position as in a tensor of ``shape`` without its batch."""
        return replace(self, position=self.position[1:] if len(shape) > 1 and shape[0] == 1 else self.position)


@dataclass(frozen=True)
class Account:
    """What a number is made of.

    Attributes:
        formula: in words and signs.
        total: computed here in float64.
        absolute_sum: of the products and the bias: what errors are relative to.
        bound: on what rounding may put between ``total`` and the network's number.
        bias: None: there is none.
        window, terms: the one or the others.
        num_terms: all there are, where only the largest are kept.
        statistics: further numbers by name.
    """

    formula: str
    total: float
    absolute_sum: float
    bound: float
    bias: float | None = None
    window: Window | None = None
    terms: tuple[Term, ...] = ()
    num_terms: int = 0
    statistics: Mapping[str, float] = field(default_factory=dict)


def number(tensor: Tensor) -> float:
    """Of a tensor with one number, a parameter among them."""
    return float(tensor.detach())


def rounding_error(count: int, unit: float) -> float:
    """gamma_n = n u / (1 - n u): how far n roundings, in any order, take a sum of products from its exact value, relative to the
    sum of their absolute values. Source: N. Higham, Accuracy and stability of numerical algorithms, 2002, section 3.1."""
    return count * unit / (1 - count * unit) if count * unit < 1 else inf
