"""The run in one sentence, its headline figures, and what deserves a look first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from striate.data.findings import counted
from striate.report.findings import Diagnosis, Finding
from striate.report.run_folder import RunFolder
from striate.report.scores import ClassRow, Pair, Suspects
from striate.report.words import duration, interval, number, percent

UNSURE = 0.02
"""Gap of mean confidence and accuracy that is worth words."""
WIDE = 0.1
"""Width of the accuracy's interval that is worth words."""
WAITING = 0.4
"""Share of the training time spent waiting for images that is worth words."""


@dataclass(frozen=True)
class Figure:
    """A headline number with what it is and what to hold it against."""

    label: str
    value: str
    note: str = ""


def verdict(run: RunFolder, diagnosis: Diagnosis | None) -> str:
    """Score with its interval, what it is to be held against, and how the network fits."""
    return _score(run) + (f"; {diagnosis.clause}." if diagnosis else ".")


def _score(run: RunFolder) -> str:
    scores = run.evaluation
    if scores is None:
        return f"{counted(len(run.epochs), 'epoch')} trained, not scored yet"
    images = counted(scores["n"], f"{'validation' if flatters(run) else 'held-out'} image")
    if run.kind == "value":
        baseline = f"against {number(scores['baseline_mae'])} for always answering their mean"
        return f"Off by {number(scores['mae'])} on average over {images}, {baseline}"
    if run.kind == "labels":
        labels = f"{number(scores['mean_average_precision'])} over {counted(len(run.classes), 'label')}"
        return f"Mean average precision {labels} on {images}"
    baseline, bounds = scores["majority_baseline"], scores["interval"]
    said = f"{percent(scores['accuracy'])} of {images} named correctly ({interval(bounds)})"
    frequent = f"always answering the most frequent class ({percent(baseline)})"
    if bounds[0] <= baseline:
        return f"{said}: not shown to be better than {frequent}"
    return f"{said}, against {percent(baseline)} for always answering the most frequent class"


def flatters(run: RunFolder) -> bool:
    """Whether the images that were scored had chosen the weights."""
    return (run.evaluation or {}).get("split") == "validation"


def headline(run: RunFolder) -> list[Figure]:
    """The figures under the verdict, the most important first."""
    return (_figures(run) if run.evaluation else []) + _cost(run)


def _figures(run: RunFolder) -> list[Figure]:
    scores = run.evaluation or {}
    if run.kind == "value":
        baseline = f"mean absolute error; {number(scores['baseline_mae'])} by always answering the mean"
        return [
            Figure("Off by", number(scores["mae"]), baseline),
            Figure("R²", number(scores["r2"]), "1 is perfect, 0 as good as the mean"),
        ]
    if run.kind == "labels":
        baseline = f"of an image; {percent(scores['majority_baseline'])} by always giving the commonest set"
        return [
            Figure("Mean average precision", number(scores["mean_average_precision"]), "every label counts alike"),
            Figure("All labels right", percent(scores["accuracy"]), baseline),
        ]
    top5 = [Figure("Top 5", percent(scores["top5"]), "the true class among the five best")] if scores["top5"] is not None else []
    return [
        Figure("Accuracy", percent(scores["accuracy"]), interval(scores["interval"])),
        *top5,
        Figure("Macro F1", number(scores["macro_f1"]), "every class counts alike"),
        Figure("Calibration error", percent(scores["ece"]), "mean gap of sureness and accuracy"),
    ]


def _cost(run: RunFolder) -> list[Figure]:
    """What the network and its training took."""
    model, figures = run.info["model"], []
    if model.get("parameters"):
        height, width = model["input_size"]
        figures.append(Figure("Parameters", f"{model['parameters']:,}", f"{model['name']}, {height} × {width} pixels"))
    seconds = [e.seconds for e in run.epochs if e.seconds is not None]
    if seconds:
        rates = [e.images_per_second for e in run.epochs if e.images_per_second]
        speed = f", {np.median(rates):,.0f} images/s" if rates else ""
        figures.append(Figure("Training time", duration(sum(seconds)), counted(len(run.epochs), "epoch") + speed))
    return figures


def highlights(
    run: RunFolder,
    diagnosis: Diagnosis | None,
    rows: Sequence[ClassRow],
    pairs: Sequence[Pair],
    suspects: Suspects | None,
    shares: Sequence[tuple[str, float]],
) -> list[Finding]:
    """What to look at first. ``shares``: what training time went on, as shares of the whole."""
    advice = [Finding(diagnosis.advice, "warn", "curves")] if diagnosis and diagnosis.advice else []
    return [
        *_on_images(run),
        *advice,
        *_on_classes(rows),
        *_on_pairs(run, pairs),
        *_on_labels(suspects),
        *_on_sureness(run),
        *_on_time(dict(shares).get("input", 0.0)),
    ]


def _on_images(run: RunFolder) -> list[Finding]:
    """Images that are not fit for a score, could not be scored, or are too few."""
    scores, found = run.evaluation or {}, []
    if flatters(run):
        text = "No images were held out: those scored here also chose the weights, so the figures flatter."
        found.append(Finding(text, "warn", "data"))
    if scores.get("num_bad"):
        text = f"{counted(scores['num_bad'], 'image')} of the scored split could not be read, and are in no figure."
        found.append(Finding(text, "warn", "data"))
    if run.kind == "label" and scores:
        low, high = scores["interval"]
        if high - low > WIDE:
            few = f"{counted(scores['n'], 'image')} leave an interval of {100 * (high - low):.0f} points"
            found.append(Finding(f"{few}: smaller differences mean nothing here. Hold out more.", "warn", "data"))
    return found


def _on_classes(rows: Sequence[ClassRow]) -> list[Finding]:
    tried = [row for row in rows if row.support]
    if len(tried) < 2:
        return []
    never = [row for row in tried if not row.predicted]
    found = []
    if never:
        images = counted(sum(row.support for row in never), "image")
        found.append(
            Finding(f"Never predicted, for all their {images}: {_names([row.name for row in never])}.", "warn", "classes")
        )
    weakest = min((row for row in tried if row.predicted), key=lambda row: row.recall, default=None)
    if weakest is not None and weakest.recall < 1:
        share = (
            f"{percent(weakest.recall)} of its {counted(weakest.support, 'image')} found ({interval(weakest.recall_interval)})"
        )
        found.append(Finding(f"The weakest class is {weakest.name}: {share}.", "plain", "classes"))
    return found


def _on_pairs(run: RunFolder, pairs: Sequence[Pair]) -> list[Finding]:
    if not pairs or len(run.classes) < 3:
        return []
    mistakes, top = sum(pair.count for pair in pairs), pairs[0]
    both = top.count + next((pair.count for pair in pairs if (pair.true, pair.predicted) == (top.predicted, top.true)), 0)
    names = f"{run.classes[top.true]} and {run.classes[top.predicted]}"
    text = f"{names} are mixed up most: {counted(both, 'time')}, {percent(both / mistakes)} of all mistakes."
    return [Finding(text, "plain", "confusion")]


def _on_labels(suspects: Suspects | None) -> list[Finding]:
    count = 0 if suspects is None else len(suspects.position)
    return [Finding(f"{counted(count, 'scored image')} may carry a wrong label.", "plain", "mistakes")] if count else []


def _on_sureness(run: RunFolder) -> list[Finding]:
    if run.kind != "label" or run.predictions is None:
        return []
    sure, right = run.predictions.sureness
    if not abs(sure - right) >= UNSURE:  # nor where a network that diverged is sure of nothing
        return []
    gap = f"{percent(sure)} sure on average, {percent(right)} right"
    if sure > right:
        return [Finding(f"It is surer than it should be: {gap}.", "warn", "calibration")]
    return [Finding(f"It is less sure than it could be: {gap}.", "plain", "calibration")]


def _on_time(waiting: float) -> list[Finding]:
    if waiting < WAITING:
        return []
    text = f"{percent(waiting)} of the training time went on waiting for images"
    return [Finding(f"{text}: more --workers, or a larger cache, would speed it up.", "warn", "recipe")]


def _names(names: Sequence[str], most: int = 3) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
