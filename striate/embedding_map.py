"""Vectors on a plane: principal components or UMAP, as a table or a picture of dots."""

from __future__ import annotations

import csv
import io
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from striate.errors import Refused, UsageError
from striate.files import replacing
from striate.index import Index, Vectors

Method = Literal["pca", "umap"]

SIDE, MARGIN, LEGEND, DOT = 900, 36, 260, 4
PAPER, INK, MUTED = (252, 251, 248), (27, 30, 33), (160, 163, 166)
COLORS = (
    (31, 119, 180), (214, 39, 40), (44, 160, 44), (255, 127, 14), (148, 103, 189), (140, 86, 75),
    (23, 190, 207), (227, 119, 194), (188, 189, 34), (0, 70, 110), (110, 0, 50), (60, 90, 0),
)  # fmt: skip
"""Of the classes with the most pictures; the others are grey."""
_SCALE = 2
"""Drawn so many times larger, then shrunk: Pillow's own discs have stairs."""


class Plane(NamedTuple):
    """A map of N vectors.

    Attributes:
        points: float64 [N, 2].
        axes: what each coordinate is, in words.
    """

    points: NDArray[np.float64]
    axes: tuple[str, str]


def pca_plane(vectors: Vectors) -> Plane:
    """Projects on the two directions of most variance (K. Pearson 1901); one more picture hardly moves the others.

    An axis points where its own largest weight is positive, so that equal vectors always give an equal map.
    """
    if not len(vectors):
        raise Refused("No vectors to draw a map of")
    mean = vectors.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(vectors), 1 << 13):
        centred = vectors[start : start + (1 << 13)] - mean
        covariance += centred.T @ centred
    directions, variances, _ = np.linalg.svd(covariance, hermitian=True)
    axes = np.zeros((len(mean), 2))
    axes[:, : min(2, len(mean))] = directions[:, :2]
    axes *= np.where(np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0) < 0, -1, 1)
    shares = np.append(variances, 0)[:2] / max(variances.sum(), np.finfo(np.float64).tiny)
    first, second = (f"component {i} ({100 * share:.1f} % of the variance)" for i, share in enumerate(shares.tolist(), 1))
    return Plane(vectors @ axes - mean @ axes, (first, second))


def umap_plane(vectors: Vectors, seed: int = 0) -> Plane:
    """UMAP with cosine distances (L. McInnes, J. Healy, J. Melville 2018, arXiv:1802.03426): keeps neighbours, not distances.

    Raises:
        UsageError: umap-learn, which the extra ``umap`` installs, is not there.
        Refused: fewer than four vectors, of which it makes no map.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numba's and its optional parts' remarks
            import umap
    except ImportError:
        fix = 'pip install "striate[umap]", or take the principal components: --method pca'
        raise UsageError("UMAP maps take umap-learn, which is not installed", fix=fix) from None
    if len(vectors) < 4:
        raise Refused(f"UMAP makes no map of {len(vectors)} vectors", fix="take the principal components: --method pca")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed makes it use one thread is wanted
        reducer = umap.UMAP(n_neighbors=min(15, len(vectors) - 1), metric="cosine", random_state=seed)
        return Plane(np.asarray(reducer.fit_transform(vectors), np.float64), ("UMAP 1", "UMAP 2"))


METHODS: dict[str, Callable[[Vectors], Plane]] = {"pca": pca_plane, "umap": umap_plane}


def write_map(path: str | Path, index: Index, method: Method = "pca") -> Path:
    """Draws an index on a plane: ``.csv`` (key, label, x, y) or ``.png`` (dots coloured by class); returns the path.

    Raises:
        UsageError: another suffix, or UMAP without umap-learn.
        Failed: the disk refused.
    """
    path = Path(path)
    make = {".csv": _table, ".png": _picture}.get(path.suffix.lower())
    if make is None:
        raise UsageError("A map is a .csv or a .png file", where=path, fix="name it so, e.g. map.png")
    content = make(index, METHODS[method](index.vectors))
    with replacing(path, "the map") as file:
        file.write(content)
    return path


def _table(index: Index, plane: Plane) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(("key", "label", "x", "y"))
    for i, (x, y) in enumerate(plane.points.tolist()):
        rows.writerow((index.keys[i], index.label(i), f"{x:.6g}", f"{y:.6g}"))
    return text.getvalue().encode("utf-8", "surrogateescape")


def _picture(index: Index, plane: Plane) -> bytes:
    labels = [index.label(i) if index.kind != "value" else "" for i in range(len(index))]
    counted = Counter(label for label in labels if label)
    telling = 1 < len(counted) < len(index)  # one colour for all, or for each, tells nothing
    shown = [label for label, _ in counted.most_common(len(COLORS))] if telling else []
    color = dict(zip(shown, COLORS, strict=False))
    dots = Image.new("RGB", (SIDE * _SCALE, SIDE * _SCALE), PAPER)
    draw, radius = ImageDraw.Draw(dots), DOT * _SCALE
    low = plane.points.min(axis=0)
    span = max(float((plane.points.max(axis=0) - low).max()), np.finfo(np.float64).tiny)  # one scale for both axes
    room = (SIDE - 2 * MARGIN) * _SCALE
    places = MARGIN * _SCALE + (plane.points - low) / span * room
    places += (room - (plane.points.max(axis=0) - low) / span * room) / 2
    # The grey ones first, so that none hides a class that the legend names.
    for i in sorted(range(len(index)), key=lambda i: labels[i] in color):
        x, y = places[i, 0], SIDE * _SCALE - places[i, 1]
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), color.get(labels[i], MUTED if shown else COLORS[0]))
    sheet = Image.new("RGB", (SIDE + (LEGEND if shown else 0), SIDE), PAPER)
    sheet.paste(dots.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (0, 0))
    _letter(sheet, plane, [(label, color[label], counted[label]) for label in shown], len(counted) - len(shown))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _letter(sheet: Image.Image, plane: Plane, legend: list[tuple[str, tuple[int, int, int], int]], num_others: int) -> None:
    """Writes what the axes are, and which colour is which class."""
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    draw.text((MARGIN, SIDE - 24), f"across: {plane.axes[0]}; up: {plane.axes[1]}", INK, font)
    rows = [(f"{label} ({num:,})", color) for label, color, num in legend]
    rows += [(f"{num_others:,} other classes", MUTED)] if num_others else []
    for row, (text, color) in enumerate(rows):
        top = MARGIN + 24 * row
        draw.ellipse((SIDE, top + 4, SIDE + 10, top + 14), color)
        while font.getlength(text) > LEGEND - 30:
            text = text[:-2] + "…"
        draw.text((SIDE + 18, top), text, INK, font)
