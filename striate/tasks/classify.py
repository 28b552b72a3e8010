"""Classification into one class or several an image, and regression of one number an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from striate import losses, metrics
from striate.errors import UsageError
from striate.models.variant import Network
from striate.tasks.base import Batch, Meter, Task
from striate.tasks.decoding import THRESHOLD, Decoder, Floats, Kind

_LOSSES = {
    ("label", "cross_entropy"): losses.cross_entropy,
    ("label", "mse"): losses.squared_error,
    ("labels", "cross_entropy"): losses.binary_cross_entropy,
    ("labels", "mse"): losses.binary_squared_error,
}
_LOSS_NAMES = ("auto", "cross_entropy", "mse")
_MONITORS = {"label": ("accuracy", "max"), "labels": ("mean_average_precision", "max"), "value": ("mae", "min")}


@dataclass(frozen=True)
class Classify(Task):
    """What an image shows: one class (``label``), any number of classes (``labels``), or a number (``value``).

    The model returns [N, K] logits, or [N, 1] for ``value``.

    Attributes:
        classes: names in the order of the outputs; empty for ``value``.
        kind: see above.
        loss: ``auto``: cross-entropy over softmax, over sigmoids, or squared error; ``cross_entropy``; ``mse``: the lecture's
            sum of ½ (target - probability)². For ``value`` always the squared error of standardised numbers.
        label_smoothing: share of the target spread over all classes (``labels``: moved to undecided), 0 to below 1.
        class_weights: one a class, see :func:`striate.losses.balanced_weights`.
        target_mean, target_std: of the training targets of ``value``; the network predicts (target - mean) / std.
        threshold: probability from which ``labels`` counts a class as present, between 0 and 1.
        monitor, monitor_mode: what chooses the best checkpoint: accuracy, mean average precision, or mean absolute error.
    """

    classes: tuple[str, ...] = ()
    kind: Kind = "label"
    loss: Literal["auto", "cross_entropy", "mse"] = "auto"
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    target_mean: float = 0.0
    target_std: float = 1.0
    threshold: float = THRESHOLD
    monitor: str = field(init=False, repr=False)
    monitor_mode: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in _MONITORS:
            raise UsageError(f"Unknown kind of target {self.kind!r}", where="kind", fix=f"Use {', '.join(_MONITORS)}")
        for wrong, what, where, fix in self._number_mistakes() if self.kind == "value" else self._class_mistakes():
            if wrong:
                raise UsageError(what, where=where, fix=fix)
        object.__setattr__(self, "monitor", _MONITORS[self.kind][0])
        object.__setattr__(self, "monitor_mode", _MONITORS[self.kind][1])

    def _number_mistakes(self) -> list[tuple[bool, str, str, str]]:
        spread = f"The targets' standard deviation is {self.target_std}"
        return [
            (bool(self.classes), "Numbers have no classes", "classes", "Leave classes out"),
            (self.class_weights is not None, "Numbers have no class weights", "class_weights", "Leave class_weights out"),
            (self.label_smoothing != 0, "Numbers cannot be smoothed over classes", "label_smoothing", "Set it to 0"),
            (self.loss not in ("auto", "mse"), f"Loss {self.loss!r} does not compare numbers", "loss", "Use auto or mse"),
            (not self.target_std > 0, spread, "target_std", "Give targets that differ from one another"),
        ]

    def _class_mistakes(self) -> list[tuple[bool, str, str, str]]:
        least, given = 2 if self.kind == "label" else 1, len(self.classes)
        num_weights = given if self.class_weights is None else len(self.class_weights)
        smoothing = f"label_smoothing is {self.label_smoothing}"
        return [
            (given < least, f"{given} classes leave nothing to tell apart", "classes", f"Give at least {least}"),
            (num_weights != given, f"{num_weights} class weights for {given} classes", "class_weights", "Give one a class"),
            (not 0 <= self.label_smoothing < 1, smoothing, "label_smoothing", "Use a share from 0 to below 1"),
            (not 0 < self.threshold < 1, f"threshold is {self.threshold}", "threshold", "Use a probability between 0 and 1"),
            (self.loss not in _LOSS_NAMES, f"Unknown loss {self.loss!r}", "loss", f"Use {', '.join(_LOSS_NAMES)}"),
        ]

    @property
    def num_outputs(self) -> int:
        """Width of the model's last layer."""
        return len(self.classes) or 1

    @property
    def decoder(self) -> Decoder:
        """Reads the raw outputs without torch."""
        return Decoder(self.kind, self.classes, self.target_mean, self.target_std, self.threshold)

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits [N, K], or standardised numbers [N, 1]."""
        return self._checked(model, batch, model(batch["image"]))

    def _checked(self, model: nn.Module, batch: Batch, raw: Tensor) -> Tensor:
        if raw.shape[1:] != (self.num_outputs,):
            raise UsageError(
                f"The model returns {list(raw.shape)}, but this task needs [{len(batch['image'])}, {self.num_outputs}]",
                where=type(model).__name__,
                fix=f"Build it with num_classes={self.num_outputs}",
            )
        return raw

    def losses(self, model: nn.Module, batch: Batch, player: str) -> dict[str, Tensor]:
        """The mean over the batch; of a network in training with auxiliary classifiers, beside it their weighted sum."""
        if not (model.training and isinstance(model, Network) and model.aux_head_paths):
            return self.validation_losses(model, batch, self.forward(model, batch))
        raw, auxiliary = model.forward_with_aux(batch["image"])
        (name, loss), *_ = self.validation_losses(model, batch, self._checked(model, batch, raw)).items()
        besides = torch.stack([self.validation_losses(model, batch, each)[name] for each in auxiliary])
        return {name: loss, "auxiliary": model.aux_weight * besides.sum()}

    def validation_losses(self, model: nn.Module, batch: Batch, raw: Any) -> dict[str, Tensor]:
        """The training loss itself, smoothing and weights included, so that the two curves compare."""
        if self.kind == "value":
            return {"squared_error": losses.standardised_squared_error(raw, batch["label"], self.target_mean, self.target_std)}
        name = "cross_entropy" if self.loss == "auto" else self.loss
        weights = None if self.class_weights is None else torch.tensor(self.class_weights, device=raw.device)
        return {name: _LOSSES[self.kind, name](raw, batch["label"], self.label_smoothing, weights)}

    def decode(self, raw: Any) -> Floats:
        """Raw outputs [N, K] -> probabilities [N, K], or numbers [N] in the units of the training data."""
        return self.decoder.scores(raw)

    def meter(self) -> Meter:
        """Accuracy and top-5, mean average precision, or mean absolute error and R²."""
        if self.kind == "labels":
            return _LabelsMeter(self.threshold)
        return _LabelMeter() if self.kind == "label" else _ValueMeter()

    def to_json(self) -> dict[str, Any]:
        """The ``task`` entry of a bundle or run; the classes have an entry of their own there."""
        fields = dataclasses.asdict(self)
        for elsewhere in ("classes", "monitor", "monitor_mode"):
            del fields[elsewhere]
        return {"name": "classify"} | fields

    @classmethod
    def from_json(cls, task: Mapping[str, Any], classes: Sequence[str]) -> Classify:
        """Reads what :meth:`to_json` wrote."""
        weights = task["class_weights"]
        fields = {name: task[name] for name in ("kind", "loss", "label_smoothing", "target_mean", "target_std", "threshold")}
        return cls(tuple(classes), class_weights=None if weights is None else tuple(weights), **fields)


class _LabelMeter:
    """Keeps two bytes a sample, not its K probabilities: an epoch of ImageNet validation fits anywhere."""

    def __init__(self) -> None:
        self.num_classes = 0
        self.first: list[metrics.Array] = []
        self.fifth: list[metrics.Array] = []

    def update(self, prediction: Floats, batch: Batch) -> None:
        targets = np.asarray(batch["label"])
        targets = targets.argmax(axis=1) if targets.ndim == 2 else targets
        self.num_classes = prediction.shape[1]
        self.first.append(metrics.top_k_hits(targets, prediction, 1))
        self.fifth.append(metrics.top_k_hits(targets, prediction, 5))

    def compute(self) -> dict[str, float]:
        figures = {"accuracy": self.first} | ({"top5": self.fifth} if self.num_classes > 5 else {})
        return {name: float(np.concatenate(hits).mean()) for name, hits in figures.items()}


class _Collector:
    """Keeps predictions and targets of an epoch."""

    def __init__(self) -> None:
        self.predictions: list[Floats] = []
        self.targets: list[Floats] = []

    def update(self, prediction: Floats, batch: Batch) -> None:
        self.predictions.append(prediction)
        self.targets.append(np.asarray(batch["label"]))

    def collected(self) -> tuple[Floats, Floats]:
        return np.concatenate(self.targets), np.concatenate(self.predictions)


class _LabelsMeter(_Collector):
    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def compute(self) -> dict[str, float]:
        targets, probabilities = self.collected()
        exact = ((probabilities >= self.threshold) == (targets > 0.5)).all(axis=1)
        return {
            "mean_average_precision": metrics.mean_average_precision(targets, probabilities),
            "exact_match": float(exact.mean()),
        }


class _ValueMeter(_Collector):
    def compute(self) -> dict[str, float]:
        targets, values = self.collected()
        return {"mae": metrics.mean_absolute_error(targets, values), "r2": metrics.r2(targets, values)}
