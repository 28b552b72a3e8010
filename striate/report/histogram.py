"""A histogram as inline SVG, coloured by the page's own variables."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from striate.report.ticks import nice_ticks
from striate.report.words import number

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 360, 190, 10, 24, 18


def histogram(values: NDArray[Any], words: str, bins: int = 24) -> Markup:
    """Counts of ``values`` [N] in even bins; each bar says its range and count where it is pointed at.

    The axis is logarithmic where positive values span a factor over 20. ``words`` is what a screen reader says.
    """
    low, high = float(values.min()), float(values.max())
    logarithmic = low > 0 and high / low > 20
    if low == high:
        low, high = (low * 0.9, high * 1.1) if low > 0 else (low - 1, high + 1)
    edges = np.geomspace(low, high, bins + 1) if logarithmic else np.linspace(low, high, bins + 1)
    edges[0], edges[-1] = low, high
    counts, _ = np.histogram(values, edges)

    def x(value: float) -> float:
        share = math.log(value / low) / math.log(high / low) if logarithmic else (value - low) / (high - low)
        return LEFT + share * (WIDTH - 2 * LEFT)

    floor, tall = HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP
    bars = []
    for start, end, count in zip(edges, edges[1:], counts.tolist(), strict=False):
        if count:
            height = max(2.0, tall * count / counts.max())
            place = (
                f'x="{x(start) + 0.75:.1f}" y="{floor - height:.1f}" width="{x(end) - x(start) - 1.5:.1f}" height="{height:.1f}"'
            )
            bars.append(f'<rect {place} rx="1.5"><title>{number(start)} to {number(end)}: {count:,}</title></rect>')
    peak = int(counts.argmax())
    middle = min(max(x((edges[peak] + edges[peak + 1]) / 2), 30), WIDTH - 30)
    bars.append(f'<text x="{middle:.1f}" y="{TOP - 6}" text-anchor="middle">{counts[peak]:,}</text>')
    bars.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - LEFT}" y1="{floor}" y2="{floor}"/>')
    ticks = _log_ticks(low, high) if logarithmic else [tick for tick in nice_ticks(low, high, 5) if low <= tick <= high]
    bars += [f'<text x="{x(tick):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{_tick(tick)}</text>' for tick in ticks]
    least, median, most = (number(float(value)) for value in np.quantile(values, (0, 0.5, 1)))
    label = escape(f"Histogram: {words}, from {least} to {most}, median {median}")
    return Markup(f'<svg class="histogram" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(bars)}</svg>')


def _log_ticks(low: float, high: float) -> list[float]:
    ticks = [m * 10.0**p for p in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) <= 7 else inside[:: math.ceil(len(inside) / 6)]


def _tick(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:.3g}"
