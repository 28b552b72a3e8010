"""Batch norm folded into the layer before it: the same function, with one pass over the data less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from striate.torch_network import evaluating


def fold_batch_norm(module: nn.Module, example: Tensor) -> dict[str, str]:
    """Folds, in place, each batch norm that alone reads what one convolution or dense layer gives, in float64.

    Which those are is seen in one run on ``example``, in eval mode: no name and no order of attributes is trusted.

    Args:
        module: changed; the batch norms become ``nn.Identity``.
        example: an input of it, [N, C, H, W].

    Returns:
        Path of the layer -> path of the batch norm whose output it now gives.
    """
    pairs = _pairs(module, example)
    for layer_path, norm_path in pairs.items():
        _fold(module.get_submodule(layer_path), module.get_submodule(norm_path))
        module.set_submodule(norm_path, nn.Identity())
    return pairs


class _Readers(TorchFunctionMode):
    """Counts the operations that read each tensor to make another one."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[int] = Counter()
        self._kept: list[Any] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            self.count.update(map(id, read))
            self._kept += [read, result]  # while it lives, no other tensor has its id
        return result


def _pairs(module: nn.Module, example: Tensor) -> dict[str, str]:
    made: dict[int, str] = {}
    calls: Counter[str] = Counter()
    found: list[tuple[str, str, int]] = []
    hooks = []

    def after(path: str) -> Callable[..., None]:
        def note(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            calls[path] += 1
            made[id(output)] = path

        return note

    def before(path: str) -> Callable[..., None]:
        def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            calls[path] += 1
            if inputs and id(inputs[0]) in made:
                found.append((made[id(inputs[0])], path, id(inputs[0])))

        return note

    for path, part in module.named_modules():
        if _takes_in(part):
            hooks.append(part.register_forward_hook(after(path)))
        elif isinstance(part, _BatchNorm) and part.running_mean is not None:
            hooks.append(part.register_forward_pre_hook(before(path)))
    try:
        with torch.inference_mode(), evaluating(module), _Readers() as readers:
            module(example)
    finally:
        for hook in hooks:
            hook.remove()
    return {
        layer: norm for layer, norm, made_by in found if readers.count[made_by] == 1 and calls[layer] == 1 and calls[norm] == 1
    }


def _takes_in(part: nn.Module) -> bool:
    """Whether a batch norm can become part of its weights: plain ones, not made anew at each call."""
    return type(part) in (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear) and {*part._parameters} == {"weight", "bias"}


@torch.no_grad()
def _fold(layer: nn.Module, norm: nn.Module) -> None:
    assert isinstance(norm, _BatchNorm)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = layer.get_parameter("weight"), layer.bias
    assert bias is None or isinstance(bias, Tensor)
    factor = torch.rsqrt(norm.running_var.double() + norm.eps)
    factor = factor if norm.weight is None else factor * norm.weight.double()
    shift = (0 if bias is None else bias.double()) - norm.running_mean.double()
    shift = shift * factor if norm.bias is None else shift * factor + norm.bias.double()
    scaled = weight.double() * factor.reshape(-1, *(1,) * (weight.dim() - 1))
    layer.weight = nn.Parameter(scaled.to(weight.dtype).contiguous(memory_format=_layout(weight)), requires_grad=False)
    layer.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=False)


def _layout(weight: Tensor) -> torch.memory_format:
    last = weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
