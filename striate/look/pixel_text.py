"""The arithmetic of one number for the terminal: patch × kernel = products, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from striate.columns import align, times
from striate.look.pixel_accounts import Floats, Window
from striate.look.pixel_arithmetic import Arithmetic, strongest

TERMS = 12
"""Numbers that are listed where they are no window."""
SIDE = 11
"""Rows and columns of a window that are shown of each channel: all of any usual kernel, a part of a whole map."""


def arithmetic_text(arithmetic: Arithmetic, columns: int | None = None, channels: int = 4) -> str:
    """The numbers, the sum, and how far it is from the network's own.

    Args:
        columns: width of the terminal: where patch, kernel and products do not fit side by side they stand one below the other.
        channels: of a window, those that count most; the others are one line.
    """
    lines = [_title(arithmetic), f"  = {arithmetic.formula}", ""]
    if arithmetic.window is not None:
        lines += _window(arithmetic, arithmetic.window, columns, channels)
    elif arithmetic.terms:
        lines += _terms(arithmetic)
    lines += [*align(_result(arithmetic), {1}), "", _verdict(arithmetic)]
    return "\n".join(lines)


def _title(arithmetic: Arithmetic) -> str:
    read = ", ".join(dict.fromkeys(f"{origin.node} {times(origin.shape)}" for origin in arithmetic.origins))
    unit = ",".join(map(str, arithmetic.unit))
    return f"{arithmetic.layer} [{unit}]  {arithmetic.operation}" + (f"  of {read}" if read else "")


def _window(arithmetic: Arithmetic, window: Window, columns: int | None, channels: int) -> list[str]:
    sums, order = window.sums, strongest(window)
    if window.values.size == len(window.values) > 1:
        return [*_features(window, order, TERMS), ""]
    blocks = [_channel(arithmetic.kind, window, at, False) for at in order[:channels]]
    if columns is not None and max((len(line) for block in blocks for line in block), default=0) > columns:
        blocks = [_channel(arithmetic.kind, window, at, True) for at in order[:channels]]
    lines = []
    for at, block in zip(order, blocks, strict=False):
        lines += [
            f"channel {window.axes[0][at]}" + ("" if arithmetic.kind == "maximum" else f": sum {_signed(sums[at])}"),
            *block,
            "",
        ]
    if left := order[channels:]:
        noun = "channel" if len(left) == 1 else "channels"
        lines += [f"{len(left)} more {noun}: sum {_signed(sums[left].sum())}", ""]
    return lines


def _channel(kind: str, window: Window, at: int, stacked: bool) -> list[str]:
    """Patch, kernel and products; the patch alone where all its numbers count the same, or only the largest."""
    values, weights = window.values[at], window.weights[at]
    winner = tuple(np.argwhere(weights > 0)[0].tolist()) if kind == "maximum" else None
    patch = _grid(values, window.inside, winner)
    if winner is not None:
        return [f"  {line}" for line in patch]
    if weights.size and (weights == weights.flat[0]).all():
        return [*(f"  {line}" for line in patch), f"  each × {_number(float(weights.flat[0]))}"]
    grids = [patch, _grid(weights), _grid(values * weights, window.inside)]
    if not stacked:
        return _beside(grids, ("×", "="))
    named = zip(("values", "weights", "products"), grids, strict=True)
    return [line for name, grid in named for line in (f"  {name}", *(f"    {row}" for row in grid))]


def _features(window: Window, order: Sequence[int], count: int) -> list[str]:
    rows = [("feature" if window.values.ndim == 1 else "channel", "value", "", "weight", "", "product")]
    for at in order[:count]:
        value, weight = window.values[at].item(), window.weights[at].item()
        rows.append((str(window.axes[0][at]), _number(value), "×", _number(weight), "=", _signed(value * weight)))
    if left := list(order[count:]):
        rows.append((f"{len(left)} more", "", "", "", "", _signed(float(window.sums[left].sum()))))
    return align(rows, {0, 1, 3, 5})


def _terms(arithmetic: Arithmetic) -> list[str]:
    rows = []
    for term in arithmetic.terms[:TERMS]:
        name = arithmetic.origins[term.input].node
        rows.append((f"{name} [{','.join(map(str, term.position))}]", f"{term.value:.7g}"))
    rows += [(name, f"{value:.7g}") for name, value in arithmetic.statistics.items() if name not in ("bias", "count")]
    if arithmetic.num_terms > TERMS:
        rows.append((f"{arithmetic.num_terms - TERMS} more", ""))
    return [*align(rows, {1}), ""]


def _result(arithmetic: Arithmetic) -> list[tuple[str, str]]:
    bias = [] if arithmetic.bias is None else [("bias", _signed(arithmetic.bias))]
    return [*bias, ("total", f"{arithmetic.total:+.9g}"), ("the network's own number", f"{arithmetic.network:+.9g}")]


def _verdict(arithmetic: Arithmetic) -> str:
    if arithmetic.kind in ("input", "unrecorded"):
        return "the image itself" if arithmetic.kind == "input" else "what it is made of was not recorded"
    if arithmetic.difference == 0:
        return "no difference"
    relation = "within" if arithmetic.agrees else "MORE THAN"
    return f"difference {arithmetic.difference:+.2g}, {relation} the {arithmetic.bound:.2g} that rounding allows"


def _grid(
    values: Floats, inside: NDArray[np.bool_] | None = None, winner: tuple[int, ...] | None = None, at: tuple[int, ...] = ()
) -> list[str]:
    """One line a row, slices of a volume one below the other; ``·`` in the padding, brackets around the winner."""
    if values.ndim - len(at) > 2:
        slices = [_grid(values, inside, winner, (*at, number)) for number in range(values.shape[len(at)])]
        return [line for number, each in enumerate(slices) for line in (["", *each] if number else each)]
    rows = [(*at, row) for row in range(values.shape[-2])] if values.ndim > 1 else [()]
    cells = [
        [_cell(values, inside, winner, (*row, column)) for column in range(min(values.shape[-1], SIDE))]
        + ["…"] * (values.shape[-1] > SIDE)
        for row in rows[:SIDE]
    ]
    if len(rows) > SIDE:
        cells.append(["…"] * len(cells[0]))
    width = max((len(cell) for row in cells for cell in row), default=0)
    return [" ".join(cell.rjust(width) for cell in row) for row in cells]


def _cell(values: Floats, inside: NDArray[np.bool_] | None, winner: tuple[int, ...] | None, place: tuple[int, ...]) -> str:
    if inside is not None and not inside[place]:
        return "·"
    number = _number(float(values[place]))
    return f"[{number}]" if place == winner else number


def _beside(grids: Sequence[Sequence[str]], signs: Sequence[str]) -> list[str]:
    height = max(map(len, grids))
    middle = (height - 1) // 2
    lines = []
    for at in range(height):
        parts = []
        for number, grid in enumerate(grids):
            parts.append((grid[at] if at < len(grid) else "").ljust(max(map(len, grid))))
            if number < len(signs):
                parts.append(signs[number] if at == middle else " ")
        lines.append(f"  {'  '.join(parts)}".rstrip())
    return lines


def _number(value: float) -> str:
    return f"{value:.3g}" if value else "0"


def _signed(value: float) -> str:
    return f"{value:+.6g}"
