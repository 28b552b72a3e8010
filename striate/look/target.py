"""The number that a picture explains, a class's logit or a unit of a layer, and runs that stop at a layer.

Threads may share a network: a hook acts in the thread that hung it up, and not in the others' runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from striate.errors import Refused, UsageError, nearest
from striate.torch_network import evaluating


@dataclass(frozen=True)
class Unit:
    """A number within a network, as something to explain.

    Attributes:
        layer: path of the module that puts it out, at its first call.
        channel: of its output; the neuron of a dense layer.
        position: (row, column) in the channel's map; None: the mean of the whole map.
    """

    layer: str
    channel: int
    position: tuple[int, int] | None = None


Target = int | Unit | None
"""A class by its number (its logit, before any softmax), a unit, or None: the class that the network says."""


def scores(module: nn.Module, images: Tensor, target: int | Unit) -> Tensor:
    """The explained number of each image: [N, C, H, W] -> [N]. Differentiable; as for the mode, see :func:`explaining`.

    Raises:
        UsageError: no such class, layer or unit.
        Refused: the network returns something else than one vector an image.
    """
    if isinstance(target, Unit):
        return _unit(layer_output(module, images, target.layer), target)
    return class_scores(run_whole(module, images), [target] * len(images))[0]


def class_scores(logits: Tensor, targets: Sequence[int] | None) -> tuple[Tensor, list[int]]:
    """Logits [N, K] -> that of each image's class [N], and the classes; None: the ones that the network says.

    Raises:
        UsageError: no such class.
    """
    chosen = logits.argmax(dim=1).tolist() if targets is None else list(targets)
    for target in chosen:
        if not 0 <= target < logits.shape[1]:
            raise UsageError(f"The network has no class {target}", fix=f"its classes are 0 to {logits.shape[1] - 1}")
    return logits[torch.arange(len(logits)), chosen], chosen


def settle(module: nn.Module, image: Tensor, target: Target) -> int | Unit:
    """The target itself, or the class that the network says of the image [1, C, H, W]."""
    if target is not None:
        return target
    with torch.no_grad():
        return int(run_whole(module, image)[0].argmax())


def as_input(module: nn.Module, image: Tensor) -> Tensor:
    """A normalised image, [C, H, W] or [1, C, H, W], as the network reads it: [1, C, H, W] on its device in its precision.

    Raises:
        UsageError: another shape, or whole numbers (an image that was not normalised).
    """
    batch = image[None] if image.ndim == 3 else image
    if batch.ndim != 4 or len(batch) != 1 or not batch.is_floating_point():
        given = f"{str(image.dtype).removeprefix('torch.')} {list(image.shape)}"
        fix = "give a normalised image, float [C, H, W]: model.preprocess.normalize(...)"
        raise UsageError(f"An image is given as {given}", fix=fix)
    return beside_weights(module, batch.detach())


def beside_weights(module: nn.Module, images: Tensor) -> Tensor:
    """The same numbers on the device of the network's weights and in their precision."""
    like = next((p for p in module.parameters() if p.is_floating_point()), images)
    return images.to(like.device, like.dtype)


@contextmanager
def explaining(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, with gradients recorded whatever the caller's mode; afterwards every part is as it was."""
    with torch.inference_mode(False), torch.enable_grad(), evaluating(module):
        yield


def gradient(score: Tensor, source: Tensor) -> Tensor:
    """How each score of [N] changes with its own ``source`` [N, ...]; zero where it does not depend on it.

    Raises:
        Refused: the network cut the chain of gradients.
    """
    found = gradient_if_any(score, source)
    return torch.zeros_like(source) if found is None else found


def gradient_if_any(score: Tensor, source: Tensor) -> Tensor | None:
    """As :func:`gradient`; None where the scores do not depend on ``source`` at all. It can be asked again."""
    if not score.requires_grad:
        why = "something in it detaches its values: it runs without gradients, or leaves torch for NumPy"
        raise Refused("The network has no gradients to explain it by", why=why, fix="take an occlusion map, which needs none")
    (found,) = torch.autograd.grad(score.sum(), source, retain_graph=True, allow_unused=True)
    return None if found is None else found.detach()


def find_layer(module: nn.Module, layer: str) -> nn.Module:
    """The module of that path. Raises ``UsageError`` with the nearest path."""
    layers: dict[str, nn.Module] = dict(module.named_modules())
    layers.pop("")
    if layer not in layers:
        raise UsageError(f"The network has no layer {layer!r}", where=type(module).__name__, fix=nearest(layer, layers))
    return layers[layer]


class _Reached(Exception):
    """Ends a run at the layer that was wanted. The network's own ``except`` clauses for errors of its work may see it."""


def layer_output(module: nn.Module, images: Tensor, layer: str) -> Tensor:
    """What a layer puts out at its first call; nothing after it is computed, so that nothing overwrites it.

    Raises:
        UsageError: no such layer.
        Refused: the layer does not run, or puts out something else than one tensor.
    """
    found: list[Any] = []
    thread = threading.get_ident()

    def stop(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if threading.get_ident() == thread:
            found.append(output)
            raise _Reached

    hook = find_layer(module, layer).register_forward_hook(stop)
    try:
        module(images)
    except _Reached:
        pass
    finally:
        hook.remove()
    return _tensor(found, layer)


def run_keeping(module: nn.Module, images: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """The network's whole run: what ``layer`` puts out at its first call, untouched by what follows, and the logits [N, K]."""
    found: list[Any] = []
    thread = threading.get_ident()

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if found or threading.get_ident() != thread:
            return output
        found.append(output)
        return output.clone() if isinstance(output, Tensor) else output  # an in-place ReLU then changes the copy alone

    hook = find_layer(module, layer).register_forward_hook(keep)
    try:
        logits = run_whole(module, images)
    finally:
        hook.remove()
    return _tensor(found, layer), logits


def in_batches(compute: Callable[[Tensor], Tensor], images: Tensor, batch: int, told: Callable[[int], None]) -> Tensor:
    """``compute`` on [N, ...], ``batch`` images at a time; ``told`` hears how many are done."""
    found = []
    for start in range(0, len(images), batch):
        told(start)
        found.append(compute(images[start : start + batch]))
    return torch.cat(found)


def _tensor(found: list[Any], layer: str) -> Tensor:
    if not found:
        raise Refused("The layer does not run", where=layer, why="the network calls it in training alone, or never")
    if not isinstance(found[0], Tensor):
        raise Refused(f"The layer returns a {type(found[0]).__name__}, not one tensor", where=layer, fix="name a layer within it")
    return found[0]


def run_whole(module: nn.Module, images: Tensor) -> Tensor:
    """The network's logits [N, K]. Raises ``Refused`` where it returns something else."""
    output = module(images)
    if not isinstance(output, Tensor) or len(output) != len(images) or output[0].numel() != output.shape[1]:
        got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        why = f"it returns {got} for images {list(images.shape)}"
        raise Refused("Not a classifier: one vector an image is expected", where=type(module).__name__, why=why)
    return output.flatten(1)


def _unit(output: Tensor, unit: Unit) -> Tensor:
    """One number an image of a layer's output [N, C, ...]."""
    check_unit(output.shape, unit)
    channel = output[:, unit.channel]
    if unit.position is None:
        return channel.flatten(1).mean(dim=1) if channel.ndim > 1 else channel
    return channel[:, unit.position[0], unit.position[1]]


def check_unit(shape: torch.Size, unit: Unit) -> None:
    """Raises ``UsageError`` naming the ranges where a layer's output [N, C, H, W] or [N, K] has no such unit."""
    sizes = tuple(shape[1:])
    place = (unit.channel, *(unit.position or ()))
    fits = len(place) in (1, len(sizes)) and all(0 <= i < size for i, size in zip(place, sizes, strict=False))
    if not fits:
        names = ("channel", "row", "column") if len(sizes) == 3 else ("neuron",)
        ranges = ", ".join(f"{name} 0 to {size - 1}" for name, size in zip(names, sizes, strict=False))
        raise UsageError(f"There is no unit {','.join(map(str, place))}", where=unit.layer, fix=f"name one within: {ranges}")
