"""State dicts: safetensors files, and PyTorch's through ``weights_only=True``."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from striate.errors import Refused
from striate.sealed import read_sealed


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Named tensors of a safetensors or PyTorch file. A file of ours has its digest checked.

    The dictionaries ``state_dict`` and ``model`` around the tensors and the prefix ``module.`` of every name are taken off,
    with a warning.

    Raises:
        Refused: it is not readable, or holds no state dict.
    """
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
        warnings.warn(f"{path}: took off {' and '.join(taken_off)} around the state dict", stacklevel=2)
    return state


def is_sealed(path: Path) -> bool:
    """Whether it is a model of ours, with its card."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return {"striate", "sha256"} <= (file.metadata() or {}).keys()
    except SafetensorError:
        return False


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    if is_sealed(path):
        return read_sealed(path)[1]
    try:
        with safe_open(path, framework="pt") as file:
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
    except Exception as error:  # foreign bytes make an unpickler stumble in any way: IndexError, TypeError, struct.error...
        why = str(error) or type(error).__name__
        raise Refused("not a readable PyTorch file", where=path, why=why, fix="fetch or save it again") from None
