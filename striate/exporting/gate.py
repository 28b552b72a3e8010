"""The gate: what an artefact does, held against the model it came from, by measured quantities alone.

Two comparisons, of what is on disk. The tensor graph against the model, on labelled images: logits and classes (fp32), classes
(bf16), accuracy on the same images (int8). The image graph against the tensor graph fed by the host's own preprocessing: its
pixels, its logits, its classes. Nothing is believed that the files say of themselves but the names of their classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from striate.backends.opening import NETWORKS, open_artefact
from striate.data.channels import to_channels
from striate.errors import Refused
from striate.evaluation import Evaluation, evaluate
from striate.exporting.conversion import Pair
from striate.exporting.images import LabelledImages
from striate.exporting.inner import inner_tensors
from striate.exporting.paired import images_needed, loss_upper_bound
from striate.prediction import Model, Network
from striate.progress import Progress, Silent
from striate.tasks.decoding import Decoder

Status = Literal["passed", "rejected", "undecided"]
Raw = NDArray[np.float32]

LOGITS = 1e-4
"""fp32: most that a logit may differ, of the largest one."""
AGREEMENT = 0.99
"""bf16: least share of images with the same class."""
LOSS, LOSS_BOUND = 0.01, 0.02
"""int8: most accuracy that may be lost, and the most that its upper 95 % bound may be."""
LEVELS, PIXELS, PIXELS_OF_ONE = 1, 0.001, 0.01
"""Pixels: levels apart, share of them on average, share of any one picture."""
WHOLE_LOGITS, WHOLE_AGREEMENT = 1e-2, 0.995
"""Image graph: most that a logit may differ, of the largest one; least share of pictures with the same class."""
VALUE = 0.05
"""Two predictions of a number agree within this many standard deviations of the training targets."""

TENSORS = {"fp32": 500, "bf16": 2000}
"""Images that the tensor graph is judged by, at most; int8: all there are."""
PICTURES = 200
"""Pictures that the image graph is judged by, at most."""


@dataclass(frozen=True)
class Check:
    """One quantity that was measured.

    Attributes:
        name, measured, bound: as they are printed.
        passed: None: too few images to say.
    """

    name: str
    measured: str
    bound: str
    passed: bool | None


@dataclass(frozen=True)
class Verdict:
    """What the gate found.

    Attributes:
        checks: each quantity.
        before, after: scores of the model and of the tensor graph on the same images.
        how: which images.
        needed: how many images would decide, where these are too few and that is known.
    """

    checks: tuple[Check, ...]
    before: Evaluation
    after: Evaluation
    how: str
    needed: int | None = None

    @property
    def status(self) -> Status:
        """``rejected`` where any check failed, else ``undecided`` where any could not be decided."""
        outcomes = [check.passed for check in self.checks]
        return "rejected" if False in outcomes else "undecided" if None in outcomes else "passed"


def judge(
    model: Model, pair: Pair, images: LabelledImages, precision: str, progress: Progress | None = None, batch: int = 32
) -> Verdict:
    """Measures both files of an artefact.

    Args:
        model: what it was made from.
        pair: its files.
        images: labelled, best ones that the model was not trained on.
        precision: ``fp32``, ``bf16`` or ``int8``: what is demanded.
        progress: told how many images are done.
        batch: images at once.

    Raises:
        Refused: a file is damaged or cannot be run; the data are for another model.
    """
    progress = progress or Silent()
    network, card = open_artefact(pair.tensor)
    chosen = images.spread(TENSORS[precision]) if precision in TENSORS else images
    before, own = scored(model, model.raw, chosen, progress, batch)
    after, exported = scored(model, network, chosen, progress, batch)
    checks = [
        *_arithmetic(network, precision),
        _names(model, card, "tensor"),
        *_tensor_checks(model.decoder, precision, own, exported, before, after),
    ]
    needed = None
    if precision == "int8" and before.correct is not None:
        paired, needed = _paired(before, after)
        checks += paired
    checks += _picture_checks(model, pair, network, images.spread(PICTURES), precision, progress)
    return Verdict(tuple(checks), before, after, chosen.how, needed)


def scored(model: Model, network: Network, images: LabelledImages, progress: Progress, batch: int = 32) -> tuple[Evaluation, Raw]:
    """The scores of a network that is read as ``model`` is, and its raw outputs [N, K] on the same images."""
    rows: list[Raw] = []

    def recording(tensors: NDArray[np.uint8]) -> Raw:
        rows.append(network(tensors))
        return rows[-1]

    reader = Model(recording, model.info)
    evaluation = evaluate(reader, images.source, indices=images.index, split="gate", batch=batch, progress=progress)
    return evaluation, np.concatenate(rows)


def _arithmetic(network: Network, precision: str) -> list[Check]:
    """That a bf16 artefact is computed in bf16 here: where the processor cannot, OpenVINO quietly takes float32."""
    used = getattr(network, "arithmetic", None)
    if precision != "bf16" or used is None:
        return []
    return [Check("arithmetic of this processor", used, "bf16", True if used == "bf16" else None)]


def _names(model: Model, card: dict[str, Any], form: str) -> Check:
    """That the file says of its outputs, and of the pixels it wants, what the model does."""
    wanted = {name: model.info.get(name) for name in ("classes", "task", "preprocess")}
    differing = [name for name, value in wanted.items() if value != card.get(name)]
    return Check(f"{form} graph: class names", f"other {', '.join(differing)}" if differing else "equal", "equal", not differing)


def _tensor_checks(
    decoder: Decoder, precision: str, own: Raw, exported: Raw, before: Evaluation, after: Evaluation
) -> list[Check]:
    apart = relative_difference(own, exported)
    same, ties = agreement(decoder, own, exported, LOGITS if precision == "fp32" else 0.0)
    told = f"{same} of {len(own)}" + (f", {ties} of them tied within rounding" if ties else "")
    if precision == "fp32":
        return [
            Check("logits against the model", f"{apart:.1e} of the largest", f"at most {LOGITS:.0e}", apart <= LOGITS),
            Check("classes against the model", told, "all", same == len(own)),
        ]
    if precision == "bf16":
        return [Check("classes against the model", told, f"at least {AGREEMENT:.0%}", same >= AGREEMENT * len(own))]
    if before.mae is not None and after.mae is not None:
        more = (after.mae - before.mae) / decoder.target_std
        bound = f"at most {VALUE:g}"
        return [Check("mean error added, in deviations of the targets", f"{more:.4f}", bound, more <= VALUE)]
    return []


def _paired(before: Evaluation, after: Evaluation) -> tuple[list[Check], int | None]:
    """Of the accuracy on the same images."""
    assert before.correct is not None
    assert after.correct is not None
    lost, gained = int((before.correct & ~after.correct).sum()), int((~before.correct & after.correct).sum())
    n, loss = before.n, (lost - gained) / before.n
    bound = loss_upper_bound(lost, gained, n)
    decidable = loss_upper_bound(0, 0, n) <= LOSS_BOUND  # had nothing changed, would so many images have shown it?
    certain = -loss_upper_bound(gained, lost, n) > LOSS
    outcomes = (
        True if loss <= LOSS else False if decidable or certain else None,
        True if bound <= LOSS_BOUND else None,
    )
    needed = None
    if None in outcomes and False not in outcomes:
        needed = images_needed(lost, gained, n, LOSS_BOUND) or images_needed(0, 0, n, LOSS_BOUND)
    told = (f"{100 * loss:.2f} points ({lost} lost, {gained} gained of {n:,})", f"{100 * bound:.2f} points")
    names = ("accuracy lost on the same images", "its one-sided upper 95 % bound (exact, paired)")
    bounds = (f"at most {100 * LOSS:.1f}", f"at most {100 * LOSS_BOUND:.1f}")
    return [Check(*row) for row in zip(names, told, bounds, outcomes, strict=True)], needed


def _picture_checks(
    model: Model, pair: Pair, network: Network, images: LabelledImages, precision: str, progress: Progress
) -> Iterable[Check]:
    whole = NETWORKS[pair.images.suffix](pair.images)
    pixels = inner_tensors(pair.images, ["pixels"], precision)
    levels: list[int] = []
    shares: list[float] = []
    figures: list[float] = []
    expected: list[Raw] = []
    found: list[Raw] = []
    for done, picture in enumerate(images.pictures(model), 1):
        host = model.preprocess.pixels(to_channels(picture, model.preprocess.channels)).transpose(2, 0, 1)[None]
        (graph,) = pixels(picture[None])
        apart = np.abs(graph.astype(np.int64) - host) if graph.shape == host.shape else np.full(host.shape, 255)
        levels.append(int(apart.max()))
        shares.append(float((apart > 0).mean()))
        expected.append(network(host))
        answers = whole.outputs(picture[None])
        found.append(answers["logits"])
        said, decoded = answers["probabilities"].reshape(-1), model.decoder.scores(found[-1]).reshape(-1)
        figures.append(float(np.abs(said - decoded).max() / max(1.0, np.abs(decoded).max())))
        progress.stage("whole pictures", done, len(images.index))
    if not shares:
        raise Refused("No picture to judge the image graph by could be read", where=images.source.location)
    own, exported = np.concatenate(expected), np.concatenate(found)
    apart_logits = relative_difference(own, exported)
    same, _ = agreement(model.decoder, own, exported, 0.0)
    yield _names(model, whole.card, "image")
    yield Check("pixels: levels apart", f"{max(levels)}", f"at most {LEVELS}", max(levels) <= LEVELS)
    mean, worst = sum(shares) / len(shares), max(shares)
    yield Check("pixels: share, on average", f"{mean:.3%}", f"at most {PIXELS:.1%}", mean <= PIXELS)
    yield Check("pixels: share, of any picture", f"{worst:.3%}", f"at most {PIXELS_OF_ONE:.0%}", worst <= PIXELS_OF_ONE)
    yield Check(
        "image graph: logits", f"{apart_logits:.1e} of the largest", f"at most {WHOLE_LOGITS:.0e}", apart_logits <= WHOLE_LOGITS
    )
    told = f"{same} of {len(own)}"
    yield Check("image graph: classes", told, f"at least {WHOLE_AGREEMENT:.1%}", same >= WHOLE_AGREEMENT * len(own))
    off = float(np.max(figures))  # NaN, where there is one
    yield Check("image graph: probabilities", f"{off:.1e} from its logits'", f"at most {LOGITS:.0e}", off <= LOGITS)


def relative_difference(own: Raw, exported: Raw) -> float:
    """max|a - b| / max|a| over all outputs; infinite where they are not finite, or not of one shape."""
    if own.shape != exported.shape or not np.isfinite(own).all() or not np.isfinite(exported).all():
        return float("inf")
    largest = float(np.abs(own).max())
    apart = float(np.abs(own.astype(np.float64) - exported).max())
    return apart / largest if largest else (0.0 if apart == 0 else float("inf"))


def agreement(decoder: Decoder, own: Raw, exported: Raw, rounding: float) -> tuple[int, int]:
    """Images with the same answer, and how many of these only by a tie.

    A tie: in ``own`` the two answers are no further apart than two logits that are each off by ``rounding`` times the largest.
    """
    if own.shape != exported.shape:
        return 0, 0
    slack = 2 * rounding * float(np.abs(own).max())
    if decoder.kind == "value":
        return int((np.abs(own - exported) <= VALUE).all(1).sum()), 0
    if decoder.kind == "label":
        rows = np.arange(len(own))
        same = own.argmax(1) == exported.argmax(1)
        near = own.max(1) - own[rows, exported.argmax(1)] <= slack
    else:
        edge = float(np.log(decoder.threshold / (1 - decoder.threshold))) if 0 < decoder.threshold < 1 else 0.0
        differs = (own >= edge) != (exported >= edge)
        same = ~differs.any(1)
        near = (~differs | (np.abs(own - edge) <= slack)).all(1)
    tied = ~same & near & (slack > 0)
    return int((same | tied).sum()), int(tied.sum())
