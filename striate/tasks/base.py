"""The contracts between the training loop, what is learnt and what is seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

Batch = dict[str, Any]
"""What a loader yields and a task reads.

Keys: ``image`` (uint8 [N, C, H, W] from the loader, normalised float for a task), ``index`` [N] int64, ``label`` [N]
int64 (or [N, K] float: soft, multi-label; or [N] float: regression), ``mask`` [N, H, W] int64 with 255 = ignore,
``boxes`` list of [M, 4] xyxy pixels, ``box_label`` list of [M] int64; others only by the task that reads them.
"""


@dataclass(frozen=True)
class Player:
    """One of the sides that take turns within a training step: its parameters, turns and optimizer.

    Attributes:
        parameters: what its turns train; everything else is frozen meanwhile.
        steps: turns it takes in each step.
        optimizer: fields of :class:`striate.recipe.Optimizer` that differ from the recipe's (``{"lr": 1e-4}``).
    """

    parameters: tuple[nn.Parameter, ...]
    steps: int = 1
    optimizer: Mapping[str, Any] | None = None


class Meter(Protocol):
    """Collects predictions over an epoch and turns them into figures."""

    def update(self, prediction: Any, batch: Batch) -> None:
        """Adds one batch: what ``Task.decode`` returned, and the batch with NumPy arrays for its targets."""

    def compute(self) -> dict[str, float]:
        """Figures over everything seen so far, e.g. ``{"accuracy": 0.93}``."""


class BatchSource(Protocol):
    """What ``fit`` reads: batches of the training and validation splits, never of the held-out one."""

    @property
    def preprocess(self) -> Any:
        """What ``normalize`` is called on; None: the images are taken as they are."""

    @property
    def steps(self) -> int:
        """Batches of a training epoch."""

    def train(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Batches of an epoch (counted from 0), from ``start_step`` on; a function of the seed and the epoch."""

    def validation(self) -> Iterator[Batch]:
        """Batches of the validation split; none where there is no such split."""

    def state_dict(self) -> dict[str, Any]:
        """What must match for a resume to be exact."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ``Refused`` where the data are not those of :meth:`state_dict`."""


class Task(ABC):
    """What is learnt: how to score a batch, read raw outputs and measure them. A frozen dataclass with few methods.

    It never owns the optimizer, the device, the average of weights or checkpoints.

    Attributes:
        monitor: the figure of ``meter().compute()`` (or ``loss``) that chooses the best checkpoint.
        monitor_mode: ``max`` or ``min``.
        pairs: the loss compares samples of a batch with one another, so a micro-batch would change it.
    """

    monitor: str = "loss"
    monitor_mode: str = "min"
    pairs: bool = False

    def players(self, model: nn.Module) -> dict[str, Player]:
        """The sides that train, in order. Default: one, with every parameter that requires a gradient."""
        return {"model": Player(tuple(p for p in model.parameters() if p.requires_grad))}

    @abstractmethod
    def losses(self, model: nn.Module, batch: Batch, player: str) -> dict[str, Tensor]:
        """Scalars, already weighted: their sum is minimised, each is logged. Works in train and eval mode."""

    @abstractmethod
    def forward(self, model: nn.Module, batch: Batch) -> Any:
        """Raw outputs, as torch tensors (one, or a list or dict of them), batch first."""

    def validation_losses(self, model: nn.Module, batch: Batch, raw: Any) -> dict[str, Tensor]:
        """Losses of a validation batch whose raw outputs are known. Default: those of the first player."""
        return self.losses(model, batch, next(iter(self.players(model))))

    @abstractmethod
    def decode(self, raw: Any) -> Any:
        """Raw outputs as NumPy arrays -> predictions (classes, boxes, masks, words). Uses no torch."""

    @abstractmethod
    def meter(self) -> Meter:
        """A fresh meter."""

    def concern(self, figures: Mapping[str, float]) -> str | None:
        """A sentence for the user where the last validation shows a training that went wrong; None: none is known."""
        return None
