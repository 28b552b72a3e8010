"""Every network by name: building one, loading weights into it, and counting what it costs."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from striate import arithmetic
from striate.errors import Refused, UsageError, nearest
from striate.layers import arithmetic_of
from striate.models import fashion_cnn, lenet, letters_cnn, mlp, resnet
from striate.models.variant import Network, Variant
from striate.sealed import read_sealed

MODELS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        *mlp.VARIANTS,
        *lenet.VARIANTS,
        *fashion_cnn.VARIANTS,
        *letters_cnn.VARIANTS,
        *resnet.VARIANTS,
    )
}


def find_variant(name: str) -> Variant:
    """The record of a network. Raises ``UsageError`` with the nearest name where there is none."""
    if name not in MODELS:
        raise UsageError(f"there is no network {name!r}", fix=nearest(name, MODELS))
    return MODELS[name]


def build(
    name: str,
    num_classes: int | None = None,
    in_channels: int | None = None,
    input_size: int | tuple[int, int] | None = None,
    weights: str | Path | None = None,
) -> Network:
    """A network by name; what is None is the variant's own.

    Args:
        name: a key of ``MODELS``.
        num_classes: outputs.
        in_channels: of the images.
        input_size: (height, width) in pixels, or the side of a square. It sizes the first dense layer of a network whose
            head is sized by a flatten; others take any size from their ``min_size``.
        weights: a safetensors or PyTorch file with a state dict; see :func:`load_weights`.

    Raises:
        UsageError: an unknown name, or a number or size below the least that the network takes.
        Refused: the weights do not fit.
    """
    variant = find_variant(name)
    num_classes = variant.num_classes if num_classes is None else num_classes
    in_channels = variant.in_channels if in_channels is None else in_channels
    if num_classes < 1 or in_channels < 1:
        raise UsageError(f"{name} cannot have {num_classes} classes and {in_channels} input channels; each must be at least 1")
    size = variant.input_size if input_size is None else arithmetic.pair(input_size, "input_size")
    if size[0] < variant.min_size[0] or size[1] < variant.min_size[1]:
        raise UsageError(
            f"{name} cannot read images of {size[0]} x {size[1]} pixels",
            why=f"its maps would shrink to nothing: it needs at least {variant.min_size[0]} x {variant.min_size[1]}",
            fix=f"take larger images (its own size is {variant.input_size[0]} x {variant.input_size[1]}) or a shallower network",
        )
    sized = {"input_size": size} if variant.fixed_size else {}
    network = variant.build(num_classes, in_channels, **sized, **variant.arguments)
    if weights is not None:
        if str(weights) == "imagenet" or str(weights).startswith("imagenet-"):
            raise UsageError(f"no published weights are registered yet for {name}", fix="give the path of a weight file")
        load_weights(network, weights)
    return network


def load_weights(network: Network, path: str | Path) -> None:
    """Loads a file's state dict into ``network``, strictly: every tensor of both must have its counterpart.

    A head for another number of classes is left out, and what wraps the state dict is taken off; both are said in a warning.
    ``num_batches_tracked``, which files from before PyTorch 0.4.1 lack, starts at 0.

    Raises:
        UsageError: there is no such file.
        Refused: it holds no state dict, or one that does not fit: each such tensor is named with both shapes.
    """
    state = read_state_dict(path)
    own = network.state_dict()
    head = {name for name in own if name.startswith(network.head_path + ".")}
    if _is_another_head(state, own, head):
        theirs, ours = (len(tensors[f"{network.head_path}.weight"]) for tensors in (state, own))
        warnings.warn(
            f"{path} has {theirs} classes and the network {ours}: its head ({network.head_path}) was left out, the network's is "
            f"untrained. To keep it, build the network with num_classes={theirs}",
            stacklevel=3,
        )
        state |= {name: own[name] for name in head}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in own.items()}
    mismatches = [
        f"{name}: file {shapes.get(name, 'has none')}, network {wanted.get(name, 'has none')}"
        for name in sorted(shapes.keys() | wanted.keys())
        if shapes.get(name) != wanted.get(name) and not (name.endswith(".num_batches_tracked") and name not in shapes)
    ]
    if mismatches:
        raise Refused(
            f"the weights do not fit {type(network).__name__}: {len(mismatches)} tensors differ",
            where=path,
            why="\n         ".join(mismatches),
            fix="build the network that the file was made from, with its input channels and size",
        )
    network.load_state_dict(state)


def _is_another_head(state: Mapping[str, Tensor], own: Mapping[str, Tensor], head: set[str]) -> bool:
    """Whether the two heads differ in their number of outputs, and in nothing else."""
    if not head <= state.keys():
        return False
    return all(state[name].shape[1:] == own[name].shape[1:] and state[name].shape[:1] != own[name].shape[:1] for name in head)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Named tensors of a safetensors or PyTorch file; nothing in it is executed. A file of ours has its digest checked.

    The dictionaries ``state_dict`` and ``model`` around the tensors and the prefix ``module.`` of every name are taken off,
    with a warning. Raises as :func:`load_weights` does.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError("there is no such weight file", where=path, fix="give the path of a .safetensors, .pt or .pth file")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    taken_off = []
    while isinstance(content, Mapping) and not all(isinstance(value, Tensor) for value in content.values()):
        wrapper = next((key for key in ("state_dict", "model") if isinstance(content.get(key), Mapping)), None)
        if wrapper is None:
            break
        content = content[wrapper]
        taken_off.append(f"the dictionary {wrapper!r}")
    if not isinstance(content, Mapping) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        found = f"keys {', '.join(map(str, content))}" if isinstance(content, Mapping) else type(content).__name__
        raise Refused("the file holds no state dict", where=path, why=f"found {found}", fix="save network.state_dict() alone")
    state = dict(content)
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
        taken_off.append("the prefix 'module.' of every name")
    if taken_off:
        warnings.warn(f"{path}: took off {' and '.join(taken_off)} around the state dict", stacklevel=4)
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            if {"striate", "sha256"} <= (file.metadata() or {}).keys():
                return read_sealed(path)[1]
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
    except SafetensorError as error:
        raise Refused("not a readable safetensors file", where=path, why=str(error), fix="fetch or save it again") from None


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise Refused(
            "the file holds more than tensors, or no PyTorch data at all; nothing of it was executed",
            where=path,
            why=str(error).split(". ")[0],
            fix="where you trust it, load it yourself and save its state_dict() as safetensors",
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise Refused("not a readable PyTorch file", where=path, why=str(error), fix="fetch or save it again") from None


@dataclass(frozen=True)
class Description:
    """What a network costs.

    Attributes:
        parameters: trainable or not, without buffers.
        macs: multiply-accumulates of its convolutions and dense layers for one image; FLOPs are twice that.
        uncounted: types of other layers with weight matrices, whose MACs are not in ``macs``; empty: the count is exact.
    """

    parameters: int
    macs: int
    uncounted: tuple[str, ...]


def describe(network: str | nn.Module, input_size: tuple[int, int] | None = None, in_channels: int | None = None) -> Description:
    """Parameters and MACs for one image of ``input_size`` pixels.

    A name is built and run on the meta device, in milliseconds; a module runs once on its own device, in evaluation mode.
    Size and channels that are None are the variant's own; a module of another make needs both.
    """
    if isinstance(network, str):
        variant = find_variant(network)
        input_size, in_channels = input_size or variant.input_size, in_channels or variant.in_channels
        with torch.device("meta"):
            network = build(network, in_channels=in_channels, input_size=input_size)
    if input_size is None or in_channels is None:
        raise UsageError("a module does not say what it reads", fix="give describe() its input_size and in_channels")
    macs = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        nonlocal macs
        layer, x = arithmetic_of(module), inputs[0]
        if isinstance(layer, arithmetic.Dense):
            macs += layer.macs((x.shape[-1], 1, 1)) * x[..., 0].numel()
        elif layer is not None:
            macs += layer.macs((x.shape[-3], x.shape[-2], x.shape[-1]))

    uncounted = set()
    hooks = []
    for module in network.modules():
        if arithmetic_of(module) is not None:
            hooks.append(module.register_forward_hook(count))
        elif any(parameter.dim() > 1 for parameter in module.parameters(recurse=False)):
            uncounted.add(type(module).__name__)
    training = [module for module in network.modules() if module.training]
    like = next(network.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, in_channels, *input_size, device=like.device, dtype=like.dtype))
    finally:
        for hook in hooks:
            hook.remove()
        for module in training:
            module.training = True
    return Description(sum(p.numel() for p in network.parameters()), macs, tuple(sorted(uncounted)))
