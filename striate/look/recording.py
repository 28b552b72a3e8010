"""One run of a network, written down operation by operation.

The functions of PyTorch that the code calls, methods of tensors and operators among them, are seen by a ``TorchFunctionMode``:
the operations as the code names them. Such a run takes a fraction of the time of ``torch.export``, follows control flow that
depends on numbers, and leaves the numbers beside the graph. On the meta device it costs no memory and no arithmetic.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from striate.arithmetic import ReceptiveField
from striate.errors import Refused
from striate.field_tracking import FieldTracker
from striate.look.field_layers import tell_fields
from striate.look.keeping import Keeper, memory_of, tensors_of
from striate.look.operations import SHAPE_ALONE, UNTOLD, arguments_by_name, label, macs, operation_name
from striate.look.source_lines import Source, calling_line

_ONE_AT_A_TIME = threading.Lock()
"""A run hangs its hooks into the network, which threads share."""


@dataclass(frozen=True)
class Input:
    """Stands for a tensor among a call's arguments: number ``number`` of those that the image has reached."""

    number: int


@dataclass(frozen=True)
class Slot:
    """Output number ``output`` of call number ``call``."""

    call: int
    output: int


@dataclass
class Call:
    """One operation that ran.

    Attributes:
        operation: its name; ``input`` for an image.
        function, args, kwargs: what was called; tensors that the image has reached are :class:`Input`.
        inputs: where those tensors come from.
        module: the innermost at work.
        shapes: of its outputs, with the batch.
        values: its outputs as they were right after it; empty where they are not kept.
        parameters: that went into it.
        macs: None: no formula is known.
    """

    operation: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: tuple[Slot, ...]
    module: nn.Module
    label: str
    in_place: bool = False
    source: Source | None = None
    parameters: tuple[Tensor, ...] = ()
    macs: int | None = 0
    shapes: tuple[tuple[int, ...], ...] = ()
    values: Sequence[Tensor] = ()
    receptive_field: ReceptiveField | None = None

    def arguments(self, tensors: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Its arguments, these in the places of its inputs."""
        kwargs = {name: _filled(each, tensors) for name, each in self.kwargs.items()}
        return tuple(_filled(each, tensors) for each in self.args), kwargs

    def named(self, tensors: Sequence[Any]) -> dict[str, Any]:
        """Likewise, by name."""
        return arguments_by_name(self.operation, self.function, *self.arguments(tensors))


class Stopped(Exception):
    """The call that was waited for has run."""


@dataclass
class _Known:
    """A tensor that the image has reached; held, so that no other takes its identity."""

    tensor: Tensor
    slot: Slot
    version: int


class Recorder(TorchFunctionMode):
    """Writes down the calls of a run.

    Args:
        network: it runs as it is: in evaluation mode, if that is wanted.
        keep: whether to keep every output as it was, whatever is changed in place later.
        fields: whether to follow receptive fields.
        until: the number of the last call to wait for; its outputs are then in ``reached``, and :class:`Stopped` is raised.
    """

    def __init__(self, network: nn.Module, keep: bool = False, fields: bool = True, until: int | None = None) -> None:
        super().__init__()
        self.network, self.until = network, until
        self.keeper = Keeper() if keep else None
        self.calls: list[Call] = []
        self.outputs: list[Slot] = []
        self.reached: list[Tensor] = []
        self.entered: list[tuple[nn.Module, tuple[Any, ...]]] = []
        self.left: nn.Module | None = None
        self.fields = FieldTracker() if fields else None
        self._known: dict[int, _Known] = {}
        self._changed: dict[int, Slot] = {}
        self._origins: dict[int, tuple[Tensor, tuple[Tensor, ...]]] = {}

    def run(self, images: Sequence[Tensor]) -> Any:
        """What the network returns for batches of one. What it raises is raised; the calls before that stay."""
        if self.fields is not None and len(images) == 1 and images[0].dim() == 4:
            self.fields.start(images[0])
        for image in images:
            call = Call("input", _itself, (), {}, (), self.network, "input")
            call.receptive_field = None if self.fields is None else self.fields.of(image)
            self._add(call, [image])
        with _ONE_AT_A_TIME, self._watched_modules(), self.fields or nullcontext(), self.keeper or nullcontext(), self:
            returned = self.network(*images)
        if self.keeper is not None:
            self.keeper.part(tensors_of(self.network))
        slots = (self._slot_of(leaf) for leaf in tree_leaves(returned) if isinstance(leaf, Tensor))
        self.outputs = [slot for slot in slots if slot is not None]
        return returned

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = operation_name(func)
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor) and name not in SHAPE_ALONE]
        slots = {id(each): slot for each in tensors if (slot := self._slot_of(each)) is not None}
        versions = [_version(each) for each in tensors] if slots else []
        placed = self._placed(args, kwargs, slots) if slots else None
        result = func(*args, **kwargs)
        made = [each for each in tree_leaves(result) if isinstance(each, Tensor)]
        if placed is None:
            self._inherit(tensors, made)
            return result
        changed = [each for each, before in zip(tensors, versions, strict=True) if _version(each) != before]
        # What is written beside the outputs, such as running statistics, is not part of the image's way.
        changed = [each for each in changed if id(each) in slots or not made or any(each is other for other in made)]
        untouched = name in UNTOLD and all(any(each is other for other in tensors) for each in made)
        if (outputs := made or changed) and not untouched:
            given = arguments_by_name(name, func, args, kwargs)
            call = self._call(name, func, placed, slots, label(name, given), bool(changed))
            call.parameters = self._parameters(each for each in tensors if id(each) not in slots)
            call.macs = macs(name, given, args, outputs[0], call.module)
            if self.fields is not None:
                tell_fields(self.fields, name, given, outputs[0])
                call.receptive_field = self.fields.of(outputs[0])
            self._add(call, outputs, changed)
        return result

    def _placed(self, args: tuple[Any, ...], kwargs: Any, slots: Mapping[int, Slot]) -> tuple[tuple[Any, ...], Any]:
        """The arguments with :class:`Input` for what the image has reached; the rest but parameters safe from later writes."""
        numbers = {identity: Input(number) for number, identity in enumerate(slots)}

        def placed(each: Any) -> Any:
            if not isinstance(each, Tensor):
                return each
            copied = self.keeper is not None and id(each) not in slots and not isinstance(each, nn.Parameter)
            return each.detach().clone() if copied else numbers.get(id(each), each)

        args, kwargs = tree_map(placed, (args, kwargs))
        return args, kwargs

    def _call(
        self, name: str, function: Any, placed: tuple[tuple[Any, ...], Any], slots: Mapping[int, Slot], words: str, in_place: bool
    ) -> Call:
        return Call(name, function, *placed, tuple(slots.values()), self._at_work, words, in_place, calling_line())

    def _add(self, call: Call, outputs: Sequence[Tensor], changed: Sequence[Tensor] = ()) -> None:
        number = len(self.calls)
        for tensor in changed:
            self._known[id(tensor)] = _Known(tensor, Slot(number, 0), _version(tensor))
            self._changed[memory_of(tensor)] = Slot(number, 0)
        for output, tensor in enumerate(outputs):
            self._known[id(tensor)] = _Known(tensor, Slot(number, output), _version(tensor))
        call.shapes = tuple(tuple(tensor.shape) for tensor in outputs)
        if self.keeper is not None:
            call.values = self.keeper.keep(outputs)
        self.calls.append(call)
        if self.until == number:
            self.reached = list(outputs)
            raise Stopped

    @property
    def _at_work(self) -> nn.Module:
        return self.entered[-1][0] if self.entered else self.network

    def _slot_of(self, tensor: Tensor) -> Slot | None:
        """Where a tensor comes from; None: the image has not reached it."""
        known = self._known.get(id(tensor))
        if known is None:
            return None
        if known.version != _version(tensor):  # another view of its memory was changed in place
            slots = tuple(dict.fromkeys((known.slot, self._changed.get(memory_of(tensor), known.slot))))
            self._add(Call("updated_view", _itself, (Input(0),), {}, slots, self._at_work, "updated_view"), [tensor])
        return self._known[id(tensor)].slot

    def _parameters(self, tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
        """Those that the tensors are, or are made of."""
        found: dict[int, Tensor] = {}
        for tensor in tensors:
            origin = (tensor,) if isinstance(tensor, nn.Parameter) else self._origins.get(id(tensor), (tensor, ()))[1]
            found.update((id(parameter), parameter) for parameter in origin)
        return tuple(found.values())

    def _inherit(self, tensors: Sequence[Tensor], made: Sequence[Tensor]) -> None:
        if parameters := self._parameters(tensors):
            self._origins.update((id(tensor), (tensor, parameters)) for tensor in made)

    @contextmanager
    def _watched_modules(self) -> Iterator[None]:
        """Says which modules are at work in this thread, and writes down whole those whose insides could not be seen."""
        thread = threading.get_ident()

        def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if threading.get_ident() == thread:
                self.entered.append((module, inputs))

        def leave(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if threading.get_ident() == thread:
                self._see_whole(module, inputs, output)
                self.left = self.entered.pop()[0]

        hooks = []
        for module in self.network.modules():
            hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _see_whole(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """A module whose output came out of something that is no function of PyTorch: a compiled or scripted one."""
        made = [each for each in tree_leaves(output) if isinstance(each, Tensor)]
        if not made or any(id(each) in self._known for each in made):
            return
        slots = {id(each): slot for each in tree_leaves(inputs) if isinstance(each, Tensor) and (slot := self._slot_of(each))}
        if slots:
            name = type(module).__name__
            call = self._call(name, module, self._placed(inputs, {}, slots), slots, name, False)
            call.parameters, call.macs = tuple(module.parameters()), None
            self._add(call, made)


def refuse_scripted(network: nn.Module) -> None:
    """Raises ``Refused`` for what TorchScript made: PyTorch shows nothing of its inside, and breaks where one looks."""
    scripted = next((path for path, module in network.named_modules() if isinstance(module, torch.jit.ScriptModule)), None)
    if scripted is not None:
        where = scripted or "the network itself"
        raise Refused("A module of TorchScript cannot be looked into", where=where, fix="give the module that it was made from")


def _filled(given: Any, tensors: Sequence[Any]) -> Any:
    """One argument, lists in it included."""
    if isinstance(given, Input):
        return tensors[given.number]
    return type(given)(_filled(each, tensors) for each in given) if type(given) in (tuple, list) else given


def _itself(tensor: Tensor) -> Tensor:
    return tensor


def _version(tensor: Tensor) -> int:
    """Counts the changes in place of a tensor and all its views; tensors made in inference mode do not count."""
    return 0 if tensor.is_inference() else tensor._version
