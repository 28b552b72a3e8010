"""One image in a network, with every number that the network made of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from striate.columns import times
from striate.errors import Refused, UsageError
from striate.look.fields import Box, EffectiveField, effective_field, read_box
from striate.look.graph import LayerGraph, Node
from striate.look.graph_building import build_graph, failure_of, without_batch
from striate.look.operations import Kind, kind_of
from striate.look.pixel_accounts import Account, Position
from striate.look.pixel_arithmetic import Arithmetic, Origin
from striate.look.pixel_terms import function, moved, normalisation, pointwise
from striate.look.pixel_windows import maximum, weighted_sum
from striate.look.recording import Call, Recorder, refuse_scripted
from striate.models.variant import Network
from striate.torch_network import evaluating


class Inspection:
    """A network that has read one image, and kept all that it computed.

    The network runs once, in evaluation mode; all questions are then answered from what was kept, by any number of threads. Its
    weights must not change meanwhile.

    Args:
        network: any module.
        images: one float tensor [C, H, W] or [1, C, H, W], normalised as the network wants it ([C, L], or [C, D, H, W], for one
            of other dimensions); for a network that reads several tensors a sequence of batches of one.
        name: of the network; None: its type.

    Attributes:
        graph: what :func:`striate.look.trace` finds.
        memory: bytes of the numbers that are kept.
        returned: what the network returned. Not to be changed.

    Raises:
        Refused: the network does not take the image, or a part of it is TorchScript.
    """

    def __init__(self, network: nn.Module, images: Tensor | Sequence[Tensor], name: str | None = None) -> None:
        name = name or type(network).__name__
        refuse_scripted(network)
        self._network = network
        given = [_batch_of_one(images, network)] if isinstance(images, Tensor) else images
        self._images = [image.detach() for image in given]
        recorder = Recorder(network, keep=True)
        try:
            with torch.no_grad(), evaluating(network):
                self.returned = recorder.run([image.clone() for image in self._images])
        except Exception as error:
            failure = failure_of(recorder, name, self._images, error)
            raise Refused(failure.what, where=failure.where, why=failure.why, fix=failure.fix) from error
        self._calls = recorder.calls
        self.graph: LayerGraph = build_graph(recorder, name)
        self._numbers = {node.id: number for number, node in enumerate(self.graph.nodes)}
        kept = [value.untyped_storage() for call in self._calls for value in call.values]
        self.memory = sum({storage._cdata: storage.nbytes() for storage in kept}.values())

    def values(self, layer: str, output: int = 0) -> Tensor:
        """What came out of a layer, without the batch: [C, H, W], or [K]. Not to be changed.

        Args:
            layer: a node's id, or a module's path.
            output: which one, of an operation with several.
        """
        value = self._value(self._call_of(self.graph.find(layer)), output)
        return value[0] if without_batch(value.shape) != tuple(value.shape) else value

    def pixel(self, layer: str, unit: Sequence[int], output: int = 0) -> Arithmetic:
        """The arithmetic of one number that the network computed.

        Args:
            layer, output: as in :meth:`values`.
            unit: (channel, row, column), or (feature,): its position in the output, from 0.

        Raises:
            UsageError: there is no such layer, or no such number in its output.
        """
        node = self.graph.find(layer)
        one = self._call_of(node)
        place = self._place(node, unit, output)
        account = self._account(one, place, output)
        tensors = [self._calls[slot.call].values[slot.output] for slot in one.inputs]
        origins = tuple(
            Origin(self.graph.nodes[slot.call].id, slot.output, without_batch(tensor.shape))
            for slot, tensor in zip(one.inputs, tensors, strict=True)
        )
        network = float(one.values[output][place])
        kind = _kind(node, account, output)
        return Arithmetic(
            node.id, node.label, kind, tuple(unit), output, origins, account.formula,
            account.window and account.window.without_batch(tensors[0].shape),
            tuple(term.without_batch(tensors[term.input].shape) for term in account.terms), account.num_terms, account.bias,
            account.total, network, account.absolute_sum, account.bound, account.statistics, self._step,
        )  # fmt: skip

    def receptive_field(self, layer: str, unit: Sequence[int], output: int = 0, image: int = 0) -> Box | None:
        """The part of an image that one number depends on: half-open, dimension by dimension behind the channels.

        None: it does not depend on that image.
        """
        node = self.graph.find(layer)
        return read_box(self._calls, self._numbers[node.id], output, self._place(node, unit, output), image)

    def effective_field(self, layer: str, unit: Sequence[int], images: Tensor | None = None, output: int = 0) -> EffectiveField:
        """How much each pixel counts for one number: see :func:`striate.look.fields.effective_field`.

        Args:
            images: [N, C, H, W] to average over; None: the image at hand.
        """
        node = self.graph.find(layer)
        box = self.receptive_field(layer, unit, output)
        pictures = self._images if images is None else [each[None] for each in images]
        place = self._place(node, unit, output)
        return effective_field(self._network, pictures, self._numbers[node.id], output, place, box)

    def _step(self, layer: str, position: Position, output: int) -> Arithmetic:
        return self.pixel(layer, position, output=output)

    def _call_of(self, node: Node) -> Call:
        return self._calls[self._numbers[node.id]]

    def _value(self, call: Call, output: int) -> Tensor:
        if not 0 <= output < len(call.values):
            raise UsageError(f"{call.operation} has no output {output}", why=f"it has {len(call.values)}, numbered from 0")
        return call.values[output]

    def _place(self, node: Node, unit: Sequence[int], output: int) -> Position:
        """The unit's position with the batch. Raises ``UsageError`` where there is none."""
        shape = tuple(self._value(self._call_of(node), output).shape)
        shown = without_batch(shape)
        if len(unit) != len(shown) or not all(0 <= at < size for at, size in zip(unit, shown, strict=True)):
            ranges = ", ".join(f"0..{size - 1}" for size in shown) or "none: it is a single number"
            raise UsageError(
                f"{node.id} has no number {','.join(map(str, unit))}",
                why=f"its output is {times(shown) or 'one number'}",
                fix=f"give a position of {ranges}",
            )
        return (0, *unit) if shown != shape else tuple(unit)

    def _account(self, call: Call, unit: Position, output: int) -> Account:
        tensors = [self._calls[slot.call].values[slot.output] for slot in call.inputs]
        value, kind = call.values[output], kind_of(call.operation)
        roundoff = torch.finfo(value.dtype).eps / 2 if value.is_floating_point() else 0.0
        if call.operation in ("input", "updated_view") or (kind == "maximum" and output):
            words = "a pixel of the image" if call.operation == "input" else "not recorded"
            return Account(words, float(value[unit]), abs(float(value[unit])), 0.0)
        given = call.named(tensors)
        windowed = isinstance(given.get("input"), Tensor)
        if kind == "weighted_sum" and windowed:
            return weighted_sum(call.operation, given, unit, value.shape, roundoff)
        if kind == "maximum":
            return maximum(call.operation, given, unit, value.shape)
        if kind == "normalisation":
            return normalisation(call.operation, given, unit, roundoff)
        if kind == "pointwise":
            return pointwise(call, tensors, unit, value.shape, roundoff)
        if kind == "moved":
            return moved(call, tensors, unit, output)
        return function(call, tensors, unit, output, roundoff)


def pixel(network: nn.Module, image: Tensor, layer: str, unit: Sequence[int]) -> Arithmetic:
    """The arithmetic of one number that a network computes for an image: see :class:`Inspection`, which answers many questions.

    Args:
        network: any module; it runs in evaluation mode.
        image: [C, H, W] or [1, C, H, W], normalised as the network wants it.
        layer: a module's path, or a node's id: ``layer1.0.conv2``, ``layer1.0.relu#2``, ``layer1.0:add``.
        unit: (channel, row, column), or (feature,), in its output.
    """
    return Inspection(network, image).pixel(layer, unit)


def _kind(node: Node, account: Account, output: int) -> Kind:
    """What was found of a number: of a pooling's second output, the places of its maxima, nothing."""
    if node.kind == "maximum" and output:
        return "unrecorded"
    return "function" if node.kind == "weighted_sum" and account.window is None else node.kind


def _batch_of_one(image: Tensor, network: nn.Module) -> Tensor:
    """An image with its batch: for a network that is not the zoo's, of as many dimensions as its first layer with ``2d`` says."""
    names = (type(each).__name__ for each in network.modules())
    named = next((int(name[-2]) + 2 for name in names if name[-2:] in ("1d", "2d", "3d")), None)
    dimensions = 4 if isinstance(network, Network) else named
    alone = image.shape[0] != 1 if dimensions is None else image.dim() == dimensions - 1
    image = image.detach()[None] if alone else image.detach()
    if image.shape[0] != 1:
        raise UsageError(f"{image.shape[0]} images are given", why="one image is looked at", fix="give images[:1]")
    return image
