"""Layers one after another: the shapes between them, and what each costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from striate.arithmetic.counts import Layer
from striate.arithmetic.sizes import Shape
from striate.errors import UsageError


@dataclass(frozen=True)
class Row:
    """One layer of a chain at work: the shapes around it and what it costs.

    Attributes:
        unread: rows and columns of its input, counted from 0, that it never reads.
    """

    layer: Layer
    input: Shape
    output: Shape
    weights: int
    biases: int
    neurons: int
    connections: int
    macs: int
    unread: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases


def chain(shape: Shape, layers: Sequence[Layer], names: Sequence[str] | None = None) -> list[Row]:
    """Runs ``shape`` through the layers; the network's counts are the sums over the rows.

    Args:
        names: what errors call the layers; None: their arguments.

    Raises:
        DoesNotFit: its ``where`` names the layer.
        UsageError: likewise, where a layer's own numbers contradict each other or the input's.
    """
    rows = []
    for number, layer in enumerate(layers, 1):
        try:
            row = _row(layer, shape)
        except UsageError as error:
            name = layer if names is None else names[number - 1]
            raise type(error)(error.what, where=f"layer {number}: {name}", why=error.why, fix=error.fix) from None
        rows.append(row)
        shape = row.output
    return rows


def _row(layer: Layer, shape: Shape) -> Row:
    return Row(
        layer,
        shape,
        layer.output(shape),
        layer.weights(shape),
        layer.biases(shape),
        layer.neurons(shape),
        layer.connections(shape),
        layer.macs(shape),
        layer.unread(shape),
    )
