"""Which layer did it: every layer's output in an artefact beside the model's own, on the same images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.backends.opening import open_artefact
from striate.exporting.inner import inner_tensors
from striate.prediction import Model

STEP = 4.0
"""How many times the error must grow within one layer to be its doing."""
NOISE = {"fp32": 1e-5, "bf16": 1e-2, "int8": 5e-2}
"""Errors below are rounding, in each precision."""


@dataclass(frozen=True)
class LayerError:
    """One layer.

    Attributes:
        path: of the module in the model.
        error: max|a - b| / max|a| of its output; infinite where shapes differ or values are not finite.
        growth: times the largest error of the layers before it.
    """

    path: str
    error: float
    growth: float


def compare_layers(model: Model, tensor: Path, images: NDArray[np.uint8], precision: str) -> list[LayerError]:
    """The layers that both have, in the order in which they run.

    Args:
        model: with a torch module.
        tensor: the artefact that takes ready tensors; its card says which tensor each layer makes.
        images: uint8 [N, C, h, w].
        precision: that the artefact is run in.

    Raises:
        KeyError: a tensor that the card names is not in the graph.
    """
    card = open_artefact(tensor)[1]
    layers = [(path, name) for path, name in card["export"]["layers"] if _has(model.module, path)]
    if not layers:
        return []
    own = _outputs(model, [path for path, _ in layers], images)
    named = {path: name for path, name in layers if path in own}
    found = inner_tensors(tensor, [named[path] for path in own], precision)(images)
    errors: list[LayerError] = []
    worst = NOISE[precision]
    for path, exported in zip(own, found, strict=True):
        error = _relative(own[path], exported)
        errors.append(LayerError(path, error, error / worst))
        worst = max(worst, error)
    return errors


def culprit(errors: list[LayerError]) -> LayerError | None:
    """The first layer whose error is a jump: at least ``STEP`` times rounding and all before; None where it grows evenly."""
    return next((row for row in errors if row.growth >= STEP), None)


def _has(module: nn.Module, path: str) -> bool:
    return path in {name for name, _ in module.named_modules()}


def _outputs(model: Model, paths: list[str], images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """What the modules give, in the order in which they run; of those that run once and give one tensor."""
    seen: dict[str, NDArray[Any]] = {}
    calls: Counter[str] = Counter()

    def keep(path: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            calls[path] += 1
            if isinstance(output, Tensor):
                seen[path] = output.detach().float().cpu().numpy().copy()

        return hook

    hooks = [model.module.get_submodule(path).register_forward_hook(keep(path)) for path in paths]
    try:
        with torch.inference_mode():
            model.raw(images)
    finally:
        for hook in hooks:
            hook.remove()
    return {path: output for path, output in seen.items() if calls[path] == 1}


def _relative(own: NDArray[Any], exported: NDArray[Any]) -> float:
    if own.shape != exported.shape or not np.isfinite(exported).all():
        return float("inf")
    return float(np.abs(own - exported).max() / max(float(np.abs(own).max()), 1e-30))
