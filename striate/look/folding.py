"""Repeats in a graph of layers: sibling blocks one after another that are built alike and do alike are shown once, "x6"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from striate.look.graph import Edge, Node

_LONGEST = 12
"""Parts that a repeated stretch may have."""


@dataclass(frozen=True)
class Block:
    """A module with the nodes in it, or a stretch of parts that repeats.

    Attributes:
        path: of the module; of the first part of a stretch.
        module: its type; empty for a stretch of several parts.
        paths: of each repetition.
        parts: of the first repetition: blocks, and ids of nodes.
        repetitions: ids of all nodes of each, which correspond one by one.
    """

    path: str
    module: str
    paths: tuple[str, ...]
    parts: tuple[Block | str, ...]
    repetitions: tuple[tuple[str, ...], ...]

    @property
    def repeats(self) -> int:
        """How often it stands in the graph."""
        return len(self.repetitions)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "path": self.path,
            "module": self.module,
            "repeats": self.repeats,
            "paths": list(self.paths),
            "parts": [part if isinstance(part, str) else part.to_json() for part in self.parts],
            "repetitions": [list(ids) for ids in self.repetitions],
        }


def fold(nodes: Sequence[Node], edges: Sequence[Edge], modules: Mapping[str, str]) -> tuple[Block | str, ...]:
    """The nodes as a tree of modules, whose types ``modules`` says by their paths.

    Two stretches are alike where their nodes do the same at the same shapes with as many parameters, under the same names within
    their modules, and read from equally far before: each repetition then reads what the one before it made.
    """
    places = {node.id: place for place, node in enumerate(nodes)}
    reads: dict[str, list[tuple[int, int, int]]] = {node.id: [] for node in nodes}
    for edge in edges:
        reads[edge.target].append((places[edge.target] - places[edge.source], edge.output, edge.argument))
    return _Folder(nodes, reads, modules).parts(0, len(nodes), "")


class _Folder:
    def __init__(
        self, nodes: Sequence[Node], reads: Mapping[str, list[tuple[int, int, int]]], modules: Mapping[str, str]
    ) -> None:
        self.nodes, self.reads, self.modules = nodes, reads, modules

    def parts(self, start: int, stop: int, path: str) -> tuple[Block | str, ...]:
        """Nodes ``start`` to ``stop``, all within the module ``path``."""
        stretches = list(self._stretches(start, stop, path))
        signatures = [self._signature(*stretch) for stretch in stretches]
        found: list[Block | str] = []
        at = 0
        while at < len(stretches):
            period, repeats = _repeats(signatures, at)
            groups = [stretches[at + period * number : at + period * (number + 1)] for number in range(repeats)]
            one = [self._part(*stretch) for stretch in groups[0]]
            if repeats == 1:
                found += one
            else:
                found.append(self._repeated(groups, one))
            at += period * repeats
        return tuple(found)

    def _stretches(self, start: int, stop: int, path: str) -> Iterator[tuple[int, int, str]]:
        """(first node, behind the last, path) of each module right below ``path`` in a row, and of each node of its own."""
        depth = path.count(".") + 1 if path else 0
        at = start
        while at < stop:
            own = self.nodes[at].path
            if own == path:
                yield at, at + 1, path
                at += 1
                continue
            child = ".".join(own.split(".")[: depth + 1])
            end = at
            while end < stop and (self.nodes[end].path == child or self.nodes[end].path.startswith(f"{child}.")):
                end += 1
            yield at, end, child
            at = end

    def _signature(self, start: int, stop: int, path: str) -> tuple[Any, ...]:
        cut = len(path)
        return tuple(
            (
                node.path[cut:], node.module, node.label, node.in_place, node.input_shapes, node.output_shapes,
                node.parameters + node.shared_parameters, node.macs, tuple(self.reads[node.id]),
            )
            for node in self.nodes[start:stop]
        )  # fmt: skip

    def _part(self, start: int, stop: int, path: str) -> Block | str:
        if stop - start == 1:
            return self.nodes[start].id
        inside = self.parts(start, stop, path)
        # A container's name adds nothing to a single block that it holds.
        if len(inside) == 1 and isinstance(inside[0], Block) and inside[0].repeats == 1:
            return inside[0]
        return Block(path, self.modules.get(path, ""), (path,), inside, (self._ids(start, stop),))

    def _repeated(self, groups: list[list[tuple[int, int, str]]], one: list[Block | str]) -> Block:
        paths = tuple(group[0][2] for group in groups)
        repetitions = tuple(self._ids(group[0][0], group[-1][1]) for group in groups)
        if len(one) == 1 and isinstance(one[0], Block):
            return Block(one[0].path, one[0].module, paths, one[0].parts, repetitions)
        return Block(paths[0], self.modules.get(paths[0], "") if len(one) == 1 else "", paths, tuple(one), repetitions)

    def _ids(self, start: int, stop: int) -> tuple[str, ...]:
        return tuple(node.id for node in self.nodes[start:stop])


def _repeats(signatures: Sequence[tuple[Any, ...]], at: int) -> tuple[int, int]:
    """(parts of the stretch that begins at ``at``, how often it follows on itself): the one that covers most."""
    best = (1, 1)
    for period in range(1, min(_LONGEST, (len(signatures) - at) // 2) + 1):
        first = signatures[at : at + period]
        if not _weighs(first[0]) and any(map(_weighs, first)):
            continue  # convolution and ReLU repeat, not ReLU and convolution
        repeats = 1
        while signatures[at + period * repeats : at + period * (repeats + 1)] == first:
            repeats += 1
        if repeats > 1 and period * repeats > best[0] * best[1]:
            best = (period, repeats)
    return best


def _weighs(signature: tuple[Any, ...]) -> bool:
    """Whether a part has parameters."""
    return any(parameters for *_, parameters, _, _ in signature)
