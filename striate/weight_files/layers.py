"""Layers of another framework, laid out as the modules of ours."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.errors import Refused
from striate.models.foreign import ForeignNames

Layers = dict[str, list[NDArray[Any]]]
"""Name of a layer -> its arrays, as the file holds them."""

Framework = Literal["caffe", "keras"]


def lay_out(network: nn.Module, layers: Layers, names: ForeignNames, framework: Framework) -> dict[str, Tensor]:
    """The state dict that the file means, float32. A layer that ``names`` does not know stays in it under its own name.

    Raises:
        Refused: a layer has other arrays than one of its kind has.
    """
    state: dict[str, Tensor] = {}
    left = dict(layers)
    first = next(iter(names.layers))
    waiting: dict[str, Tensor] = {}  # the bias of a convolution that has none here, until its batch norm comes
    for path, sources in names.layers.items():
        module = network.get_submodule(path)
        if not all(source in left for source in sources.split()):
            continue  # its tensors are then missing, and named with the others that do not fit
        arrays = [torch.from_numpy(np.array(array, np.float32)) for source in sources.split() for array in left.pop(source)]
        try:
            if isinstance(module, nn.BatchNorm2d):
                values = _norm(arrays, framework, names.norm_eps - module.eps, *waiting.values())
                waiting = {}
            else:
                values = _weighted(arrays, module, framework, names.flattened.get(path))
                if path == first and names.bgr:
                    values["weight"] = values["weight"].flip(1)
                state |= waiting  # no norm came: it has no place, and is named with what does not fit
                waiting = {f"{path}.bias": values.pop("bias")} if module.bias is None and "bias" in values else {}
        except (ValueError, RuntimeError, IndexError) as error:
            shapes = ", ".join(str(tuple(array.shape)) for array in arrays)
            raise Refused(f"the layer {sources!r} is no {type(module).__name__}", why=f"it has {shapes}: {error}") from error
        state |= {f"{path}.{name}": value.contiguous() for name, value in values.items()}
    unknown = {f"{layer}[{i}]": torch.from_numpy(array) for layer, arrays in left.items() for i, array in enumerate(arrays)}
    return state | waiting | unknown


def _norm(arrays: list[Tensor], framework: Framework, more_eps: float, bias_before: Tensor | None = None) -> dict[str, Tensor]:
    """A batch norm; normalising ``x + bias`` is normalising ``x`` with a mean that is smaller by ``bias``."""
    if framework == "caffe":
        mean, variance, factor, gamma, beta = arrays
        scale = 1 / factor.item() if factor.item() else 0.0  # Caffe keeps sums, and over how much they run
        mean, variance = mean * scale, variance * scale
    else:
        gamma, beta, mean, variance = arrays
    mean = mean.flatten() if bias_before is None else mean.flatten() - bias_before
    return {
        "weight": gamma.flatten(),
        "bias": beta.flatten(),
        "running_mean": mean,
        "running_var": variance.flatten() + more_eps,
    }


def _weighted(
    arrays: list[Tensor], module: nn.Module, framework: Framework, flattened: tuple[int, int, int] | None
) -> dict[str, Tensor]:
    """A convolution or a dense layer, whose weights a file may keep as either where the kernel is 1 x 1."""
    weight, *rest = arrays
    if framework == "keras":
        weight = _from_channels_last(weight, isinstance(module, nn.Conv2d) and module.groups > 1, flattened)
    if isinstance(module, nn.Linear) and weight.dim() == 4:
        # Caffe's old files give a matrix four sizes, (1, 1, out, in); a 1x1 convolution has (out, in, 1, 1).
        weight = weight.flatten(0, 2) if weight.shape[:2] == (1, 1) else weight.flatten(1)
    elif isinstance(module, nn.Conv2d) and weight.dim() == 2:
        weight = weight[:, :, None, None]
    if len(rest) > 1:
        raise ValueError("weights and at most one bias are expected")
    return {"weight": weight, **({"bias": rest[0].flatten()} if rest else {})}


def _from_channels_last(weight: Tensor, depthwise: bool, flattened: tuple[int, int, int] | None) -> Tensor:
    """Keras's kernels: [H, W, in, out], depthwise [H, W, channel, multiplier], dense [in, out]."""
    if weight.dim() == 4:
        return weight.permute(2, 3, 0, 1).flatten(0, 1)[:, None] if depthwise else weight.permute(3, 2, 0, 1)
    if flattened is None:
        return weight.t()
    channels, height, width = flattened
    if math.prod(flattened) != len(weight):
        raise ValueError(f"it reads {len(weight):,} numbers, not {channels} x {height} x {width}")
    return weight.view(height, width, channels, -1).permute(3, 2, 0, 1).flatten(1)
