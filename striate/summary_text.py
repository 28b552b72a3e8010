"""A network's summary as a table for people: repeats folded, as deep as fits on a page."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from striate.arithmetic import ReceptiveField
from striate.columns import align, magnitude, ruled, shortened, times
from striate.summary import Part, Summary

PAGE = 72
"""Lines of a table whose depth is not given."""
_RIGHT = {3, 4, 5}


def summary_text(summary: Summary, columns: int | None = None, depth: int | None = None) -> str:
    """The table, its columns of numbers adding up to the last line.

    Args:
        columns: width of the page in characters; longer paths lose their middle. None: nothing is cut.
        depth: levels of modules within modules to show; what lies deeper is one line. None: as many as fit on a page.
    """
    height = 1 + max(part.path.count(".") for part in summary.whole)
    if depth is None:
        depth = next((level for level in range(height, 1, -1) if len(list(_rows(summary.whole, level))) <= PAGE), 1)
    depth = min(depth, height)
    rows = list(_rows(summary.whole, depth)) or [_row(summary.whole, summary.name)]
    total = ("total", "", "", f"{summary.parameters:,}", f"{magnitude(summary.macs)}")
    table = [("module", "layer", "output", "parameters", "MACs", "field"), *rows, total]
    if columns is not None:
        spare = columns - max(map(len, align([("", "", *row[2:]) for row in table], _RIGHT)))
        widest = [max(len(row[column]) for row in table) for column in (0, 1)]
        first = max(spare - widest[1], spare // 2, 8) if sum(widest) > spare else widest[0]
        second = max(spare - min(first, widest[0]), 8)
        table = [(shortened(row[0], first), shortened(row[1], second), *row[2:]) for row in table]
    image = f"{times(summary.input)} (channels x height x width)"
    remarks = [
        f"{summary.parameters:,} parameters, {summary.macs:,} MACs for an image of {image}; FLOPs are twice the MACs",
        "field: side of the part of the image that one output pixel sees; all: the whole image; -: not known",
        *([f"shown to depth {depth} of {height}: --depth {height} shows every module"] if depth < height else []),
        *([f"not counted in MACs: {', '.join(summary.uncounted)}"] if summary.uncounted else []),
    ]
    told = [line for remark in remarks for line in wrap(remark, columns or 10_000, subsequent_indent="  ")]
    return "\n".join([summary.name, "", *ruled(align(table, _RIGHT), total=True), "", *told])


def field_text(field: ReceptiveField | None) -> str:
    """``427``, ``11x3`` (height x width), ``all`` or ``-``."""
    if field is None:
        return "-"
    if field.jump == (0, 0):
        return "all"
    return str(field.size[0]) if field.size[0] == field.size[1] else times(field.size)


def _rows(whole: Part, depth: int) -> Iterator[tuple[str, ...]]:
    """Lines below ``whole``: a module within the depth and with parts is a heading; modules alike in a row are one line."""
    parts = [part for part in whole.parts if _is_shown(part)]
    at = 0
    while at < len(parts):
        part = parts[at]
        alike = next((n for n, other in enumerate(parts[at:]) if not part.is_like(other)), len(parts) - at)
        inner = [each for each in part.parts if _is_shown(each)]
        if inner and depth > part.path.count(".") + 1:
            yield (part.path, part.layer, *([""] if not part.parameters else [_output(part), f"{part.parameters:,}"]))
            yield from _rows(part, depth)
        else:
            yield _row(part, part.path)
        if alike > 1:
            last = parts[at + alike - 1]
            name = parts[at + 1].path + ("" if alike == 2 else f"-{last.path.rpartition('.')[2]}")
            yield _row(last, name, alike - 1)
        at += alike


def _is_shown(part: Part) -> bool:
    """Whether it, or any part of it, has parameters, or does something to the shape."""
    return any(
        each.parameters or each.macs or "Pool" in each.layer or each.layer in ("Flatten", "Upsample", "PixelShuffle")
        for each in part
    )


def _row(part: Part, name: str, more: int = 0) -> tuple[str, ...]:
    layer = f"{more} more like it" if more else part.layer
    count = more or 1
    if not any(each.calls for each in part):
        return name, layer, "in training", f"{part.all_parameters * count:,}", "", ""
    parameters, macs = part.all_parameters * count, part.all_macs * count
    return (
        name,
        layer,
        _output(part),
        f"{parameters:,}" if parameters else "",
        magnitude(macs) if macs else "",
        "" if part.output is None or len(part.output) != 3 else field_text(part.receptive_field),
    )


def _output(part: Part) -> str:
    return "" if part.output is None else times(part.output)
