"""A network as the operations that it does: nodes with what they cost and see, and the tensors between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from striate.arithmetic import ReceptiveField
from striate.errors import UsageError, nearest
from striate.look.folding import Block, fold
from striate.look.operations import Kind
from striate.look.source_lines import Source

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One call of one operation. All shapes are without the batch.

    Attributes:
        id: the module's path where the module does this operation alone (``layer1.0.conv2``), with the operation where it does
            others (``layer1.0:add``), with ``#2`` for the second call.
        path: of the innermost module at work; empty for the network itself.
        module: its type.
        operation: PyTorch's name: ``conv2d``, ``add``, ``cat``; ``input`` for an image.
        kind: what its arithmetic is.
        label: the operation, and what its shapes depend on: ``conv2d 7x7 /2``.
        call: of the same operation in the same module, from 1.
        in_place: it overwrote what it read.
        source: the line that called it; None where that is not the user's (a network of PyTorch's own containers).
        input_shapes: of the tensors that it reads, see the edges.
        output_shapes: several for ``chunk``.
        parameters: that no earlier node used.
        shared_parameters: that an earlier one did.
        macs: multiply-accumulates.
        receptive_field: of one output pixel of two dimensions; None where it is not known or not of such.
        stage: of a network of the zoo: ``stem``, ``1``, ... or ``classifier``.
    """

    id: str
    path: str
    module: str
    operation: str
    kind: Kind
    label: str
    call: int
    in_place: bool
    source: Source | None
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    parameters: int
    shared_parameters: int
    macs: int
    receptive_field: ReceptiveField | None
    stage: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        field, source = self.receptive_field, self.source
        return {
            **{name: getattr(self, name) for name in ("id", "path", "module", "operation", "kind", "label", "call", "in_place")},
            "source": source and {"file": source.file, "line": source.line, "text": source.text},
            "input_shapes": [list(shape) for shape in self.input_shapes],
            "output_shapes": [list(shape) for shape in self.output_shapes],
            "parameters": self.parameters,
            "shared_parameters": self.shared_parameters,
            "macs": self.macs,
            "receptive_field": field and {name: list(getattr(field, name)) for name in ("size", "jump", "offset")},
            "stage": self.stage,
        }


@dataclass(frozen=True)
class Edge:
    """A tensor between two nodes: output number ``output`` of ``source`` is argument number ``argument`` of ``target``."""

    source: str
    target: str
    shape: Shape
    output: int
    argument: int


@dataclass(frozen=True)
class Failure:
    """Why a network went no further.

    Attributes:
        path: of the module at which it broke off.
        what, where, why, fix: as in :class:`striate.StriateError`.
    """

    path: str
    what: str
    where: str | None
    why: str | None
    fix: str | None


@dataclass(frozen=True)
class LayerGraph:
    """A network at work on one image.

    Attributes:
        name: of the network.
        nodes: in the order in which they ran, inputs first.
        edges: in the order of their targets.
        outputs: ids of the nodes whose outputs the network returns.
        modules: type of every module by its path.
        parameters: of the whole network, each counted once.
        uncounted: operations with matrices of which no formula says the MACs.
        failure: None: it ran to its end.
    """

    name: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    outputs: tuple[str, ...]
    modules: Mapping[str, str]
    parameters: int
    uncounted: tuple[str, ...] = ()
    failure: Failure | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Ids of the images."""
        return tuple(node.id for node in self.nodes if node.operation == "input")

    @property
    def macs(self) -> int:
        """For one image."""
        return sum(node.macs for node in self.nodes)

    @property
    def unused_parameters(self) -> int:
        """Of modules that did not run: auxiliary classifiers, or what came after a failure."""
        return self.parameters - sum(node.parameters for node in self.nodes)

    @cached_property
    def blocks(self) -> tuple[Block | str, ...]:
        """The nodes by the modules that hold them, repeats folded: see :mod:`striate.look.folding`."""
        return fold(self.nodes, self.edges, self.modules)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {node.id: place for place, node in enumerate(self.nodes)}

    def find(self, layer: str) -> Node:
        """The node of an id; or the one whose output a module, named by its path, returned last.

        Raises:
            UsageError: there is no such layer.
        """
        if layer in self._places:
            return self.nodes[self._places[layer]]
        inside = [node for node in self.nodes if layer and f"{node.path}.".startswith(f"{layer}.")]
        if not inside:
            known = {*self._places, *(node.path for node in self.nodes if node.path)}
            raise UsageError(f"{self.name} has no layer {layer!r}", fix=nearest(layer, known))
        return inside[-1]

    def text(self, columns: int | None = None, depth: int | None = None) -> str:
        """A table for the terminal, repeats folded: see :func:`striate.look.graph_text.graph_text`."""
        from striate.look.graph_text import graph_text

        return graph_text(self, columns, depth)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: all of the above."""
        failure = self.failure
        return {
            "name": self.name,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "modules": dict(self.modules),
            "parameters": self.parameters,
            "unused_parameters": self.unused_parameters,
            "macs": self.macs,
            "uncounted": list(self.uncounted),
            "nodes": [node.to_json() for node in self.nodes],
            "edges": [{**vars(edge), "shape": list(edge.shape)} for edge in self.edges],
            "blocks": [block if isinstance(block, str) else block.to_json() for block in self.blocks],
            "failure": None if failure is None else dict(vars(failure)),
        }
