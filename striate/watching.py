"""One run of any network, watched: what comes out of every module, what it costs, and where the run broke off."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from striate import arithmetic
from striate.columns import times
from striate.field_tracking import FieldTracker
from striate.layers import arithmetic_of


@dataclass
class Seen:
    """What the run showed of one module: at its first call, but for the MACs, which are those of all its calls."""

    order: int
    output: tuple[int, ...] | None = None
    calls: int = 0
    macs: int = 0
    receptive_field: arithmetic.ReceptiveField | None = None


@dataclass
class WatchedRun:
    """A network, and what :meth:`start` saw of it.

    Attributes:
        seen: every module that ran.
        entered: modules that were at work with what they were given, outermost first; after a whole run none.
        left: the module that was last done.
    """

    network: nn.Module
    seen: dict[nn.Module, Seen] = field(default_factory=dict)
    entered: list[tuple[nn.Module, tuple[Any, ...]]] = field(default_factory=list)
    left: nn.Module | None = None
    fields: FieldTracker = field(default_factory=FieldTracker)

    def start(self, shape: tuple[int, int, int], device: str) -> None:
        """Runs the network on one blank image (channels, height, width), in evaluation mode, and leaves it as it was."""
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

    def of(self, module: nn.Module) -> Seen:
        """What was seen of it; nothing, after all others, where it did not run."""
        return self.seen.get(module) or Seen(len(self.seen))

    def _enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.entered.append((module, inputs))
        self.seen.setdefault(module, Seen(len(self.seen)))

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


def _macs(layer: arithmetic.Layer, x: Tensor) -> int:
    if isinstance(layer, arithmetic.Dense):
        return layer.macs((x.shape[-1], 1, 1)) * x[..., 0].numel()
    return layer.macs((x.shape[-3], x.shape[-2], x.shape[-1])) * x[..., 0, 0, 0].numel()


def describe_layer(module: nn.Module) -> str:
    """``Conv2d 3x3 /2 32 groups``: the type, and what its shapes depend on."""
    name, kernel = type(module).__name__, getattr(module, "kernel_size", None)
    if kernel is None or next(module.children(), None) is not None:
        return name
    words = [name, times((kernel, kernel) if isinstance(kernel, int) else kernel)]
    stride = getattr(module, "stride", 1)
    if stride not in (1, (1, 1), None):
        words.append(f"/{stride[0] if isinstance(stride, tuple) and len(set(stride)) == 1 else stride}")
    if getattr(module, "groups", 1) > 1:
        depthwise = module.groups == getattr(module, "in_channels", 0)
        words.append("depthwise" if depthwise else f"{module.groups} groups")
    return " ".join(words)
