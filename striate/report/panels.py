"""The sections of the report that are drawn: curves, calibration, the numbers of a regression."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from striate.data.findings import counted
from striate.metrics import reliability_bins
from striate.report.charts import Chart, Points, Series, line_chart, reliability_chart, scatter_chart
from striate.report.findings import Diagnosis, loss_comments, metric_comments, rate_comments
from striate.report.run_folder import RunFolder
from striate.report.words import duration, number, percent, whole_percent

METRICS = {"accuracy": "Accuracy", "mean_average_precision": "Mean average precision", "mae": "Mean absolute error"}


def metric_title(run: RunFolder) -> str:
    """What the figure that chose the weights is called."""
    return METRICS.get(run.metric_name, run.metric_name)


def curves(run: RunFolder, diagnosis: Diagnosis | None) -> list[tuple[Chart, list[str]]]:
    """Loss, the figure that chose the weights, and the learning rate, each with its comments."""
    numbers, best = [e.number for e in run.epochs], run.kept.number if run.kept else None
    losses = _series(
        ("training", [e.train_loss for e in run.epochs], "train"),
        ("validation", [e.validation_loss for e in run.epochs], "validation"),
    )
    metric = _series(("", [e.metric for e in run.epochs], "validation"))
    rate = _series(("", [e.lr for e in run.epochs], "rate"))
    found = []
    if losses:
        found.append((line_chart("Loss", numbers, losses, best=best), loss_comments(run, diagnosis)))
    if metric:
        shares = run.metric_name == "accuracy"
        reading, ticks = (percent, whole_percent) if shares else (number, number)
        chart = line_chart(f"{metric_title(run)} on validation", numbers, metric, reading=reading, tick_words=ticks, best=best)
        found.append((chart, metric_comments(run)))
    if rate:
        found.append((line_chart("Learning rate", numbers, rate, linear=True, best=best), rate_comments(run)))
    return found


def _series(*lines: tuple[str, Points, str]) -> list[Series]:
    """Those that have a value at all."""
    return [Series(*line) for line in lines if any(value is not None for value in line[1])]


def epoch_table(run: RunFolder) -> dict[str, Any]:
    """Every epoch in words."""
    reading = percent if run.metric_name == "accuracy" else number
    rows = [
        (
            e.number,
            number(e.train_loss),
            number(e.validation_loss),
            "–" if e.metric is None else reading(e.metric),
            number(e.lr),
            "–" if e.seconds is None else duration(e.seconds),
            "–" if e.images_per_second is None else f"{e.images_per_second:,.0f}",
        )
        for e in run.epochs
    ]
    heads = ("Training loss", "Validation loss", metric_title(run), "Learning rate", "Time", "Images/s")
    return {"heads": heads, "rows": rows}


def calibration(run: RunFolder) -> dict[str, Any] | None:
    """The reliability diagram of a one-label classifier."""
    predictions = run.predictions
    if run.kind != "label" or predictions is None:
        return None
    right, (sure, accuracy) = predictions.predicted == predictions.target, predictions.sureness
    certain = predictions.confidence >= 0.95
    among = f", {percent(float(right[certain].mean()))} of them right" if certain.any() else ""
    facts = [
        ("Sure on average", percent(sure)),
        ("Right on average", percent(accuracy)),
        ("At least 95 % sure", counted(int(certain.sum()), "image") + among),
    ]
    if run.evaluation:
        facts.insert(0, ("Expected calibration error", percent(run.evaluation["ece"])))
    return {"svg": reliability_chart(reliability_bins(predictions.confidence, right)), "facts": facts}


def scatter(run: RunFolder) -> dict[str, Any] | None:
    """Predicted against true, of a regression."""
    predictions = run.predictions
    if run.kind != "value" or predictions is None:
        return None
    true, said = predictions.target.astype(np.float64), predictions.probabilities.astype(np.float64)
    half, bias = float(np.median(np.abs(said - true))), float((said - true).mean())
    words = f"Half of the predictions are within {number(half)} of the truth."
    if math.isnan(bias):
        words = "The network diverged: some of its predictions are no numbers."
    elif bias:
        words += f" On average they are {number(abs(bias))} too {'high' if bias > 0 else 'low'}."
    return {"svg": scatter_chart(true, said), "words": words}
