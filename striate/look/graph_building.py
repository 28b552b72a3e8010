"""From the calls of a run to the records of its graph."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor, nn

from striate.errors import StriateError
from striate.look.graph import Edge, Failure, LayerGraph, Node, Shape
from striate.look.operations import Kind, kind_of
from striate.look.recording import Call, Recorder
from striate.misfit import misfit
from striate.models.variant import Network
from striate.watching import WatchedRun


def build_graph(recorder: Recorder, name: str, failure: Failure | None = None) -> LayerGraph:
    """The graph of a run, as far as it went."""
    network, calls = recorder.network, recorder.calls
    paths = {module: path for path, module in network.named_modules()}
    names = node_ids(calls, paths)
    stages = _stages(network, calls, [paths[call.module] for call in calls])
    nodes: list[Node] = []
    edges: list[Edge] = []
    counted: set[int] = set()
    for call, (identity, number), stage in zip(calls, names, stages, strict=True):
        fresh = {id(parameter): parameter.numel() for parameter in call.parameters if id(parameter) not in counted}
        counted.update(fresh)
        inputs = tuple(without_batch(calls[slot.call].shapes[slot.output]) for slot in call.inputs)
        nodes.append(
            Node(
                identity, paths[call.module], type(call.module).__name__, call.operation, _kind(call), call.label, number,
                call.in_place, call.source, inputs, tuple(map(without_batch, call.shapes)), sum(fresh.values()),
                sum(parameter.numel() for parameter in call.parameters) - sum(fresh.values()), call.macs or 0,
                call.receptive_field, stage,
            )
        )  # fmt: skip
        edges += [
            Edge(names[slot.call][0], identity, shape, slot.output, argument)
            for argument, (slot, shape) in enumerate(zip(call.inputs, inputs, strict=True))
        ]
    return LayerGraph(
        name,
        tuple(nodes),
        tuple(edges),
        tuple(dict.fromkeys(names[slot.call][0] for slot in recorder.outputs)),
        {path: type(module).__name__ for path, module in network.named_modules()},
        sum(parameter.numel() for parameter in network.parameters()),
        tuple(sorted({call.operation for call in calls if call.macs is None and any(map(_is_matrix, call.parameters))})),
        failure,
    )


def node_ids(calls: Sequence[Call], paths: dict[nn.Module, str]) -> list[tuple[str, int]]:
    """(id, number of the call) of each: see :class:`Node`."""
    operations = defaultdict(set)
    for call in calls:
        operations[call.module].add(call.operation)
    counts: Counter[str] = Counter()
    found = []
    for call in calls:
        path, alone = paths[call.module], operations[call.module] == {call.operation}
        if call.operation == "input":
            identity = "input"
        elif alone and path not in ("", "input") and next(call.module.children(), None) is None:
            identity = path
        else:
            identity = f"{path}:{call.operation}"
        counts[identity] += 1
        number = counts[identity]
        found.append((identity if number == 1 else f"{identity}#{number}", number))
    return found


def without_batch(shape: Sequence[int]) -> Shape:
    """The shape for one image; a tensor whose first dimension is not the batch keeps it."""
    return tuple(shape[1:]) if len(shape) > 1 and shape[0] == 1 else tuple(shape)


def _kind(call: Call) -> Kind:
    if call.operation in ("input", "updated_view"):
        return "input" if call.operation == "input" else "unrecorded"
    return kind_of(call.operation)


def _is_matrix(parameter: Tensor) -> bool:
    return sum(side > 1 for side in parameter.shape) > 1


def _stages(network: nn.Module, calls: Sequence[Call], paths: Sequence[str]) -> list[str | None]:
    """The stage of each call: its module's. Between stages: of the one before while the map keeps its size, then of the next."""
    if not isinstance(network, Network):
        return [None] * len(calls)
    prefixes = [(f"{each}.", stage) for stage, modules in network.stage_paths.items() for each in modules]
    own = [next((stage for prefix, stage in prefixes if f"{path}.".startswith(prefix)), None) for path in paths]
    found: list[str | None] = []
    for place, (call, stage) in enumerate(zip(calls, own, strict=True)):
        if stage is None and place and call.shapes[0][2:] == calls[place - 1].shapes[0][2:] and call.shapes[0][2:]:
            stage = found[-1]
        elif stage is None and call.operation != "input":
            stage = next(filter(None, own[place:]), "classifier")
        found.append(stage)
    return found


def failure_of(recorder: Recorder, name: str, given: Sequence[Any], error: Exception) -> Failure:
    """Why a run broke off, in the words of :func:`striate.misfit.misfit` where it was given one image."""
    from striate.look.tracing import on_meta

    network = recorder.network
    module = recorder.entered[-1][0] if recorder.entered else network
    path = {each: path for path, each in network.named_modules()}[module]
    shape = without_batch(given[0].shape) if isinstance(given[0], Tensor) else tuple(given[0])
    said = next(iter(str(error).splitlines()), "") or type(error).__name__
    if len(given) > 1 or len(shape) != 3 or not prod(shape):
        return Failure(path, f"{name} breaks at {path or 'its own forward()'}", None, said, None)
    run = WatchedRun(network, entered=recorder.entered, left=recorder.left)
    refused: StriateError = misfit(lambda: on_meta(network), run, name, (shape[0], shape[1], shape[2]), error)
    return Failure(path, refused.what, refused.where, refused.why, refused.fix)
