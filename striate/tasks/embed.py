"""Metric learning: the network puts images of one class near one another, so that distances also tell classes it never saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from striate import losses
from striate.errors import UsageError, nearest
from striate.retrieval_metrics import Array, Floats, retrieval_figures, unit_length
from striate.tasks.base import Batch, Meter, Task

LOSSES = ("supervised_contrastive", "triplet")
COLLAPSED = 0.01
"""Spread below which all images lie at one place, as the hardest triplets pull them (arXiv:1703.07737, section 3.1)."""
MOST_QUERIES = 5000
"""Validation images that are queries; each is compared with all of them."""


@dataclass(frozen=True)
class Embed(Task):
    """Where an image lies among others: [N, dimension] of length 1, compared by cosine.

    The model's last layer is the projection: ``dimension`` outputs in place of classes, from what ``embed`` returns. A batch
    holds several images of each of several classes: see :class:`striate.data.class_batches.ClassBatches`.

    Attributes:
        dimension: of the embedding.
        loss: ``supervised_contrastive`` (arXiv:2004.11362) or ``triplet`` (batch-hard, arXiv:1703.07737).
        temperature: of the contrastive loss, above 0: the lower, the more its nearest neighbours count.
        margin: of the triplet loss, above 0; None: the soft one.
        monitor: mean average precision of the validation images among themselves.
    """

    dimension: int = 128
    loss: Literal["supervised_contrastive", "triplet"] = "supervised_contrastive"
    temperature: float = 0.1
    margin: float | None = None
    monitor: str = field(default="mean_average_precision", init=False, repr=False)
    monitor_mode: str = field(default="max", init=False, repr=False)
    pairs: bool = field(default=True, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise UsageError(f"Unknown loss {self.loss!r}", where="loss", fix=nearest(self.loss, LOSSES))
        if self.dimension < 2:
            what = f"An embedding of {self.dimension} numbers has no directions"
            raise UsageError(what, where="dimension", fix="give at least 2")
        for name, value in (("temperature", self.temperature), ("margin", self.margin)):
            if value is not None and not value > 0:
                raise UsageError(f"{name} is {value}", where=name, fix="use a number above 0")

    @property
    def num_outputs(self) -> int:
        """Width of the model's last layer."""
        return self.dimension

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """Embeddings [N, dimension], not yet of length 1."""
        raw: Tensor = model(batch["image"])
        if raw.shape[1:] != (self.dimension,):
            raise UsageError(
                f"The model returns {list(raw.shape)}, but this task needs [{len(batch['image'])}, {self.dimension}]",
                where=type(model).__name__,
                fix=f"Build it with num_classes={self.dimension}",
            )
        return raw

    def losses(self, model: nn.Module, batch: Batch, player: str) -> dict[str, Tensor]:
        """The mean over the batch's anchors."""
        return self.validation_losses(model, batch, self.forward(model, batch))

    def validation_losses(self, model: nn.Module, batch: Batch, raw: Any) -> dict[str, Tensor]:
        """The training loss itself. It depends on how many classes a batch holds: compare validation with validation."""
        if self.loss == "triplet":
            return {"triplet": losses.batch_hard_triplet(raw, batch["label"], self.margin)}
        return {"supervised_contrastive": losses.supervised_contrastive(raw, batch["label"], self.temperature)}

    def decode(self, raw: Any) -> Floats:
        """Raw outputs [N, dimension] -> the same at length 1."""
        return unit_length(raw)

    def meter(self) -> Meter:
        """Recall at 1 and 5 and mAP, each image a query among all the others; and how far they are spread."""
        return _RetrievalMeter()

    def concern(self, figures: Mapping[str, float]) -> str | None:
        """Collapse: every image at nearly one place, which is where a triplet loss settles that finds no way to order them."""
        if figures.get("spread", 1.0) >= COLLAPSED:
            return None
        return (
            f"the embeddings have all but collapsed into one point (variance {figures['spread']:.1g}, at most 1). Train longer, "
            "lower the rate (--optimizer.lr), or take --loss supervised_contrastive"
        )

    def to_json(self) -> dict[str, Any]:
        """The ``task`` entry of a bundle or run."""
        fields = dataclasses.asdict(self)
        return {"name": "embed"} | {name: fields[name] for name in ("dimension", "loss", "temperature", "margin")}

    @classmethod
    def from_json(cls, task: Mapping[str, Any]) -> Embed:
        """Reads what :meth:`to_json` wrote."""
        return cls(task["dimension"], task["loss"], task["temperature"], task["margin"])


class _RetrievalMeter:
    def __init__(self) -> None:
        self.embeddings: list[Floats] = []
        self.labels: list[Array] = []

    def update(self, prediction: Floats, batch: Batch) -> None:
        self.embeddings.append(prediction)
        self.labels.append(np.asarray(batch["label"]))

    def compute(self) -> dict[str, float]:
        found = retrieval_figures(np.concatenate(self.embeddings), np.concatenate(self.labels), (1, 5), MOST_QUERIES)
        recalls = {f"recall_at_{k}": share for k, share in found.recall.items()}
        return recalls | {"mean_average_precision": found.mean_average_precision, "spread": spread(self.embeddings)}


def spread(embeddings: Iterable[Floats]) -> float:
    """1 - ||mean||² of vectors [N, D] of length 1: 0 where they are all one, near 1 where they point everywhere."""
    return 1.0 - float(np.square(np.concatenate(list(embeddings)).mean(axis=0, dtype=np.float64)).sum())
