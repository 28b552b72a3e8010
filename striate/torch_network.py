"""A torch module as the network of a :class:`striate.prediction.Model`. The only part of prediction that imports torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.architecture_file import build_architecture, load_architecture
from striate.data.preprocess import Preprocess
from striate.errors import Refused, UsageError, nearest
from striate.zoo import MODELS, build


class TorchNetwork:
    """Runs a module on uint8 pictures: normalised where the module lives, in eval mode, without gradients.

    Attributes:
        module: never normalises by itself.
        preprocess: the normalisation.
    """

    def __init__(self, module: nn.Module, preprocess: Preprocess) -> None:
        self.module, self.preprocess = module, preprocess

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [N, C, H, W] -> raw outputs float32 [N, K]."""
        if not images.flags.writeable or min(images.strides) < 0:
            images = images.copy()  # torch takes neither
        like = next((p for p in self.module.parameters() if p.is_floating_point()), torch.empty(0))
        with torch.inference_mode(), evaluating(self.module):
            pictures = torch.from_numpy(images).to(like.device)
            raw = self.module(self.preprocess.normalize(pictures).to(like.dtype))
        if not isinstance(raw, Tensor):
            raise Refused(f"The network returns a {type(raw).__name__}, not one tensor", where=type(self.module).__name__)
        result: NDArray[np.float32] = raw.float().cpu().numpy()
        return result


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode, and afterwards every part's own mode again: a frozen batch norm within a training network stays frozen."""
    modes = {part: part.training for part in module.modules()}
    if not any(modes.values()):
        yield
        return
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def restore_module(
    path: Path,
    info: Mapping[str, Any],
    state: dict[str, Tensor],
    module: nn.Module | None = None,
    arch: str | Callable[..., nn.Module] | None = None,
) -> nn.Module:
    """The network of a bundle with its weights, in eval mode.

    Args:
        path: of the bundle, for messages.
        info: its card.
        state: its tensors.
        module: takes the weights, where given.
        arch: ``FILE.py:FUNCTION`` or the function itself: builds the network, where given.

    Raises:
        UsageError: both are given, or ``arch`` cannot be used.
        Refused: the network is not known here, or the weights are not its own.
    """
    if module is not None and arch is not None:
        raise UsageError("Both a module and an architecture are given", where=path, fix="give one of them")
    if module is None:
        module = _build(path, info, arch)
    _check_state(path, module, state)
    # The tensors become the parameters themselves; a module on the meta device has no memory to copy them to.
    on_meta = any(p.is_meta for p in module.parameters())
    module.load_state_dict(state, assign=on_meta)
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        module = _build_zoo(*_architecture(path, info), "cpu")  # a buffer outside the state dict comes from the constructor
        module.load_state_dict(state)
    # Channels last: 1.2 to 2.8 times the images a second on a CPU without AMX (resnet18, fashion_cnn), never fewer.
    channels_last: nn.Module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return channels_last.eval()


def _build(path: Path, info: Mapping[str, Any], arch: str | Callable[..., nn.Module] | None) -> nn.Module:
    name, arguments = _architecture(path, info)
    if arch is not None:
        make = load_architecture(arch) if isinstance(arch, str) else arch
        with torch.random.fork_rng(devices=[]):  # opening a file must not move the caller's random numbers
            return build_architecture(make, **arguments)
    if not info["architecture"].get("in_zoo"):
        given = info["architecture"].get("source_file") or "FILE.py:FUNCTION"
        raise Refused(
            f"The network {name!r} is not part of striate, and nothing named inside a file is ever run",
            where=path,
            fix=f"name the code it was built by: --arch {given} (in Python: striate.load(path, arch=...) or module=...)",
        )
    if name not in MODELS:
        what = f"This version of striate has no network {name!r}"
        raise Refused(what, where=path, why=nearest(name, MODELS), fix="upgrade striate")
    return _build_zoo(name, arguments, "meta")


def _build_zoo(name: str, arguments: Mapping[str, Any], device: str) -> nn.Module:
    with torch.device(device), torch.random.fork_rng(devices=[]):
        return build(name, **arguments)


def _architecture(path: Path, info: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The network's name, and what it was built with."""
    try:
        architecture = info["architecture"]
        height, width = map(int, architecture["input_size"])
        numbers = {name: int(architecture[name]) for name in ("num_classes", "in_channels")}
        return str(architecture["name"]), {**numbers, "input_size": (height, width)}
    except (KeyError, TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
        raise Refused("The model's card does not say how its network is built", where=path, why=why) from error


def _check_state(path: Path, module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Refuses weights of another network, naming what differs."""
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    differing = [f"{name}: file {given[name]}, network {own[name]}" for name in own if own[name] != given.get(name, own[name])]
    reasons = [
        _some("missing in the file", sorted(own.keys() - given.keys())),
        _some("unknown to the network", sorted(given.keys() - own.keys())),
        _some("of another shape", differing),
    ]
    if any(reasons):
        raise Refused(
            f"The weights are not those of {type(module).__name__}",
            where=path,
            why="; ".join(filter(None, reasons)),
            fix="give the network that was trained, built with the same arguments",
        )


def _some(what: str, names: list[str]) -> str:
    return f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
