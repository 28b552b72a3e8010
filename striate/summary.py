"""What a network is made of: every module's output, parameters, MACs and receptive field, found by one run.

The run is on the meta device, where tensors have shapes and no numbers; a network that cannot run there runs on zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from striate import arithmetic
from striate.errors import Refused
from striate.field_tracking import FieldTracker
from striate.layers import arithmetic_of

SIZES = (1, 2, 4, 8, 16, 24, 28, 32, 40, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 299, 320, 384, 448, 512, 600)
"""Sides that are tried, to say which would fit."""


@dataclass(frozen=True)
class Part:
    """One module of a network at work, and the modules in it.

    Attributes:
        path: in the network; empty for the network itself.
        layer: its type, with kernel and stride where it has them: ``Conv2d 7x7 /2``.
        output: shape for one image, without the batch: (channels, height, width) or (features,); None where it did not run, or
            returns something else than one tensor.
        calls: how often it ran; 0: in training alone (an auxiliary classifier), or never.
        parameters: its own, without those of the parts.
        macs: likewise, of all its calls.
        receptive_field: of one output pixel; None where it differs between the ways to it, or is not known.
        parts: in the order of their first calls, then those that did not run.
    """

    path: str
    layer: str
    output: tuple[int, ...] | None
    calls: int
    parameters: int
    macs: int
    receptive_field: arithmetic.ReceptiveField | None
    parts: tuple[Part, ...]

    def __iter__(self) -> Iterator[Part]:
        """This part, then all below it, depth first."""
        yield self
        for part in self.parts:
            yield from part

    @property
    def all_parameters(self) -> int:
        """Its own and those of all parts below."""
        return sum(part.parameters for part in self)

    @property
    def all_macs(self) -> int:
        """Its own and those of all parts below."""
        return sum(part.macs for part in self)

    def is_like(self, other: Part) -> bool:
        """Whether both are built alike and do alike: all is the same but the names."""
        mine, others = (
            [(part.layer, part.output, part.calls, part.parameters, part.macs, len(part.parts)) for part in each]
            for each in (self, other)
        )
        return mine == others


@dataclass(frozen=True)
class Summary:
    """A network as its parts.

    Attributes:
        name: of the network.
        input: (channels, height, width) of the image.
        whole: the network itself, with all parts below it.
        uncounted: types of layers with weight matrices that no formula covers: their MACs are missing.
    """

    name: str
    input: tuple[int, int, int]
    whole: Part
    uncounted: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Of the whole network."""
        return self.whole.all_parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates of its convolutions and dense layers for one image."""
        return self.whole.all_macs

    @property
    def receptive_field(self) -> arithmetic.ReceptiveField | None:
        """Of the network's own output where that is a map; else behind its last part with parameters that returns one."""
        if self.whole.output and self.whole.output[1:] not in ((), (1, 1)):
            return self.whole.receptive_field
        parts = [part for top in self.whole.parts for part in _that_ran(top)]
        maps = [part for part in parts if part.all_parameters and part.output and part.output[1:] not in ((), (1, 1))]
        return maps[-1].receptive_field if maps else None

    def to_json(self) -> dict[str, Any]:
        """Every module in a list; sizes and shapes as everywhere."""
        return {
            "name": self.name,
            "input": list(self.input),
            "parameters": self.parameters,
            "macs": self.macs,
            "uncounted": list(self.uncounted),
            "modules": [
                {
                    "path": part.path,
                    "layer": part.layer,
                    "output": part.output and list(part.output),
                    "calls": part.calls,
                    "parameters": part.parameters,
                    "macs": part.macs,
                    "receptive_field": part.receptive_field
                    and {
                        "size": part.receptive_field.size,
                        "jump": part.receptive_field.jump,
                        "offset": part.receptive_field.offset,
                    },
                }
                for part in self.whole
            ],
        }


def _that_ran(part: Part) -> Iterator[Part]:
    """The part itself, or those in it where it is only a container."""
    if part.calls:
        yield part
    else:
        for each in part.parts:
            yield from _that_ran(each)


@dataclass
class _Seen:
    """What the run showed of one module."""

    order: int
    output: tuple[int, ...] | None = None
    calls: int = 0
    macs: int = 0
    receptive_field: arithmetic.ReceptiveField | None = None


@dataclass
class _Run:
    """One run of a network, watched."""

    network: nn.Module
    seen: dict[nn.Module, _Seen] = field(default_factory=dict)
    entered: list[tuple[nn.Module, tuple[Any, ...]]] = field(default_factory=list)
    left: nn.Module | None = None
    fields: FieldTracker = field(default_factory=FieldTracker)

    def start(self, shape: tuple[int, int, int], device: str) -> None:
        hooks = []
        for module in self.network.modules():
            hooks.append(module.register_forward_pre_hook(self._enter))
            hooks.append(module.register_forward_hook(self._leave))
        like = next((parameter.dtype for parameter in self.network.parameters() if parameter.is_floating_point()), None)
        image = torch.zeros(1, *shape, device=device, dtype=like)
        modes = {module: module.training for module in self.network.modules()}
        try:
            with torch.no_grad(), torch.device(device), self.fields:
                self.fields.start(image)
                self.network.eval()(image)
        finally:
            for hook in hooks:
                hook.remove()
            for module, mode in modes.items():
                module.training = mode

    def _enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.entered.append((module, inputs))
        self.seen.setdefault(module, _Seen(len(self.seen)))

    def _leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.entered.pop()
        self.left = module
        seen = self.seen[module]
        layer = arithmetic_of(module)
        if layer is not None:
            seen.macs += _macs(layer, inputs[0])
        if next(module.children(), None) is None and inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            self.fields.pass_through(module, layer, inputs[0], output)
        if isinstance(output, Tensor) and not seen.calls:
            seen.output, seen.receptive_field = tuple(output.shape[1:]), self.fields.of(output)
        seen.calls += 1

    def part(self, path: str, module: nn.Module) -> Part:
        seen = self.seen.get(module, _Seen(len(self.seen)))
        children = sorted(module.named_children(), key=lambda item: self.seen.get(item[1], _Seen(len(self.seen))).order)
        return Part(
            path,
            describe_layer(module),
            seen.output,
            seen.calls,
            sum(parameter.numel() for parameter in module.parameters(recurse=False)),
            seen.macs,
            seen.receptive_field,
            tuple(self.part(f"{path}.{name}".lstrip("."), child) for name, child in children),
        )


def summarize(make: Callable[[], nn.Module], name: str, shape: tuple[int, int, int]) -> Summary:
    """Runs a network once on an image of ``shape`` (channels, height, width).

    Args:
        make: builds it; called with the meta device as PyTorch's default, and once more without where it cannot run there.

    Raises:
        Refused: the network does not take such an image; the layer at which it breaks is named, with what would fit.
    """
    try:
        with torch.device("meta"):
            run = _Run(make())
        run.network.to("meta")
        run.start(shape, "meta")
    except Exception:
        run = _Run(make())
        try:
            run.start(shape, "cpu")
        except Exception as error:
            raise _broken(make, run, name, shape, error) from error
    weighty = (module for module in run.network.modules() if arithmetic_of(module) is None)
    uncounted = {type(module).__name__ for module in weighty if any(map(_is_matrix, module.parameters(recurse=False)))}
    return Summary(name, shape, run.part("", run.network), tuple(sorted(uncounted)))


def _is_matrix(parameter: Tensor) -> bool:
    return sum(side > 1 for side in parameter.shape) > 1


def _macs(layer: arithmetic.Layer, x: Tensor) -> int:
    if isinstance(layer, arithmetic.Dense):
        return layer.macs((x.shape[-1], 1, 1)) * x[..., 0].numel()
    return layer.macs((x.shape[-3], x.shape[-2], x.shape[-1])) * x[..., 0, 0, 0].numel()


def describe_layer(module: nn.Module) -> str:
    """``Conv2d 3x3 /2, 32 groups``: the type, and what its shapes depend on."""
    name = type(module).__name__
    kernel = getattr(module, "kernel_size", None)
    if kernel is None or next(module.children(), None) is not None:
        return name
    words = [name, _times(kernel)]
    stride = getattr(module, "stride", 1)
    if stride not in (1, (1, 1), None):
        words.append(f"/{stride[0] if isinstance(stride, tuple) and len(set(stride)) == 1 else stride}")
    if getattr(module, "groups", 1) > 1:
        depthwise = module.groups == getattr(module, "in_channels", 0)
        words.append("depthwise" if depthwise else f"{module.groups} groups")
    return " ".join(words)


def _times(size: int | tuple[int, ...]) -> str:
    return "x".join(map(str, (size, size) if isinstance(size, int) else size))


def _broken(make: Callable[[], nn.Module], run: _Run, name: str, shape: tuple[int, int, int], error: Exception) -> Refused:
    """Names the innermost module that was at work, with what it was given and what would fit."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    image = _times(shape)
    if not run.entered:
        return Refused(f"{name} cannot be run", why=said)
    module, inputs = run.entered[-1]
    paths = {each: path for path, each in run.network.named_modules()}
    given = ", ".join(_times(tuple(each.shape[1:])) for each in inputs if isinstance(each, Tensor)) or "no tensor"
    if next(module.children(), None) is None:
        where = f"{paths[module] or name}, a {describe_layer(module)}, which is given {given}"
    else:
        after = f", after {paths[run.left]}" if run.left is not None else ""
        where = f"the forward() of {type(module).__name__}, between its layers{after}"
    fixes = [_wanted_input(module, inputs, run.network), _fitting_size(make, shape)]
    return Refused(
        f"{name} breaks at {paths[module] or 'its own forward()'} on an image of {image} (channels x height x width)",
        where=where,
        why=said,
        fix=", or ".join(fix for fix in fixes if fix) or "change the layers before it, or what it expects",
    )


def _wanted_input(module: nn.Module, inputs: tuple[Any, ...], network: nn.Module) -> str | None:
    """What a layer that reads another number of channels or features wants."""
    x = next((each for each in inputs if isinstance(each, Tensor)), None)
    if x is None:
        return None
    if isinstance(module, nn.Linear) and x.shape[-1] != module.in_features:
        return f"it reads {module.in_features:,} numbers: build it with in_features={x.shape[-1]}"
    wanted = getattr(module, "in_channels", None) or getattr(module, "num_features", None)
    if wanted is not None and x.dim() > 1 and x.shape[1] != wanted:
        first = next((each for each in network.modules() if isinstance(each, nn.Conv2d)), None)
        return f"--channels {wanted}" if module is first else f"it reads {wanted} channels and is given {x.shape[1]}"
    return None


def _fitting_size(make: Callable[[], nn.Module], shape: tuple[int, int, int]) -> str | None:
    """The side nearest to the one asked for with which the network runs."""
    try:
        with torch.device("meta"):
            network = make().to("meta")
    except Exception:
        return None
    for side in sorted(SIZES, key=lambda side: abs(side - max(shape[1:]))):
        try:
            _Run(network).start((shape[0], side, side), "meta")
        except Exception:
            continue
        return f"--size {side}"
    return None
