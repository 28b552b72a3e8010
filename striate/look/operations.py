"""A call of a PyTorch function in the field's words: its name and arguments, the kind of its arithmetic, what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import prod
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from striate.arithmetic import Convolution
from striate.columns import times
from striate.layers import arithmetic_of

Kind = Literal["input", "weighted_sum", "maximum", "normalisation", "pointwise", "moved", "function", "unrecorded"]
"""What one number of an output is made of: see :class:`striate.look.pixel_arithmetic.Arithmetic`."""

_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_MAX_POOL = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_AVG_POOL = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
_ADAPTIVE = ("input", "output_size", "return_indices")
_REDUCTION = ("input", "dim", "keepdim")
ARGUMENTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **{f"conv{n}d": _CONVOLUTION for n in (1, 2, 3)},
        **{f"conv_transpose{n}d": _TRANSPOSED for n in (1, 2, 3)},
        **{f"max_pool{n}d": _MAX_POOL for n in (1, 2, 3)},
        **{f"avg_pool{n}d": _AVG_POOL for n in (1, 2, 3)},
        **{f"adaptive_{way}_pool{n}d": _ADAPTIVE for way in ("avg", "max") for n in (1, 2, 3)},
        "linear": ("input", "weight", "bias"),
        "mean": _REDUCTION,
        "sum": _REDUCTION,
        "batch_norm": ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
        "instance_norm": ("input", "running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps"),
        "group_norm": ("input", "num_groups", "weight", "bias", "eps"),
        "layer_norm": ("input", "normalized_shape", "weight", "bias", "eps"),
        "pad": ("input", "pad", "mode", "value"),
        "cat": ("tensors", "dim"),
        "stack": ("tensors", "dim"),
    }
)
"""Names of the arguments, in the order in which PyTorch takes them."""

WEIGHTED = frozenset(name for name in ARGUMENTS if name.startswith(("conv", "avg_pool", "adaptive_avg"))) | {
    "linear",
    "mean",
    "sum",
}
MAXIMUM = frozenset(name for name in ARGUMENTS if "max_pool" in name)
NORMALISATION = frozenset({"batch_norm", "instance_norm", "group_norm", "layer_norm"})
MOVED = frozenset((
    "broadcast_to", "cat", "channel_shuffle", "chunk", "clone", "contiguous", "detach", "diagonal", "expand", "expand_as",
    "flatten", "flip", "getitem", "H", "hstack", "index_select", "mH", "moveaxis", "movedim", "mT", "narrow", "pad",
    "permute", "pixel_shuffle", "pixel_unshuffle", "ravel", "repeat", "repeat_interleave", "reshape", "reshape_as", "roll",
    "rot90", "select", "setitem", "slice", "split", "split_with_sizes", "squeeze", "stack", "swapaxes", "swapdims", "T", "t",
    "tensor_split", "tile", "transpose", "unbind", "unflatten", "unfold", "unsqueeze", "view", "view_as", "vstack",
))  # fmt: skip
"""Operations whose outputs are numbers of their inputs, elsewhere; or constants, such as a padding's."""
# What PyTorch does not tag: compositions of pointwise operations, and those that change the type alone.
_POINTWISE = frozenset((
    "alpha_dropout", "celu", "double", "dropout", "dropout1d", "dropout2d", "dropout3d", "elu", "feature_alpha_dropout",
    "float", "half", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish", "prelu",
    "relu", "relu6", "rrelu", "selu", "softplus", "softshrink", "softsign", "tanhshrink", "threshold", "to", "type", "type_as",
))  # fmt: skip
_AMBIGUOUS = frozenset({"max", "min", "norm"})
"""Names that mean a reduction as well."""
UNTOLD = frozenset({"contiguous", "cpu", "cuda", "detach", "double", "float", "half", "requires_grad", "to", "type", "type_as"})
"""Operations that are no node of a graph where they return what they were given."""
SHAPE_ALONE = frozenset((
    "empty_like", "full_like", "new_empty", "new_full", "new_ones", "new_tensor", "new_zeros", "ones_like", "rand_like",
    "randint_like", "randn_like", "shape", "size", "zeros_like",
))  # fmt: skip
"""What reads of a tensor no number."""

_SAME = MappingProxyType(
    {
        **{f"i{name}": name for name in ("add", "sub", "mul", "div", "pow")},
        **{f"r{name}": name for name in ("add", "sub", "mul", "div", "pow", "matmul")},
        **dict.fromkeys(("truediv", "itruediv", "rtruediv", "divide", "true_divide"), "div"),
        **dict.fromkeys(("concat", "concatenate"), "cat"),
        **{f"{way}{n}d_with_indices": f"{way}{n}d" for way in ("max_pool", "adaptive_max_pool") for n in (1, 2, 3)},
        "multiply": "mul",
        "subtract": "sub",
        "upsample": "interpolate",
    }
)


def operation_name(function: Callable[..., Any]) -> str:
    """``add`` for ``x + y``, ``torch.add`` and ``x.add_(y)`` alike."""
    name = getattr(function, "__name__", type(function).__name__)
    if name == "__get__":  # an attribute of a tensor, such as ``T``
        name = getattr(getattr(function, "__self__", None), "__name__", name)
    name = name.strip("_")
    return _SAME.get(name, name)


@cache
def kind_of(name: str) -> Kind:
    """Of an operation by its name."""
    if name in WEIGHTED:
        return "weighted_sum"
    if name in MAXIMUM:
        return "maximum"
    if name in NORMALISATION:
        return "normalisation"
    if name in MOVED:
        return "moved"
    return "pointwise" if name in _POINTWISE or (name not in _AMBIGUOUS and _tagged_pointwise(name)) else "function"


def _tagged_pointwise(name: str) -> bool:
    packet = getattr(torch.ops.aten, name, None)
    return packet is not None and any(torch.Tag.pointwise in getattr(packet, each).tags for each in packet.overloads())


def arguments_by_name(name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an operation of ``ARGUMENTS``; of another one those that were given by name."""
    names = ARGUMENTS.get(name, ())
    if name == "batch_norm" and getattr(function, "__module__", None) != "torch.nn.functional":
        names = ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps")
    return {**dict(zip(names, args, strict=False)), **kwargs}


def spatial(name: str) -> int:
    """Dimensions that a convolution's or a pooling's window moves along."""
    return int(name[-2])


def per_axis(value: Any, count: int) -> tuple[int, ...]:
    """PyTorch's ``3``, ``(3,)`` or ``(3, 3)`` -> one number a dimension."""
    if isinstance(value, int):
        return (value,) * count
    return tuple(value) * count if len(value) == 1 else tuple(value)


def label(name: str, given: Mapping[str, Any]) -> str:
    """``conv2d 3x3 /2 32 groups``: the operation, and what its shapes depend on."""
    kernel = given["weight"].shape[2:] if name.startswith("conv") else given.get("kernel_size")
    if name not in ARGUMENTS or kernel is None:
        return name
    count = spatial(name)
    words = [name, times(per_axis(kernel, count))]
    strides = per_axis(given.get("stride") or (1 if name.startswith("conv") else kernel), count)
    if set(strides) != {1}:
        words.append(f"/{strides[0] if len(set(strides)) == 1 else times(strides)}")
    if (dilations := per_axis(given.get("dilation", 1), count)) != (1,) * count:
        words.append(f"dilation {dilations[0] if len(set(dilations)) == 1 else times(dilations)}")
    if (groups := given.get("groups", 1)) > 1:
        depthwise = groups == given["input"].shape[-1 - count]
        words.append("depthwise" if depthwise else f"{groups} groups")
    return " ".join(words)


def macs(name: str, given: Mapping[str, Any], args: Sequence[Any], output: Tensor, module: nn.Module) -> int | None:
    """Multiply-accumulates with kernels and matrices, padding counted; None: it may have some, and no formula is known."""
    if name.startswith("conv"):
        linked = arithmetic_of(module)
        weights: int = given["weight"].numel()
        if isinstance(linked, Convolution) and linked.links is not None:
            weights = linked.weights((given["input"].shape[1], 0, 0))
        moved = given["input"] if name.startswith("conv_transpose") else output
        count = spatial(name)
        positions: int = prod(moved.shape[-count:]) * prod(moved.shape[: -count - 1])
        return weights * positions
    if name == "linear":
        return int(given["weight"].numel() * prod(given["input"].shape[:-1]))
    if name in ("matmul", "mm", "bmm"):
        return int(output.numel()) * int(args[0].shape[-1])
    return None
