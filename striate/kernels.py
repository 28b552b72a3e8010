"""The named image filters of the lectures, applied to pictures of any size.

A filter is a cross-correlation of each colour by itself: at each pixel, the products of the matrix with the pixels under it,
summed, over the divisor. The numbers are those that the lectures print; the divisor keeps the brightness of blurs and
sharpeners that are printed without one.

Sources: I. Sobel, 1968; J. Prewitt, "Object enhancement and extraction", 1970; H. Scharr, dissertation, Heidelberg 2000.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from striate.errors import UsageError, nearest
from striate.reference import cross_correlation

Border = Literal["edge", "zero"]
"""What lies around a picture: its outermost pixels, repeated, so that no false edge appears there; or black."""

Show = Literal["clip", "magnitude", "range"]
"""How a response, which may be negative or beyond white, becomes 0..255.

``clip``: below 0 is black, above 255 white. ``magnitude``: without its sign, then clipped: an edge is bright whichever side of
it is. ``range``: everything the filter can put out, from its lowest response to its highest, is spread over black to white.
"""

_BAND = 2**20
"""Pixels computed at once: a picture of 50 megapixels needs no 50 million floats."""


@dataclass(frozen=True)
class Kernel:
    """An image filter.

    Attributes:
        name: how it is called.
        matrix: its numbers, as printed, row by row.
        divisor: what the sum of products is divided by.
        about: what it finds or does.
    """

    name: str
    matrix: tuple[tuple[float, ...], ...]
    divisor: float = 1
    about: str = ""

    @property
    def gain(self) -> float:
        """What it makes of a picture of ones."""
        return sum(map(sum, self.matrix)) / self.divisor

    @property
    def reach(self) -> tuple[float, float]:
        """Lowest and highest response to pixels 0..255."""
        numbers = [255 * number / self.divisor for row in self.matrix for number in row]
        return sum(number for number in numbers if number < 0), sum(number for number in numbers if number > 0)

    @property
    def show(self) -> Show:
        """Its usual display: ``clip`` where it keeps the brightness, ``magnitude`` where even areas vanish, else ``range``."""
        return "clip" if abs(self.gain - 1) < 1e-9 else "magnitude" if abs(self.gain) < 1e-9 else "range"


def _turned(matrix: Sequence[Sequence[float]], quarters: int) -> tuple[tuple[float, ...], ...]:
    """Turned counterclockwise by quarters of a circle."""
    return tuple(map(tuple, np.rot90(np.array(matrix), quarters).tolist()))


_SOBEL = ((1, 2, 1), (0, 0, 0), (-1, -2, -1))
_SCHARR = ((3, 10, 3), (0, 0, 0), (-3, -10, -3))
_PREWITT = ((1, 1, 1), (0, 0, 0), (-1, -1, -1))
_DIRECTIONS = ("top", "left", "bottom", "right")

KERNELS: dict[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        Kernel("identity", ((0, 0, 0), (0, 1, 0), (0, 0, 0)), about="changes nothing"),
        Kernel("edge_1", ((1, 0, -1), (0, 0, 0), (-1, 0, 1)), about="corners and diagonals"),
        Kernel("edge_2", ((0, 1, 0), (1, -4, 1), (0, 1, 0)), about="edges of every direction (the Laplacian)"),
        Kernel("edge_3", ((-1, -1, -1), (-1, 8, -1), (-1, -1, -1)), about="edges of every direction, diagonals too"),
        *(
            Kernel(f"sobel_{direction}", _turned(_SOBEL, quarters), about=f"edges that are brighter at the {direction}")
            for quarters, direction in enumerate(_DIRECTIONS)
        ),
        *(
            Kernel(f"scharr_{direction}", _turned(_SCHARR, quarters), about=f"edges that are brighter at the {direction}")
            for quarters, direction in enumerate(_DIRECTIONS)
        ),
        Kernel("prewitt_horizontal", _PREWITT, about="horizontal edges"),
        Kernel("prewitt_vertical", _turned(_PREWITT, 1), about="vertical edges"),
        Kernel("line_1", ((-1, -1, -1), (1, 1, 1), (0, 0, 0)), about="upper side of bright horizontal lines"),
        Kernel("line_2", ((-1, 1, 0), (-1, 1, 0), (-1, 1, 0)), about="left side of bright vertical lines"),
        Kernel("line_3", ((0, 0, 0), (1, 1, 1), (-1, -1, -1)), about="lower side of bright horizontal lines"),
        Kernel("line_4", ((0, 1, -1), (0, 1, -1), (0, 1, -1)), about="right side of bright vertical lines"),
        Kernel("laplacian", ((0, -1, 0), (-1, 4, -1), (0, -1, 0)), about="edges of every direction, the sign turned"),
        Kernel("sharpen", ((0, -1, 0), (-1, 5, -1), (0, -1, 0)), about="edges stronger, even areas as they are"),
        Kernel("sharpen_mild", ((0, -1, 0), (-1, 8, -1), (0, -1, 0)), 4, about="half as strong"),
        Kernel("box", ((1, 1, 1), (1, 1, 1), (1, 1, 1)), 9, about="blur: the mean of nine pixels"),
        Kernel("gaussian", ((1, 2, 1), (2, 4, 2), (1, 2, 1)), 16, about="blur that fades with distance"),
        Kernel("blur", ((0, 1, 0), (1, 4, 1), (0, 1, 0)), 8, about="blur without the diagonals"),
        Kernel("loopy", ((1, 1, 1), (1, -1, 1), (1, 1, 1)), 9, about="small loops: the head of a 9"),
        Kernel("vertical", ((-1, 1, -1), (-1, 1, -1), (-1, 1, -1)), about="vertical lines one pixel wide"),
        Kernel("diagonal", ((1, -1, -1), (-1, 1, -1), (-1, -1, 1)), about="diagonal lines one pixel wide"),
        Kernel(
            "curve",
            (
                (0, 0, 0, 0, 0, 30, 0),
                (0, 0, 0, 0, 30, 0, 0),
                (0, 0, 0, 30, 0, 0, 0),
                (0, 0, 0, 30, 0, 0, 0),
                (0, 0, 0, 30, 0, 0, 0),
                (0, 0, 0, 30, 0, 0, 0),
                (0, 0, 0, 0, 0, 0, 0),
            ),
            about="a curve like its own",
        ),
    )
}  # fmt: skip


def find_kernel(name: str) -> Kernel:
    """The filter of that name, hyphens and underscores alike. Raises ``UsageError`` with the nearest name."""
    key = name.lower().replace("-", "_")
    if key not in KERNELS:
        raise UsageError(f"there is no filter {name!r}", fix=f"{nearest(key, KERNELS)} (striate filter lists them all)")
    return KERNELS[key]


def parse_kernel(text: str) -> Kernel:
    """A filter of one's own: rows between semicolons, numbers (``-1``, ``0.5``, ``1/9``) between spaces or commas.

    Raises:
        UsageError: a word that is no number, or rows of different lengths.
    """
    rows = [re.split(r"[,\s]+", row.strip()) for row in text.strip().strip(";").split(";")]
    try:
        matrix = tuple(tuple(float(Fraction(number)) for number in row) for row in rows)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise UsageError(
            "a kernel is made of numbers", where=text, why=str(error), fix='for example: "0 -1 0; -1 5 -1; 0 -1 0"'
        ) from None
    if len({len(row) for row in matrix}) > 1:
        raise UsageError(
            "the rows of a kernel are equally long",
            where=text,
            why=f"these have {', '.join(str(len(row)) for row in matrix)} numbers",
        )
    return Kernel("kernel", matrix, about="your own")


def response(image: NDArray[np.uint8], kernel: Kernel, border: Border = "edge") -> NDArray[np.float64]:
    """What the filter computes, with its sign: [H, W] or [H, W, C] -> float64 of the same shape.

    The matrix lies with its middle on the pixel; of an even number of rows or columns, the upper or left of the middle ones does.
    """
    padded = _bordered(image, kernel, border)
    return _correlate(padded, kernel)


def apply_kernel(
    image: NDArray[np.uint8], kernel: Kernel, border: Border = "edge", show: Show | None = None
) -> NDArray[np.uint8]:
    """A filtered picture, each colour by itself, rounded half up.

    Args:
        image: uint8 [H, W] or [H, W, C].
        border: what lies around the picture.
        show: how responses become 0..255; None: :attr:`Kernel.show`.

    Returns:
        uint8 of the same shape.
    """
    padded = _bordered(image, kernel, border)
    result = np.empty_like(image)
    rows = max(1, _BAND // image[0].size)
    for top in range(0, len(image), rows):
        band = padded[top : min(top + rows, len(image)) + len(kernel.matrix) - 1]
        result[top : top + rows] = _displayed(_correlate(band, kernel), kernel, show or kernel.show)
    return result


def _bordered(image: NDArray[np.uint8], kernel: Kernel, border: Border) -> NDArray[np.uint8]:
    if border not in get_args(Border):
        raise UsageError(f"there is no border {border!r}", fix=nearest(border, get_args(Border)))
    sides = [((n - 1) // 2, n // 2) for n in (len(kernel.matrix), len(kernel.matrix[0]))] + [(0, 0)] * (image.ndim - 2)
    return np.pad(image, sides, mode="edge") if border == "edge" else np.pad(image, sides)


def _correlate(padded: NDArray[np.uint8], kernel: Kernel) -> NDArray[np.float64]:
    planes = np.moveaxis(padded, -1, 0) if padded.ndim == 3 else padded
    result = cross_correlation(planes, kernel.matrix) / kernel.divisor
    return np.moveaxis(result, 0, -1) if padded.ndim == 3 else result


def _displayed(values: NDArray[np.float64], kernel: Kernel, show: Show) -> NDArray[np.uint8]:
    if show not in get_args(Show):
        raise UsageError(f"nothing is shown as {show!r}", fix=nearest(show, get_args(Show)))
    if show == "magnitude":
        values = np.abs(values)
    elif show == "range":
        low, high = kernel.reach
        values = (values - low) * (255 / (high - low)) if high > low else values
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)


def describe(kernel: Kernel) -> str:
    """Its name, what it is for, its matrix, and how its responses are shown."""
    shown = {
        "clip": "shown as it is: below 0 black, above 255 white",
        "magnitude": "shown without its sign, above 255 white",
        "range": "shown from its lowest possible response (black) to its highest (white)",
    }[kernel.show]
    return "\n".join([f"{kernel.name}: {kernel.about}", "", *_matrix_lines(kernel), "", shown])


def describe_all(columns: int) -> str:
    """Every filter with its matrix, side by side as far as ``columns`` characters go."""
    blocks = [[kernel.name, *_matrix_lines(kernel)] for kernel in KERNELS.values()]
    lines: list[str] = []
    while blocks:
        beside = [blocks.pop(0)]
        # Only matrices of one height stand side by side.
        while blocks and len(blocks[0]) == len(beside[0]) and _GRID * (len(beside) + 1) <= columns:
            beside.append(blocks.pop(0))
        lines += ["".join(cells[i].ljust(_GRID) for cells in beside).rstrip() for i in range(len(beside[0]))] + [""]
    return "\n".join(lines).rstrip()


_GRID = 20
"""Characters a matrix and its name take in the list."""


def _matrix_lines(kernel: Kernel) -> list[str]:
    cells = [[f"{number:g}" for number in row] for row in kernel.matrix]
    width = max(len(cell) for row in cells for cell in row)
    lines = [" ".join(cell.rjust(width) for cell in row) for row in cells]
    if kernel.divisor != 1:
        lines[len(lines) // 2] += f"   / {kernel.divisor:g}"
    return lines
