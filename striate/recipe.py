"""What a training run does, with every default visible: a frozen record, changed only by ``dataclasses.replace``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from striate.data.augment import Augment
from striate.errors import UsageError


@dataclass(frozen=True)
class Optimizer:
    """How gradients become steps.

    Attributes:
        name: ``adamw``, ``sgd`` or ``rmsprop``.
        lr: peak learning rate; the schedule multiplies it.
        momentum: of SGD and RMSprop.
        nesterov: of SGD; needs momentum above 0.
        betas: of AdamW.
        smoothing: of RMSprop: what its mean of squared gradients keeps of the last one, 0 to below 1.
        eps: of AdamW and RMSprop.
        weight_decay: decoupled for AdamW, L2 for SGD and RMSprop.
        decay_norms_and_biases: also decay parameters of one dimension or none.
    """

    name: Literal["adamw", "sgd", "rmsprop"] = "adamw"
    lr: float = 1e-3
    momentum: float = 0.9
    nesterov: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    smoothing: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.01
    decay_norms_and_biases: bool = False


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a run, as a multiple of ``optimizer.lr``.

    Attributes:
        name: ``constant``, ``step``, ``linear``, ``cosine``, ``one_cycle`` or ``plateau``.
        warmup: share of the run in which the rate rises linearly from nearly 0 (for ``one_cycle``: to its peak).
        milestones: shares of the run at which ``step`` multiplies by ``gamma``.
        gamma: factor of ``step`` and ``plateau``.
        patience: epochs without a better validation figure before ``plateau`` multiplies.
        final: multiple of the peak rate at the end of ``linear``, ``cosine`` and ``one_cycle``, and the floor of ``plateau``.
    """

    name: Literal["constant", "step", "linear", "cosine", "one_cycle", "plateau"] = "one_cycle"
    warmup: float = 0.25
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    patience: int = 5
    final: float = 1e-3

    def __post_init__(self) -> None:
        for name, value in (("warmup", self.warmup), ("final", self.final), *(("milestones", each) for each in self.milestones)):
            if not 0 <= value <= 1:
                raise UsageError(f"{name} is {value}", where=f"schedule.{name}", fix="use a share from 0 to 1")
        if self.gamma <= 0:
            raise UsageError(f"gamma is {self.gamma}", where="schedule.gamma", fix="use a factor above 0")
        if self.patience < 0:
            raise UsageError(f"patience is {self.patience}", where="schedule.patience", fix="use a number of epochs from 0 on")


@dataclass(frozen=True)
class FineTune:
    """How a network that has learnt before goes on learning. By default: all of it, at one rate.

    Attributes:
        freeze: what does not learn: everything up to a stage (``stem``, ``1``, ``2``...) or the path of a module, included, or
            ``early``: stage 2, or half of a network without named stages; None: nothing.
        unfreeze_every: epochs after which the deepest part still frozen learns too, and again after as many (gradual
            unfreezing: J. Howard, S. Ruder 2018, arXiv:1801.06146); 0: what is frozen stays so.
        rate_decay: multiple of the learning rate from one stage to the one before it (discriminative rates, the same paper,
            which takes 1 / 2.6); 1: one rate for all.
        l2_sp: pull towards the starting weights of all but the head (X. Li et al. 2018, arXiv:1802.01483); 0: none.
    """

    freeze: str | None = None
    unfreeze_every: int = 0
    rate_decay: float = 1.0
    l2_sp: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.rate_decay <= 1:
            raise UsageError(
                f"rate_decay is {self.rate_decay}", where="fine_tune.rate_decay", fix="use a factor above 0, at most 1"
            )
        for name in ("unfreeze_every", "l2_sp"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}", where=f"fine_tune.{name}", fix="use a number from 0 on")
        if self.unfreeze_every and self.freeze is None:
            raise UsageError(
                "nothing is frozen that could be unfrozen", where="fine_tune.unfreeze_every", fix="give fine_tune.freeze"
            )


@dataclass(frozen=True)
class Embedding:
    """Metric learning: how distances are learnt where ``Recipe.loss`` compares images with one another.

    Attributes:
        dimension: of the projection that stands in the head's place meanwhile.
        temperature: of ``supervised_contrastive``: the lower, the more the nearest neighbours count.
        margin: of ``triplet``, on distances 0 to 2; None: the soft margin.
        images_per_class: in a batch, which holds as many classes as it has room for.
    """

    dimension: int = 128
    temperature: float = 0.1
    margin: float | None = None
    images_per_class: int = 8


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run but the data and the network.

    Attributes:
        name: of the function that returned it.
        epochs: passes over the training split.
        batch: images an optimizer step (the effective batch, whatever the micro-batch).
        seed: of initialisation, order, augmentation and dropout.
        size: side of the square training image in pixels; None: the network's own.
        channels: of the image the network sees; None: the network's own (for arrays: the data's).
        optimizer, schedule, augment, fine_tune, embedding: see there.
        loss: ``auto`` (cross-entropy for one label, binary cross-entropy for several, squared error for numbers),
            ``cross_entropy`` or ``mse``; or, to learn distances and then solve the head, ``supervised_contrastive`` or
            ``triplet``.
        label_smoothing: share of the target spread over all classes.
        balance: uneven classes: ``auto`` (``loss`` when the largest has over 3 times the smallest), ``loss``,
            ``sampler`` or ``none``.
        ema: decay a step of the average of weights that is validated and kept, where a run is long enough for it
            (:func:`average_over`); None: the weights themselves.
        clip: largest gradient norm; None: no limit.
        accumulate: micro-batches an optimizer step.
        precision: ``fp32``, ``bf16`` or ``auto`` (the probe decides).
        memory_format: ``channels_last``, ``contiguous`` or ``auto`` (the probe decides).
        probe: whether a short timed probe may choose what is ``auto``; without it: fp32 and contiguous.
        validation: share of the training split that is cut off for validation where none is given.
        validate_every: epochs between validations; the last epoch always is.
        validate_start: whether the weights that training starts from are validated too, and kept where nothing later is better.
        checkpoint_seconds: seconds between checkpoints within an epoch; the end of an epoch of a second or more writes one too.
        bad_files: largest share of unreadable files in any class before training refuses.
        nonfinite_limit: consecutive steps with a non-finite loss or gradient before the run stops.
    """

    name: str = "fast"
    epochs: int = 10
    batch: int = 128
    seed: int = 0
    size: int | None = None
    channels: int | None = None
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    augment: Augment = field(default_factory=Augment)
    fine_tune: FineTune = field(default_factory=FineTune)
    embedding: Embedding = field(default_factory=Embedding)
    loss: Literal["auto", "cross_entropy", "mse", "supervised_contrastive", "triplet"] = "auto"
    label_smoothing: float = 0.0
    balance: Literal["auto", "loss", "sampler", "none"] = "auto"
    ema: float | None = None
    clip: float | None = None
    accumulate: int = 1
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    memory_format: Literal["auto", "channels_last", "contiguous"] = "auto"
    probe: bool = True
    validation: float = 0.1
    validate_every: int = 1
    validate_start: bool = False
    checkpoint_seconds: float = 60.0
    bad_files: float = 0.01
    nonfinite_limit: int = 10

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "accumulate", "validate_every", "nonfinite_limit"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", where=f"recipe.{name}", fix="use a whole number from 1 on")
        for name in ("size", "channels"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UsageError(
                    f"{name} is {getattr(self, name)}", where=f"recipe.{name}", fix="use a whole number from 1 on, or none"
                )
        if not 0 < self.validation < 1:
            raise UsageError(f"validation is {self.validation}", where="recipe.validation", fix="use a share between 0 and 1")
        if self.ema is not None and not 0 < self.ema < 1:
            raise UsageError(f"ema is {self.ema}", where="recipe.ema", fix="use a share above 0 and below 1, or none")
        if not 0 <= self.label_smoothing < 1:
            raise UsageError(
                f"label_smoothing is {self.label_smoothing}", where="recipe.label_smoothing", fix="use a share from 0 on, below 1"
            )
        if not 0 <= self.bad_files <= 1:
            raise UsageError(f"bad_files is {self.bad_files}", where="recipe.bad_files", fix="use a share from 0 to 1")
        if self.clip is not None and self.clip <= 0:
            raise UsageError(f"clip is {self.clip}", where="recipe.clip", fix="use a gradient norm above 0, or none")
        if self.optimizer.lr <= 0:
            raise UsageError(f"the learning rate is {self.optimizer.lr}", where="optimizer.lr", fix="use a number above 0")


def average_over(decay: float | None, steps: int) -> float | None:
    """The decay of the average of weights in a run of so many steps: its span, 1 / (1 - decay), is a twentieth at most.

    A longer one still holds, at the end, what the network was while its rate was high.
    """
    return None if decay is None else min(decay, round(max(0.5, 1 - 20 / max(1, steps)), 6))


@dataclass(frozen=True)
class Resolved:
    """What was measured or chosen once, at a run's start; read, never measured again, on resume.

    Attributes:
        device: ``cpu`` or ``cuda``.
        precision: ``fp32`` or ``bf16`` (autocast).
        memory_format: ``contiguous`` or ``channels_last``.
        micro_batch: images that go through the network at once; batch norm sees these.
        epochs: as in the recipe, or what fits the budget.
        threads: of the CPU operators.
        balance: ``loss``, ``sampler`` or ``none``.
        tuned_allocator: whether freed memory stays with the process.
        step_seconds: of one timed step, or None where nothing was timed.
        notes: one sentence for each choice that a user may want to know the reason of.
    """

    device: str = "cpu"
    precision: str = "fp32"
    memory_format: str = "contiguous"
    micro_batch: int = 1 << 30
    epochs: int = 0
    threads: int = 0
    balance: str = "none"
    tuned_allocator: bool = False
    step_seconds: float | None = None
    notes: tuple[str, ...] = ()


def resolve_plainly(recipe: Recipe, device: str = "cpu") -> Resolved:
    """The choices for a run without a probe: fp32 and contiguous where the recipe says ``auto``."""
    return Resolved(
        device=device,
        precision="fp32" if recipe.precision == "auto" else recipe.precision,
        memory_format="contiguous" if recipe.memory_format == "auto" else recipe.memory_format,
        micro_batch=-(-recipe.batch // recipe.accumulate),
        epochs=recipe.epochs,
        balance="none" if recipe.balance == "auto" else recipe.balance,
    )
