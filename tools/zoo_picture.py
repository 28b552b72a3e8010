"""Draws networks as bubbles, each with its name: accuracy against MACs, area by parameters. Plain SVG, no library."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 1120, 760
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 66, 56
FONT = 11.0
CHARACTER = 6.7
"""Mean width in pixels of a character of that size: a bound for the fonts that SVG viewers fall back on."""
NEAR, FAR = 36, 160
"""Pixels from a bubble's rim within which its name is sought: on no bubble, then on no bubble's middle."""
ORDERS = 150
"""Orders in which names are tried to be placed."""
MACS = (3e7, 8e10)
ACCURACY = (55.0, 87.5)
LIGHT, DARK = ("#b8531a", "#0b6fa8", "#2b7a4b", "#8a3f86"), ("#f0a35e", "#6cb9ee", "#63c48c", "#dd9bd8")
"""Told apart by any colour vision, and by lightness: after Okabe and Ito."""


@dataclass(frozen=True)
class Bubble:
    """One network.

    Attributes:
        family: index of its colour.
        accuracy: in percent.
    """

    name: str
    family: int
    macs: int
    accuracy: float
    parameters: int

    @property
    def x(self) -> float:
        """In pixels, on a logarithmic axis."""
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(self.macs / MACS[0]) / math.log(MACS[1] / MACS[0])

    @property
    def y(self) -> float:
        """In pixels, downwards."""
        return height_of(self.accuracy)

    @property
    def radius(self) -> float:
        """Whose square goes with the parameters."""
        return 1.6 * math.sqrt(self.parameters / 1e6) + 1.2


Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


def height_of(accuracy: float) -> float:
    """The y of an accuracy in percent."""
    return TOP + (HEIGHT - TOP - BOTTOM) * (ACCURACY[1] - accuracy) / (ACCURACY[1] - ACCURACY[0])


def picture(bubbles: Sequence[Bubble], families: Sequence[str]) -> str:
    """The whole SVG; large bubbles lie below small ones, and no two labels overlap."""
    ordered = sorted(bubbles, key=lambda bubble: -bubble.parameters)
    body = [*axes(), *legend(families)]
    for bubble in ordered:
        title = (
            f"{bubble.name}: {bubble.accuracy:.2f} %, {bubble.macs / 1e9:.3g} G MACs, {bubble.parameters / 1e6:.3g} M parameters"
        )
        circle = f'<circle class="f{bubble.family}" cx="{bubble.x:.1f}" cy="{bubble.y:.1f}" r="{bubble.radius:.1f}">'
        body.append(f"{circle}<title>{escape(title)}</title></circle>")
    for bubble, box in place_labels(bubbles):
        body += label(bubble, box)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="title">',
            '<title id="title">Top-1 accuracy on ImageNet against multiply-accumulates; area by parameters</title>',
            f"<style>{style()}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
            *body,
            "</svg>\n",
        ]
    )


def style() -> str:
    """Light, and dark where the reader's system is."""
    common = (
        f"text{{font:{FONT:g}px system-ui,sans-serif}} .big{{font-size:14px;font-weight:600}} .grid{{stroke-width:1}}"
        " circle{fill-opacity:.28;stroke-width:1.4} .leader{stroke-width:.8;stroke-opacity:.7}"
    )
    schemes = (("#fdfdfc", "#1d2129", "#5d6470", "#e4e5e7", LIGHT), ("#14171c", "#eceef2", "#a4abb7", "#2b313a", DARK))
    rules = []
    for paper, ink, faint, grid, colours in schemes:
        rule = (
            f".paper{{fill:{paper}}} text{{fill:{ink}}} .faint{{fill:{faint}}} .grid{{stroke:{grid}}} .leader{{stroke:{faint}}}"
        )
        rules.append(rule + "".join(f" .f{i}{{fill:{colour};stroke:{colour}}}" for i, colour in enumerate(colours)))
    return f"{common} {rules[0]} @media (prefers-color-scheme: dark){{{rules[1]}}}"


def axes() -> Iterator[str]:
    """Title, grid and scales."""
    yield f'<text class="big" x="{LEFT}" y="24">Top-1 accuracy on ImageNet, percent</text>'
    for percent in range(math.ceil(ACCURACY[0] / 5) * 5, int(ACCURACY[1]) + 1, 5):
        y = height_of(percent)
        yield f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        yield f'<text class="faint" x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{percent}</text>'
    for macs in (5e7, 1e8, 2e8, 5e8, 1e9, 2e9, 5e9, 1e10, 2e10, 5e10):
        x = Bubble("", 0, int(macs), 0, 0).x
        yield f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>'
        written = f"{macs / 1e9:g} G" if macs >= 1e9 else f"{macs / 1e6:g} M"
        anchor = "end" if x > WIDTH - RIGHT - 8 else "middle"
        yield f'<text class="faint" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="{anchor}">{written}</text>'
    yield f'<text class="big" x="{WIDTH - RIGHT}" y="{HEIGHT - 14}" text-anchor="end">multiply-accumulates for one image</text>'


def legend(families: Sequence[str]) -> Iterator[str]:
    """The colours, and three sizes."""
    x = float(LEFT)
    for index, family in enumerate(families):
        yield f'<circle class="f{index}" cx="{x + 6:.1f}" cy="44" r="6"/>'
        yield f'<text x="{x + 17:.1f}" y="48">{escape(family)}</text>'
        x += 36 + CHARACTER * len(family)
    x = WIDTH - RIGHT - 250
    for millions in (5, 25, 100):
        radius = Bubble("", 0, 1, 0, millions * 10**6).radius
        x += radius
        yield f'<circle class="leader" fill="none" cx="{x:.1f}" cy="34" r="{radius:.1f}"/>'
        yield f'<text class="faint" x="{x + radius + 5:.1f}" y="38">{millions} M</text>'
        x += radius + 46
    yield f'<text class="faint" x="{x - 4:.1f}" y="38">parameters</text>'


def place_labels(bubbles: Sequence[Bubble]) -> list[tuple[Bubble, Box]]:
    """A place for each name that hides no other: of many orders of placing them, the one with the shortest lines."""
    choices = {bubble: list(places(bubble, bubbles)) for bubble in bubbles}
    draw = random.Random(0)
    orders = (draw.sample(list(bubbles), len(bubbles)) for _ in range(ORDERS))
    return min((placed for order in orders if (placed := place_in_order(order, choices))), key=total_distance)


def place_in_order(order: Sequence[Bubble], choices: Mapping[Bubble, Sequence[Box]]) -> list[tuple[Bubble, Box]]:
    """Each name at its first free place; none at all where one finds no place."""
    names: list[Box] = []
    lines: list[Box] = []
    for bubble in order:
        for box in choices[bubble]:
            line = leader(bubble, box)
            if not any(overlap(box, other) for other in (*names, *lines)) and not any(overlap(p, n) for p in line for n in names):
                break
        else:
            return []
        names.append(box)
        lines += line
    return list(zip(order, names, strict=True))


def total_distance(placed: Sequence[tuple[Bubble, Box]]) -> float:
    """Squared, so that one long line is worse than many short ones."""
    return sum(distance(bubble, box) ** 2 for bubble, box in placed)


def distance(bubble: Bubble, box: Box) -> float:
    """From the bubble's rim to the nearest edge of the box, in pixels."""
    x, y = min(max(bubble.x, box[0]), box[2]), min(max(bubble.y, box[1]), box[3])
    return max(0.0, math.hypot(bubble.x - x, bubble.y - y) - bubble.radius)


def square(bubble: Bubble, half: float) -> Box:
    """A square about its middle."""
    return bubble.x - half, bubble.y - half, bubble.x + half, bubble.y + half


def places(bubble: Bubble, bubbles: Sequence[Bubble]) -> Iterator[Box]:
    """Boxes for its name inside the frame, nearest first, on no bubble; then on others' rims, where that is all there is."""
    width, height = CHARACTER * len(bubble.name) + 2, FONT + 3
    for farthest, core in ((NEAR, 0.85), (FAR, 0.4)):
        hidden = [square(other, max(4.0, core * other.radius)) for other in bubbles]
        cores = [square(other, 0.5 * other.radius) for other in bubbles if other != bubble]
        for away in range(int(bubble.radius) + 3, int(bubble.radius) + farthest, 3):
            for degrees in (0, 180, 90, 270, 30, 150, 330, 210, 60, 120, 300, 240, 15, 165, 345, 195):
                dx, dy = math.cos(math.radians(degrees)), -math.sin(math.radians(degrees))
                x, y = bubble.x + away * dx + width / 2 * dx, bubble.y + away * dy + height / 2 * dy
                box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
                inside = box[0] > LEFT and box[1] > TOP - 6 and box[2] < WIDTH - 4 and box[3] < HEIGHT - BOTTOM
                crossed = any(overlap(point, other) for point in leader(bubble, box) for other in cores)
                if inside and not crossed and not any(overlap(box, other) for other in hidden):
                    yield box


def overlap(first: Box, second: Box) -> bool:
    """Whether two boxes have a pixel in common."""
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def leader(bubble: Bubble, box: Box) -> list[Box]:
    """Points from the bubble's rim to the nearest edge of its name; none where the two are side by side."""
    x, y = min(max(bubble.x, box[0]), box[2]), min(max(bubble.y, box[1]), box[3])
    gap = math.hypot(bubble.x - x, bubble.y - y)
    if gap <= bubble.radius + 6:
        return []
    shares = (bubble.radius / gap * (1 - step / 16) + step / 16 for step in range(17))
    return [
        (px, py, px, py)
        for share in shares
        for px, py in [(bubble.x + share * (x - bubble.x), bubble.y + share * (y - bubble.y))]
    ]


def label(bubble: Bubble, box: Box) -> list[str]:
    """The name, and a line to its bubble where that is not beside it."""
    text = f'<text x="{(box[0] + box[2]) / 2:.1f}" y="{box[3] - 4:.1f}" text-anchor="middle">{escape(bubble.name)}</text>'
    points = leader(bubble, box)
    if not points:
        return [text]
    (start_x, start_y, *_), (end_x, end_y, *_) = points[0], points[-1]
    ends = f'x1="{start_x:.1f}" y1="{start_y:.1f}" x2="{end_x:.1f}" y2="{end_y:.1f}"'
    return [f'<line class="leader" {ends}/>', text]
