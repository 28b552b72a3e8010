"""The one-file model: weights, and in the same file all that prediction needs to know, under one SHA-256.

The card of a model says: ``architecture`` (name, num_classes, in_channels, input_size, in_zoo), ``task``, ``classes``,
``preprocess``, ``metrics``, ``recipe``, ``license``, ``data`` (with its fingerprint) and the version that wrote it.
Nothing it names is ever imported. Only :func:`write_bundle` and :func:`read_bundle` import torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from striate.errors import Refused
from striate.sealed import read_sealed, read_sealed_arrays, read_values, write_sealed

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1
MODEL_FILE = "model.safetensors"


def write_bundle(path: str | Path, state: Mapping[str, Tensor], info: Mapping[str, Any]) -> str:
    """Writes a model as one file; see :func:`write_sealed`.

    Args:
        path: the file to write.
        state: the network's state dict.
        info: the card, of JSON values; a figure without a value (NaN, infinity) is written as null. ``format`` and
            ``format_version`` are set here.

    Returns:
        The SHA-256 over tensors and card, as 64 lower-case hexadecimal digits.
    """
    return write_sealed(path, state, _nulled({**info, "format": "striate", "format_version": FORMAT_VERSION}))


def read_bundle(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Card and tensors of a model. Raises as :func:`read_info` does."""
    info, tensors = read_sealed(path)
    return _checked_card(Path(path), info), tensors


def read_info(path: str | Path) -> dict[str, Any]:
    """The card of a model, its digest checked first. Imports no torch.

    Raises:
        UsageError: there is no such file.
        Refused: it is not a model of ours, or not as it was written.
    """
    return _checked_card(Path(path), read_values(path))


def read_arrays(path: str | Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Card and tensors of a model as NumPy arrays, without torch; bfloat16 comes widened to float32, which is exact.

    Raises as :func:`read_info` does.
    """
    info, arrays = read_sealed_arrays(path)
    return _checked_card(Path(path), info), arrays


def _nulled(value: Any) -> Any:
    """The same value with null for every number that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: _nulled(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nulled(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _checked_card(path: Path, info: dict[str, Any]) -> dict[str, Any]:
    if info.get("format") != "striate" or type(info.get("format_version")) is not int:
        raise Refused("Not a model: a file of a run's state", where=path, fix=f"name the run folder or its {MODEL_FILE}")
    if info["format_version"] > FORMAT_VERSION:
        raise Refused(
            f"Written by a newer striate ({info.get('striate', 'unknown')}, format {info['format_version']})",
            where=path,
            why=f"this version reads formats up to {FORMAT_VERSION}",
            fix="upgrade striate",
        )
    return info
