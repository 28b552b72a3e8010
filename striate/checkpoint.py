"""The state of a run in one safetensors file: written beside and renamed, found again by its checksum, never a pickle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from striate.errors import Refused
from striate.sealed import read_sealed, write_sealed

KEPT = 2
"""Checkpoints that stay: the newest may be torn by a dying disk, the one before it is then taken."""


@dataclass
class Checkpoint:
    """Everything that a run needs to go on exactly.

    Attributes:
        tensors: flat names (``model/...``, ``average/...``, ``optimizer/PLAYER/INDEX/...``) -> tensors.
        state: what is not a tensor, as JSON: position, schedule, counters, sums of the epoch so far.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)

    def put(self, prefix: str, tensors: Mapping[str, Tensor]) -> None:
        """Adds tensors under ``prefix/``."""
        self.tensors.update({f"{prefix}/{name}": tensor for name, tensor in tensors.items()})

    def get(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under ``prefix/``."""
        start = prefix + "/"
        return {name[len(start) :]: tensor for name, tensor in self.tensors.items() if name.startswith(start)}

    def put_optimizer(self, name: str, optimizer: torch.optim.Optimizer) -> None:
        """Adds an optimizer's state; its settings come from the recipe again."""
        for index, entries in optimizer.state_dict()["state"].items():
            for key, value in entries.items():
                if value is not None:
                    self.tensors[f"optimizer/{name}/{index}/{key}"] = torch.as_tensor(value)

    def load_optimizer(self, name: str, optimizer: torch.optim.Optimizer) -> None:
        """Puts an optimizer's state back."""
        state: dict[int, dict[str, Tensor]] = {}
        for path, tensor in self.get(f"optimizer/{name}").items():
            index, key = path.split("/")
            state.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def write_checkpoint(folder: Path, checkpoint: Checkpoint, step: int) -> Path:
    """Writes ``step-NNNNNNNN.safetensors`` and removes all but the newest :data:`KEPT`."""
    path = folder / f"step-{step:08d}.safetensors"
    write_sealed(path, checkpoint.tensors, checkpoint.state)
    for old in list_checkpoints(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoint files, newest step first."""
    found = [
        (int(match[1]), path)
        for path in folder.glob("step-*.safetensors")
        if (match := re.fullmatch(r"step-(\d+)\.safetensors", path.name))
    ]
    return [path for _, path in sorted(found, reverse=True)]


def newest_checkpoint(folder: Path) -> tuple[Path, Checkpoint]:
    """The newest checkpoint whose checksum holds.

    Raises:
        Refused: when there is none, naming those that were damaged.
    """
    damaged = []
    for path in list_checkpoints(folder):
        try:
            state, tensors = read_sealed(path)
        except Refused as error:
            damaged.append(f"{path.name} ({error.what})")
            continue
        return path, Checkpoint(tensors, state)
    why = "damaged: " + "; ".join(damaged) if damaged else "the run was stopped before its first checkpoint"
    raise Refused("No checkpoint to resume from", where=folder, why=why, fix="start the run again with `striate train`")
