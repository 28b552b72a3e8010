"""A comparison as one SVG: accuracy against the number of images a class, and against time. Plain text, no library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from striate.comparison.cells import said
from striate.comparison.figures import Estimate, Figures
from striate.comparison.text import explanation
from striate.report.ticks import nice_ticks
from striate.transferring import Regime

WIDTH, HEIGHT = 1040, 490
TOP, BOTTOM = 84, 114
PANELS = ((62.0, 520.0), (582.0, 1024.0))
"""Left and right ends of both drawings."""
DODGE = 9.0
"""Pixels between regimes at one number of images, so that no interval hides another."""
LIGHT = {"small": "#0b6fa8", "mid": "#2b7a4b", "enough": "#b8531a", "scratch": "#8a3f86"}
DARK = {"small": "#6cb9ee", "mid": "#63c48c", "enough": "#f0a35e", "scratch": "#dd9bd8"}
"""Told apart by any colour vision, and by lightness: after Okabe and Ito. The marker says the same without colour."""
NAMES = {
    "small": "small: the head alone is solved",
    "mid": "mid: the later layers learn",
    "enough": "enough: all layers learn",
    "scratch": "scratch: without the weights",
}


@dataclass(frozen=True)
class _Axis:
    """Values from ``low`` to ``high`` on pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def draw(figures: Figures) -> str:
    """The whole SVG; light, and dark where the reader's system is."""
    ticks = [tick for tick in nice_ticks(*_span(figures), 6) if 0 <= tick <= 1]
    y = _Axis(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP)
    lines = explanation(figures)
    title = f"Transfer: accuracy on {figures.num_held_out} held-out images"
    notes = (f'<text class="faint" x="24" y="{HEIGHT - 34 + 17 * row}">{escape(line)}</text>' for row, line in enumerate(lines))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="title desc">',
            f'<title id="title">{title}</title><desc id="desc">{escape(figures.verdict())}</desc>',
            f"<style>{_style()}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
            *_legend(figures.regimes),
            *_by_images(figures, y, ticks),
            *_by_time(figures, y, ticks),
            *notes,
            "</svg>\n",
        ]
    )


def _span(figures: Figures) -> tuple[float, float]:
    """The least and the greatest accuracy that is drawn; intervals end at 0 and 1."""
    estimates = [e for number in figures.images for regime in figures.regimes if (e := figures.estimate(number, regime))]
    most = figures.images[-1]
    along = [point.accuracy for regime in figures.regimes if figures.of(most, regime) for point in figures.course(most, regime)]
    low = min([*(max(0.0, e.low) for e in estimates), *along])
    high = max([*(min(1.0, e.high) for e in estimates), *along])
    return low, high


def _by_images(figures: Figures, y: _Axis, ticks: Sequence[float]) -> Iterator[str]:
    left, right = PANELS[0]
    yield from _frame(0, "Accuracy against the number of images", "images a class; dotted: always the commonest class", y, ticks)
    x = _Axis(0, max(1, len(figures.images) - 1), left + 40, right - 40)
    yield _level(figures.baseline, left, right, y)
    for place, number in enumerate(figures.images):
        yield _below(x(place), str(number or "all"))
    for index, regime in enumerate(figures.regimes):
        aside = DODGE * (index - (len(figures.regimes) - 1) / 2)
        points = []
        for place, number in enumerate(figures.images):
            if (estimate := figures.estimate(number, regime)) is not None:
                points.append((x(place) + aside, estimate, f"{regime}, {said(number)}: {estimate} %"))
        yield _line([(across, y(estimate.mean)) for across, estimate, _ in points], regime)
        for across, estimate, words in points:
            yield _measured(across, estimate, y, regime, words)


def _by_time(figures: Figures, y: _Axis, ticks: Sequence[float]) -> Iterator[str]:
    """Dashed: validation along the way; the marker: the held-out images, scored at the end."""
    left, right = PANELS[1]
    most = figures.images[-1]
    there = [regime for regime in figures.regimes if figures.of(most, regime)]
    longest = max(figures.seconds(most, regime) for regime in there)
    unit, name = (1.0, "seconds") if longest < 180 else (60.0, "minutes")
    yield from _frame(1, f"Accuracy against time, {said(most)}", f"{name} of learning; dashed: validation on the way", y, ticks)
    yield _level(figures.baseline, left, right, y)
    marks = nice_ticks(0.0, longest / unit, 5)
    x = _Axis(0.0, marks[-1] * unit, left + 10, right - 24)
    for mark in marks:
        yield _below(x(mark * unit), f"{mark:g}")
    for regime in there:
        estimate, end = figures.estimate(most, regime), figures.seconds(most, regime)
        assert estimate is not None
        if regime != "small":  # which is there at once
            along = [(x(point.seconds), y(point.accuracy)) for point in figures.course(most, regime)]
            yield _line([*along, (x(end), y(estimate.mean))], f"{regime} along")
        yield _measured(x(end), estimate, y, regime, f"{regime}, {end:.0f} s: {estimate} %")


def _frame(panel: int, title: str, below: str, y: _Axis, ticks: Sequence[float]) -> Iterator[str]:
    left, right = PANELS[panel]
    yield f'<text class="faint" x="{(left + right) / 2}" y="{HEIGHT - BOTTOM + 42}" text-anchor="middle">{escape(below)}</text>'
    yield f'<text class="big" x="{left}" y="{TOP - 18}">{escape(title)}</text>'
    for tick in ticks:
        yield f'<line class="grid" x1="{left}" x2="{right}" y1="{y(tick)}" y2="{y(tick)}"/>'
        yield f'<text class="faint" x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{100 * tick:.4g} %</text>'


def _level(accuracy: float, left: float, right: float, y: _Axis) -> str:
    """A dotted line, where the axis reaches it."""
    return f'<path class="level" d="M{left} {y(accuracy)}H{right}"/>' if y.low <= accuracy <= y.high else ""


def _below(x: float, words: str) -> str:
    return f'<text class="faint" x="{x}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{words}</text>'


def _line(points: Sequence[tuple[float, float]], style: str) -> str:
    path = " ".join(f"{'L' if i else 'M'}{x:.1f} {y}" for i, (x, y) in enumerate(points))
    return f'<path class="{style}" d="{path}"/>'


def _measured(x: float, estimate: Estimate, y: _Axis, regime: Regime, words: str) -> str:
    """A marker with its interval."""
    low, high = y(max(y.low, estimate.low)), y(min(y.high, estimate.high))
    path = f"M{x:.1f} {low}V{high}" + "".join(f"M{x - 4:.1f} {end}h8" for end in (low, high))
    whisker = f'<path class="{regime}" d="{path}"/>'
    return f"<g><title>{escape(words)}</title>{whisker}{_marker(x, y(estimate.mean), regime)}</g>"


def _marker(x: float, y: float, regime: Regime, size: float = 5.5) -> str:
    """A shape a regime: circle, square, triangle, diamond."""
    if regime == "small":
        return f'<circle class="{regime} mark" cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>'
    corners = {
        "mid": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "enough": ((0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
        "scratch": ((0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)),
    }[regime]
    points = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in corners)
    return f'<polygon class="{regime} mark" points="{points}"/>'


def _legend(regimes: Sequence[Regime]) -> Iterator[str]:
    for index, regime in enumerate(regimes):
        x = 30 + index * 248
        yield _marker(x, 26, regime)
        yield f'<text x="{x + 13}" y="30">{NAMES[regime]}</text>'


def _style() -> str:
    common = (
        "text{font:13px system-ui,sans-serif} .big{font-size:14px;font-weight:600} .grid{stroke-width:1}"
        " path{fill:none;stroke-width:1.6} .along{stroke-dasharray:5 4} .mark{stroke-width:1.5}"
        " .level{stroke-width:1.2;stroke-dasharray:1.5 4}"
    )
    schemes = (("#fdfdfc", "#1d2129", "#5d6470", "#e4e5e7", LIGHT), ("#14171c", "#eceef2", "#a4abb7", "#2b313a", DARK))
    rules = []
    for paper, ink, faint, grid, colours in schemes:
        plain = (
            f".paper{{fill:{paper}}} text{{fill:{ink}}} .faint{{fill:{faint}}} .grid{{stroke:{grid}}} .level{{stroke:{faint}}}"
        )
        own = (
            f" .{name}{{stroke:{colour}}} .{name}.mark,.{name}.dot{{fill:{colour};stroke:{paper}}}"
            for name, colour in colours.items()
        )
        rules.append(plain + "".join(own))
    return f"{common} {rules[0]} @media (prefers-color-scheme: dark){{{rules[1]}}}"
