"""Why a network does not take an image: the layer at which it breaks, and what would fit."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from striate.columns import times
from striate.errors import Refused
from striate.watching import WatchedRun, describe_layer

SIZES = (1, 2, 4, 8, 16, 24, 28, 32, 40, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 299, 320, 384, 448, 512, 600)
"""Sides that are tried, to say which would fit."""


def misfit(make: Callable[[], nn.Module], run: WatchedRun, name: str, shape: tuple[int, int, int], error: Exception) -> Refused:
    """Names the innermost module that was at work, with what it was given and what would fit.

    Args:
        make: builds the network, as in :func:`striate.summary.summarize`.
        run: that which broke off.
        shape: (channels, height, width) of its image.
        error: what PyTorch said.
    """
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    image = times(shape)
    if not run.entered:
        return Refused(f"{name} cannot be run", why=said)
    module, inputs = run.entered[-1]
    paths = {each: path for path, each in run.network.named_modules()}
    given = ", ".join(times(tuple(each.shape[1:])) for each in inputs if isinstance(each, Tensor)) or "no tensor"
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


def _wanted_input(module: nn.Module, inputs: tuple[object, ...], network: nn.Module) -> str | None:
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
            WatchedRun(network).start((shape[0], side, side), "meta")
        except Exception:
            continue
        return f"--size {side}"
    return None
