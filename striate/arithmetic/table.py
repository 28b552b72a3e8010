"""A network's arithmetic as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from striate.arithmetic.chain import Row, chain
from striate.arithmetic.counts import Convolution, TransposedConvolution, dense_equivalent
from striate.arithmetic.formulas import parameter_formula, size_formula
from striate.arithmetic.notation import parse_network
from striate.arithmetic.receptive_field import ReceptiveField
from striate.arithmetic.sizes import Shape
from striate.columns import align
from striate.errors import UsageError

_NUMBERS = ("", "layer", "output", "parameters", "MACs", "field", "jump")
_FORMULAS = ("size formula", "parameter formula")
_RIGHT = {0, 3, 4, 5, 6}
"""Columns of numbers."""


@dataclass(frozen=True)
class ShapeTable:
    """A chain of layers, computed.

    Attributes:
        input: (channels, height, width).
        names: the layers as they were written.
        rows: what each does and costs.
        fields: the receptive field behind each, in pixels of the input; None where it differs from output to output: from a
            transposed convolution on.
    """

    input: Shape
    names: tuple[str, ...]
    rows: tuple[Row, ...]
    fields: tuple[ReceptiveField | None, ...]

    @property
    def parameters(self) -> int:
        """Of all layers."""
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers, for one image."""
        return sum(row.macs for row in self.rows)

    @property
    def neurons(self) -> int:
        """Numbers that the layers put out, activations not counted again."""
        return sum(row.neurons for row in self.rows)

    @property
    def connections(self) -> int:
        """Of all layers, as :meth:`Layer.connections` counts."""
        return sum(row.connections for row in self.rows)

    @property
    def dense_parameters(self) -> int | None:
        """Parameters if the convolutions were fully connected; None where there is no convolution."""
        if not any(isinstance(row.layer, Convolution | TransposedConvolution) for row in self.rows):
            return None
        return sum(
            dense_equivalent(row.layer, row.input).parameters(row.input)
            if isinstance(row.layer, Convolution | TransposedConvolution)
            else row.parameters
            for row in self.rows
        )

    def warnings(self) -> list[str]:
        """A sentence for each layer that leaves pixels of its input unread."""
        return [
            f"layer {number}: {name} never reads {_unread(row)} of its {row.input[1]}x{row.input[2]} input"
            for number, (name, row) in enumerate(zip(self.names, self.rows, strict=True), 1)
            if any(row.unread)
        ]

    def text(self, columns: int | None = None) -> str:
        """The table; its formulas stand under their layers where the lines would be longer than ``columns`` characters."""
        first = ("", "in", "x".join(map(str, self.input)))
        total = ("", "total", "", f"{self.parameters:,}", f"{self.macs:,}")
        numbers = [(str(i), name, *_costs(row, field)) for i, (name, row, field) in enumerate(self._layers(), 1)]
        formulas = [(size_formula(row.layer, row.input), parameter_formula(row.layer, row.input)) for row in self.rows]
        rows = [(*cells, *written) for cells, written in zip(numbers, formulas, strict=True)]
        lines = align([(*_NUMBERS, *_FORMULAS), first, *rows, total], _RIGHT)
        if columns is not None and max(map(len, lines)) > columns:
            lines = align([_NUMBERS, first, *numbers, total], _RIGHT)
            indent = " " * (lines[1].index(first[1]) + 2)
            for at, (size, parameters) in reversed(list(enumerate(formulas, 2))):
                written = [part for part in (size, f"{parameters} = {rows[at - 2][3]} parameters" if parameters else "") if part]
                together = indent + "    ".join(written)
                under = [together] if len(together) <= columns else [indent + part for part in written]
                lines[at + 1 : at + 1] = under if written else []
        rule = "─" * max(map(len, lines))
        remarks = [line for remark in self._remarks() for line in wrap(remark, columns or 10_000, subsequent_indent="  ")]
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], "", *remarks])

    def _layers(self) -> list[tuple[str, Row, ReceptiveField | None]]:
        return list(zip(self.names, self.rows, self.fields, strict=True))

    def _remarks(self) -> list[str]:
        lines = [f"{self.neurons:,} neurons, {self.connections:,} connections"]
        if self.dense_parameters is not None:
            times = self.dense_parameters / self.parameters if self.parameters else 0
            lines.append(f"fully connected throughout: {self.dense_parameters:,} parameters, {times:,.0f} times as many")
        return [*lines, *(f"warning: {warning}" for warning in self.warnings())]

    def to_json(self) -> dict[str, Any]:
        """Every figure; shapes are [channels, height, width], rows and columns are counted from 0."""
        return {
            "input": list(self.input),
            "layers": [
                {
                    "layer": name,
                    "input": list(row.input),
                    "output": list(row.output),
                    "size_formula": size_formula(row.layer, row.input),
                    "parameter_formula": parameter_formula(row.layer, row.input),
                    "weights": row.weights,
                    "biases": row.biases,
                    "parameters": row.parameters,
                    "neurons": row.neurons,
                    "connections": row.connections,
                    "macs": row.macs,
                    "receptive_field": field and {"size": field.size, "jump": field.jump, "offset": field.offset},
                    "unread": {"rows": row.unread[0], "columns": row.unread[1]},
                }
                for name, row, field in self._layers()
            ],
            "parameters": self.parameters,
            "macs": self.macs,
            "neurons": self.neurons,
            "connections": self.connections,
            "dense_parameters": self.dense_parameters,
            "warnings": self.warnings(),
        }


def shape_table(network: str, strict: bool = False) -> ShapeTable:
    """Computes a network written as in :mod:`striate.arithmetic.notation`.

    Args:
        strict: remainders are errors in every layer that does not say ``ceil``.

    Raises:
        UsageError: it names the layer that is miswritten or does not fit, and says what to do.
    """
    shape, names, layers = parse_network(network, strict)
    rows = chain(shape, layers, names)
    fields: list[ReceptiveField | None] = []
    field: ReceptiveField | None = ReceptiveField()
    for row in rows:
        try:
            field = field and field.through(row.layer, row.input)
        except UsageError:
            field = None
        fields.append(field)
    return ShapeTable(shape, tuple(names), tuple(rows), tuple(fields))


def _costs(row: Row, field: ReceptiveField | None) -> tuple[str, ...]:
    costs = (f"{row.parameters:,}" if row.parameters else "", f"{row.macs:,}" if row.macs else "")
    if field is None:
        return _by(row.output), *costs, "varies", ""
    return _by(row.output), *costs, _square(field.size), "" if row.output[1:] == (1, 1) else _square(field.jump)


def _by(shape: Shape) -> str:
    return str(shape[0]) if shape[1:] == (1, 1) else "x".join(map(str, shape))


def _square(size: tuple[int, int]) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def _unread(row: Row) -> str:
    """``the last row and column``, ``rows 3, 7 (from 0)``."""
    rows, columns = row.unread
    if rows == columns and row.input[1] == row.input[2]:
        return _run(rows, row.input[1], "row and column", "rows and columns")
    told = [_run(rows, row.input[1], "row", "rows"), _run(columns, row.input[2], "column", "columns")]
    return " and ".join(part for part in told if part)


def _run(lines: Sequence[int], length: int, one: str, many: str) -> str:
    if not lines:
        return ""
    if lines[0] == length - len(lines):
        return f"the last {one}" if len(lines) == 1 else f"the last {len(lines)} {many}"
    listed = ", ".join(map(str, lines[:4])) + (f", ... {lines[-1]}" if len(lines) > 4 else "")
    return f"{one if len(lines) == 1 else many} {listed} (from 0)"
