"""Charts as inline SVG: drawn once in Python, coloured by the page's own variables so that they follow light and dark.

A chart is 360 units wide, about what a third of a laptop's page and the whole of a phone's are in pixels, so that its
text keeps its size on both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape

from striate.data.findings import counted
from striate.metrics import ReliabilityBins, wilson_interval
from striate.report.ticks import log_ticks, nice_ticks, whole_ticks
from striate.report.words import number, percent, whole_percent

WIDTH, HEIGHT = 360, 224
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 12, 28
FEW = 8
"""Up to this many points of a line are all drawn as dots."""
SQUARE = 330
"""Height of the charts that compare two like things."""

Points = Sequence[float | None]
Words = Callable[[float], str]


@dataclass(frozen=True)
class Series:
    """One line: a value an epoch, None where there is none. ``style`` names a class of the style sheet."""

    name: str
    values: Points
    style: str


@dataclass(frozen=True)
class Chart:
    """A drawing and what a reader (or the pointer over it) reads off: ``readings[series][point]`` beside ``at[point]``."""

    title: str
    svg: Markup
    series: tuple[Series, ...]
    at: tuple[str, ...]
    places: tuple[float, ...]
    readings: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class _Axis:
    """Values from ``low`` to ``high`` on units from ``start`` to ``end``, evenly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        if self.high == self.low:
            share = 0.5
        elif self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def line_chart(
    title: str,
    epochs: Sequence[int],
    series: Sequence[Series],
    *,
    reading: Words = number,
    tick_words: Words = number,
    linear: bool = False,
    best: int | None = None,
) -> Chart:
    """Values over epochs. The axis is logarithmic where they are all positive and span a factor over 30, unless ``linear``.

    Args:
        reading: turns a value into words, ``tick_words`` one of the axis.
        best: the epoch whose weights were kept: a dotted line.
    """
    drawn = [v for line in series for v in line.values if v is not None]
    least, most = min(drawn), max(drawn)
    logarithmic = not linear and least > 0 and most / least > 30
    ticks = log_ticks(least, most) if logarithmic else nice_ticks(least, most)
    x = _Axis(epochs[0], epochs[-1], LEFT, WIDTH - RIGHT)
    y = _Axis(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP, logarithmic)
    parts = [_rule(y(tick), tick_words(tick)) for tick in ticks]
    parts += [_below(x(tick), str(tick)) for tick in whole_ticks(epochs[0], epochs[-1])]
    if best is not None and len(epochs) > 1:
        parts.append(f'<line class="best" x1="{x(best)}" x2="{x(best)}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    for line in series:
        points = [(x(e), y(v)) for e, v in zip(epochs, line.values, strict=True) if v is not None]
        parts.append(_path(points, line.style))
    parts.append(f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    readings = tuple(tuple("–" if v is None else reading(v) for v in line.values) for line in series)
    course = "; ".join(f"{line.name} from {said[0]} to {said[-1]}" for line, said in zip(series, readings, strict=True))
    return Chart(
        title=title,
        svg=_svg(f"{title} over {counted(len(epochs), 'epoch')}: {course}", parts, HEIGHT),
        series=tuple(series),
        at=tuple(f"epoch {epoch}" for epoch in epochs),
        places=tuple(x(epoch) for epoch in epochs),
        readings=readings,
    )


def reliability_chart(bins: ReliabilityBins) -> Markup:
    """Accuracy against confidence: a dot a bin with its 95 % interval, the ideal diagonal, and below the images of each."""
    floor, foot = 250, SQUARE - 26
    x, y = _Axis(0, 1, LEFT, WIDTH - RIGHT), _Axis(0, 1, floor, TOP)
    tall = _Axis(0, max(1, int(bins.counts.max())), 0, 40)
    shares = (0, 0.25, 0.5, 0.75, 1)
    parts = [_rule(y(s), whole_percent(s)) + _below(x(s), whole_percent(s), SQUARE - 10) for s in shares]
    parts.append(f'<line class="ideal" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>')
    parts.append(f'<text class="note" x="{x(0.02)}" y="{y(0.94)}">less sure than right</text>')
    parts.append(f'<text class="note" text-anchor="end" x="{x(0.98)}" y="{y(0.05)}">surer than right</text>')
    for k in np.flatnonzero(bins.counts).tolist():
        count, confidence, accuracy = int(bins.counts[k]), float(bins.confidence[k]), float(bins.accuracy[k])
        left, right, height = x(float(bins.edges[k])), x(float(bins.edges[k + 1])), max(0.8, tall(count))
        parts.append(
            f'<rect class="count" x="{left + 1:.1f}" y="{foot - height:.1f}" width="{right - left - 2:.1f}" height="{height}"/>'
        )
        low, high = wilson_interval(round(accuracy * count), count)
        words = f"{counted(count, 'image')}, {percent(confidence)} sure on average, {percent(accuracy)} right"
        whisker = f'<line class="whisker" x1="{x(confidence)}" x2="{x(confidence)}" y1="{y(low)}" y2="{y(high)}"/>'
        dot = f'<circle class="dot" cx="{x(confidence)}" cy="{y(accuracy)}" r="4"/>'
        parts.append(f"<g><title>{words}</title>{whisker}{dot}</g>")
    return _svg("Accuracy against confidence in bins; the diagonal is perfect calibration", parts, SQUARE)


def scatter_chart(true: npt.NDArray[np.float64], predicted: npt.NDArray[np.float64], limit: int = 1500) -> Markup:
    """Predicted against true numbers, evenly thinned to ``limit`` dots; the diagonal is a perfect prediction."""
    ticks = nice_ticks(float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max())))
    x, y = _Axis(ticks[0], ticks[-1], LEFT, WIDTH - RIGHT), _Axis(ticks[0], ticks[-1], SQUARE - BOTTOM, TOP)
    parts = [_rule(y(tick), number(tick)) + _below(x(tick), number(tick), SQUARE - 10) for tick in ticks]
    parts.append(f'<line class="ideal" x1="{x(ticks[0])}" y1="{y(ticks[0])}" x2="{x(ticks[-1])}" y2="{y(ticks[-1])}"/>')
    chosen = np.unique(np.linspace(0, len(true) - 1, min(limit, len(true))).astype(int)).tolist()
    parts += [f'<circle class="grain" cx="{x(float(true[i]))}" cy="{y(float(predicted[i]))}" r="2.5"/>' for i in chosen]
    return _svg("Predicted against true numbers; the diagonal is a perfect prediction", parts, SQUARE)


def _svg(label: str, parts: list[str], height: int) -> Markup:
    return Markup(f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>')


def _rule(y: float, words: str) -> str:
    line = f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
    return f'{line}<text x="{LEFT - 8}" y="{y + 3.5:.1f}" text-anchor="end">{words}</text>'


def _below(x: float, words: str, y: float = HEIGHT - 10) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="middle">{words}</text>'


def _path(points: list[tuple[float, float]], style: str) -> str:
    """A line through the points, the last one a dot; every one a dot where they are few, as of a run validated seldom."""
    path = " ".join(f"{'L' if i else 'M'}{x} {y}" for i, (x, y) in enumerate(points))
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="3"/>' for x, y in (points if len(points) <= FEW else points[-1:]))
    return f'<g class="{style}"><path d="{path}"/>{dots}</g>'
