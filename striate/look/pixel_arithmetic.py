"""One number that a network computed, with everything that went into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any

import numpy as np

from striate.errors import UsageError
from striate.look.operations import Kind
from striate.look.pixel_accounts import Position, Term, Window


@dataclass(frozen=True)
class Origin:
    """A tensor that an operation reads: output number ``output`` of ``node``, of ``shape`` without the batch."""

    node: str
    output: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Arithmetic:
    """One number, recomputed in float64 from what the operation read. Positions are without the batch.

    Attributes:
        layer: the node's id.
        operation: with what its shapes depend on: ``conv2d 3x3 /2``.
        kind: ``weighted_sum`` and ``maximum`` have a ``window``; ``normalisation``, ``pointwise`` (each number by itself, or
            those of several inputs at one place), ``moved`` (the same number, elsewhere) and ``function`` (all else) have
            ``terms``; ``input`` is a pixel of the image; of ``unrecorded`` nothing is known.
        unit: the number's position in the output.
        output: which of the outputs.
        origins: the tensors that the operation reads.
        formula: in words and signs.
        window: the numbers of a window, and the kernel.
        terms: other numbers that go in, the most important first.
        num_terms: all there are.
        bias: None: there is none.
        total: recomputed here.
        network: what the network computed.
        absolute_sum: sum of the absolute values of all products and the bias.
        bound: what rounding may put between the two: n roundings of the network's type, gamma_n times ``absolute_sum``.
        statistics: of a normalisation.
    """

    layer: str
    operation: str
    kind: Kind
    unit: Position
    output: int
    origins: tuple[Origin, ...]
    formula: str
    window: Window | None
    terms: tuple[Term, ...]
    num_terms: int
    bias: float | None
    total: float
    network: float
    absolute_sum: float
    bound: float
    statistics: Mapping[str, float]
    _step: Callable[[str, Position, int], Arithmetic] = field(repr=False, compare=False)

    @property
    def difference(self) -> float:
        """From the network's number to the one computed here; 0 where both are the same, not a number included."""
        same = self.total == self.network or (isnan(self.total) and isnan(self.network))
        return 0.0 if same else self.total - self.network

    @property
    def agrees(self) -> bool:
        """Whether rounding explains the difference."""
        return self.difference == 0 or abs(self.difference) <= self.bound

    def back(self, *position: int, input: int = 0) -> Arithmetic:
        """One step towards the image: what a number that goes in is made of.

        Args:
            position: of the number in the input, (channel, row, column); none: the only one there is, or a maximum's winner.
            input: which input it is in, where there are several (an addition).

        Raises:
            UsageError: there is no such number: it is padding, or outside the window; or one is to be chosen.
        """
        if not self.origins:
            raise UsageError(f"{self.layer} is the image itself", why="there is nothing before it")
        if not position:
            input, position = self._only()
        if not 0 <= input < len(self.origins):
            raise UsageError(f"{self.layer} has no input {input}", why=f"it reads {len(self.origins)}: numbered from 0")
        origin = self.origins[input]
        fits = len(position) == len(origin.shape)
        if not fits or not all(0 <= at < size for at, size in zip(position, origin.shape, strict=True)):
            padding = fits and self._goes_in(input, position)
            why = (
                "it is padding: a zero that the layer puts around its input" if padding else f"its shape is {list(origin.shape)}"
            )
            raise UsageError(f"{list(position)} is no number of {origin.node}", why=why)
        if not self._goes_in(input, position):
            raise UsageError(f"{list(position)} of {origin.node} does not go into {list(self.unit)} of {self.layer}")
        return self._step(origin.node, position, origin.output)

    def _only(self) -> tuple[int, Position]:
        if self.window is not None and self.kind == "maximum":
            winner = np.unravel_index(int(self.window.weights.argmax()), self.window.weights.shape)
            return 0, self.window.position([int(each) for each in winner])
        if len(self.terms) == 1:
            return self.terms[0].input, self.terms[0].position
        if self.window is not None and self.window.values.size == 1:
            return 0, self.window.position((0,) * self.window.values.ndim)
        raise UsageError(f"Several numbers go into {list(self.unit)} of {self.layer}", fix="name the position of one")

    def _goes_in(self, input: int, position: Sequence[int]) -> bool:
        if self.window is not None:
            return input == 0 and self.window.place(position) is not None
        if self.kind in ("pointwise", "moved"):
            return any(term.input == input and term.position == tuple(position) for term in self.terms)
        return True

    def text(self, columns: int | None = None, channels: int = 4) -> str:
        """For the terminal: the window with its kernel, of ``channels`` channels; ``columns`` characters wide where they fit."""
        from striate.look.pixel_text import arithmetic_text

        return arithmetic_text(self, columns, channels)

    def to_json(self, limit: int | None = 16) -> dict[str, Any]:
        """Plain JSON values: the ``limit`` channels, or terms, that count most; None: all."""
        return {
            "layer": self.layer,
            "operation": self.operation,
            "kind": self.kind,
            "unit": list(self.unit),
            "output": self.output,
            "inputs": [{**vars(origin), "shape": list(origin.shape)} for origin in self.origins],
            "formula": self.formula,
            "window": self.window and _window_json(self.window, limit),
            "terms": [
                {
                    "input": term.input,
                    "position": list(term.position),
                    "value": term.value,
                    "weight": term.weight,
                    "product": None if term.weight is None else term.value * term.weight,
                }
                for term in self.terms[:limit]
            ],
            "num_terms": self.num_terms,
            "bias": self.bias,
            "total": self.total,
            "network": self.network,
            "difference": self.difference,
            "bound": self.bound,
            "absolute_sum": self.absolute_sum,
            "agrees": self.agrees,
            "statistics": dict(self.statistics),
        }


def _window_json(window: Window, limit: int | None) -> dict[str, Any]:
    products, sums = window.products, window.sums
    order = strongest(window)
    shown = order[:limit]
    return {
        "input": 0,
        "coordinates": [list(axis) for axis in window.axes[1:]],
        "inside": window.inside.tolist(),
        "num_channels": len(sums),
        "channels": [
            {
                "channel": window.axes[0][at],
                "values": window.values[at].tolist(),
                "weights": window.weights[at].tolist(),
                "products": products[at].tolist(),
                "sum": float(sums[at]),
            }
            for at in shown
        ],
        "rest": {"channels": len(order) - len(shown), "sum": float(sums[order[len(shown) :]].sum())},
    }


def strongest(window: Window) -> list[int]:
    """The places of the channels, those whose sums count most first."""
    return [int(each) for each in np.argsort(-np.abs(window.sums), kind="stable")]
