"""A graph of layers as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from striate.columns import align, magnitude, ruled, shortened, times
from striate.look.folding import Block
from striate.look.graph import LayerGraph, Node
from striate.summary_text import field_text

PAGE = 100
"""Lines of a table whose depth is not given."""
_HEAD = ("layer", "operation", "reads", "output", "parameters", "MACs", "field")


def graph_text(graph: LayerGraph, columns: int | None = None, depth: int | None = None) -> str:
    """The table: a module's own line has the figures of all its repetitions, the lines in it those of one.

    Args:
        columns: width of the page in characters; longer names lose their middle. None: nothing is cut.
        depth: levels of modules to open; None: as many as fit on a page.
    """
    table = _Table(graph)
    rows: list[tuple[str, ...]] = []
    for level in range(_height(graph.blocks), -1, -1) if depth is None else (depth,):
        rows = list(table.rows(graph.blocks, "", 0, level))
        if len(rows) <= PAGE:
            break
    total = ("total", "", "", "", f"{graph.parameters:,}", magnitude(graph.macs), "")
    lines = [_HEAD, *rows, total]
    if not any(line[2] for line in rows):
        lines = [(line[0], line[1], *line[3:]) for line in lines]
    if columns is not None:
        lines = _narrowed(lines, columns)
    numbers = {column for column, name in enumerate(lines[0]) if name in ("parameters", "MACs", "field")}
    notes = [
        f"{graph.parameters:,} parameters, {graph.macs:,} MACs; FLOPs are twice the MACs",
        *(["reads: what a layer reads where that is not the line above"] if "reads" in lines[0] else []),
        "field: side of the part of the image that one output sees; all: the whole image; -: not known",
        *([f"{graph.unused_parameters:,} parameters are of modules that did not run"] if graph.unused_parameters else []),
        *([f"not counted in MACs: {', '.join(graph.uncounted)}"] if graph.uncounted else []),
    ]
    if graph.failure is not None:
        failure = graph.failure
        said = (("where", failure.where), ("why", failure.why), ("do", failure.fix))
        notes = [failure.what, *(f"{name}: {words}" for name, words in said if words)]
    told = [line for note in notes for line in wrap(note, columns or 10_000, subsequent_indent="  ")]
    return "\n".join([graph.name, "", *ruled(align(lines, numbers), total=True), "", *told])


def _narrowed(lines: Sequence[tuple[str, ...]], columns: int) -> list[tuple[str, ...]]:
    """Names cut to what the figures leave: of what is read first, then of layers and operations."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    over = sum(widths) + 2 * (len(widths) - 1) - columns
    for name, least in (("reads", 12), ("layer", 12), ("operation", 12), ("reads", 5)):
        if name in lines[0]:
            column = lines[0].index(name)
            cut = min(max(over, 0), max(widths[column] - least, 0))
            widths[column], over = widths[column] - cut, over - cut
    return [tuple(shortened(cell, width) for cell, width in zip(line, widths, strict=True)) for line in lines]


def _height(parts: Sequence[Block | str]) -> int:
    return max((1 + _height(part.parts) for part in parts if isinstance(part, Block)), default=0)


class _Table:
    def __init__(self, graph: LayerGraph) -> None:
        self.nodes = {node.id: node for node in graph.nodes}
        self.before = dict(zip((node.id for node in graph.nodes[1:]), (node.id for node in graph.nodes), strict=False))
        self.sources: dict[str, list[str]] = {node.id: [] for node in graph.nodes}
        for edge in graph.edges:
            self.sources[edge.target].append(edge.source)

    def rows(self, parts: Sequence[Block | str], path: str, level: int, depth: int) -> Iterator[tuple[str, ...]]:
        for part in parts:
            if isinstance(part, str):
                yield self._row(self.nodes[part], path, level)
                continue
            yield self._heading(part, path, level, depth)
            if depth > 0:
                yield from self.rows(part.parts, part.path if part.module else path, level + 1, depth - 1)

    def _row(self, node: Node, path: str, level: int) -> tuple[str, ...]:
        sources = self.sources[node.id]
        told = "" if sources in ([], [self.before.get(node.id)]) else ", ".join(sources)
        return (
            "  " * level + _within(node.id, path),
            node.label + (" in place" if node.in_place else ""),
            told,
            *_figures(node, node.parameters, node.macs),
        )

    def _heading(self, block: Block, path: str, level: int, depth: int) -> tuple[str, ...]:
        name = _within(block.path, path)
        if block.repeats > 1:
            name += f" ... {_within(block.paths[-1], path)}"
        module = block.module or f"{len(block.parts)} layers"
        every = [self.nodes[each] for ids in block.repetitions for each in ids]
        figures = _figures(every[-1], sum(node.parameters for node in every), sum(node.macs for node in every))
        shown = figures if depth == 0 else ("", *figures[1:3], "")
        return ("  " * level + name, module + (f" x{block.repeats}" if block.repeats > 1 else ""), "", *shown)


def _within(name: str, path: str) -> str:
    """``.conv1`` within ``layer1.0``: together they are the whole name."""
    return name.removeprefix(path) if path and name != path else name


def _figures(node: Node, parameters: int, macs: int) -> tuple[str, str, str, str]:
    output = ", ".join(times(shape) or "1" for shape in node.output_shapes[:2]) + (", ..." if len(node.output_shapes) > 2 else "")
    maps = len(node.output_shapes[0]) == 3
    field = field_text(node.receptive_field) if maps else ""
    return output, f"{parameters:,}" if parameters else "", magnitude(macs) if macs else "", field
