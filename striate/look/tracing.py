"""Any network as a graph of its operations."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from striate.look.graph import LayerGraph
from striate.look.graph_building import build_graph, failure_of
from striate.look.recording import Recorder, refuse_scripted
from striate.torch_network import evaluating

Inputs = Tensor | Sequence[int] | Sequence[Tensor | Sequence[int]]
"""One image or, for a network that reads several tensors, one a tensor: its shape without the batch, or the tensor itself."""


def trace(network: nn.Module, inputs: Inputs, name: str | None = None) -> LayerGraph:
    """Every operation of a network in evaluation mode, what it costs and what it sees, and the tensors between them.

    The network runs on the meta device, in a copy that shares nothing with it: no arithmetic is done; it may itself lie there.
    One that cannot run there, because it looks at numbers, runs as it is, on zeros where only a shape is given.

    Args:
        network: any module. It and its modes stay as they are.
        inputs: see ``Inputs``; tensors with a batch of one.
        name: of the network; None: its type.

    Returns:
        The graph up to where the network breaks off, with its ``failure``, where it does not take these inputs.

    Raises:
        Refused: a part of the network is TorchScript.
    """
    name = name or type(network).__name__
    given = _several(inputs)
    refuse_scripted(network)
    recorder = Recorder(network)
    try:
        skeleton = on_meta(network)
        recorder = Recorder(skeleton)
        with torch.no_grad(), torch.device("meta"), evaluating(skeleton):
            recorder.run([_tensor(each, skeleton).to("meta") for each in given])
        return build_graph(recorder, name)
    except Exception as error:
        if any(parameter.is_meta for parameter in network.parameters()):
            return build_graph(recorder, name, failure_of(recorder, name, given, error))
    recorder = Recorder(network)
    try:
        with torch.no_grad(), evaluating(network):
            recorder.run([_tensor(each, network).clone() for each in given])
    except Exception as error:
        return build_graph(recorder, name, failure_of(recorder, name, given, error))
    return build_graph(recorder, name)


def on_meta(network: nn.Module) -> nn.Module:
    """A copy without numbers: no weight is copied, and none is shared."""
    tensors: list[Tensor] = [*network.parameters(), *network.buffers()]
    if tensors and all(tensor.is_meta for tensor in tensors):
        return network
    memo: dict[int, Any] = {id(tensor): tensor.to("meta") for tensor in network.buffers()}
    for parameter in network.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
    return copy.deepcopy(network, memo)


def _several(inputs: Inputs) -> list[Tensor | Sequence[int]]:
    if isinstance(inputs, Tensor) or all(isinstance(each, int) for each in inputs):
        return [inputs]  # type: ignore[list-item]
    return list(inputs)  # type: ignore[arg-type]


def _tensor(given: Tensor | Sequence[int], network: nn.Module) -> Tensor:
    """A tensor as it is; a shape as a batch of one in the type and on the device of the network's weights."""
    if isinstance(given, Tensor):
        return given
    like = next((parameter for parameter in network.parameters() if parameter.is_floating_point()), torch.empty(0))
    return torch.zeros(1, *given, dtype=like.dtype, device=like.device)
