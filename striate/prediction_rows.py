"""Predictions as CSV and as JSON lines, written as they come."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from typing import IO, Any

from striate.tasks.decoding import Kind, Prediction


def prediction_to_json(prediction: Prediction) -> dict[str, Any]:
    """One prediction as plain JSON values; a failure has ``path`` and ``error`` alone."""
    if prediction.error is not None:
        return {"path": prediction.source, "error": prediction.error}
    if prediction.value is not None:
        return {"path": prediction.source, "value": prediction.value}
    return {
        "path": prediction.source,
        "label": prediction.label,
        "probability": prediction.probability,
        "labels": list(prediction.labels),
        "top": [{"label": label, "probability": probability} for label, probability in prediction.top],
    }


def write_json_lines(predictions: Iterable[Prediction], file: IO[str]) -> int:
    """One object a line, flushed one by one, so that a reader need not wait for the last. Returns the number of failures."""
    failures = 0
    for prediction in predictions:
        failures += prediction.error is not None
        print(json.dumps(prediction_to_json(prediction)), file=file, flush=True)
    return failures


def write_csv(predictions: Iterable[Prediction], file: IO[str], kind: Kind, top: int = 1) -> int:
    """A header, then a row an image; a failure fills ``path`` and ``error`` alone. Returns the number of failures.

    Columns: ``path``; ``value``, or ``label`` (for ``labels``: ``labels``, joined by ``|`` as in a CSV of training data) and
    ``probability``; for ``top`` above 1 ``label_2``, ``probability_2`` and so on; ``error``. Open ``file`` with ``newline=""``.
    """
    fields = ["value"] if kind == "value" else [*(["labels"] if kind == "labels" else []), *_pair_names(top)]
    writer = csv.DictWriter(file, ["path", *fields, "error"], restval="", lineterminator="\n")
    writer.writeheader()
    failures = 0
    for prediction in predictions:
        failures += prediction.error is not None
        writer.writerow(_row(prediction, kind, top))
    return failures


def _pair_names(top: int) -> list[str]:
    return [f"{name}{'' if rank == 1 else f'_{rank}'}" for rank in range(1, top + 1) for name in ("label", "probability")]


def _row(prediction: Prediction, kind: Kind, top: int) -> dict[str, str]:
    # A file name that is not UTF-8 must not keep the other rows from coming out.
    row = {"path": prediction.source.encode("utf-8", "backslashreplace").decode("utf-8")}
    if prediction.error is not None:
        return row | {"error": prediction.error}
    if prediction.value is not None:
        return row | {"value": f"{prediction.value:.6g}"}
    pairs = [text for label, probability in prediction.top[:top] for text in (label, f"{probability:.6g}")]
    present = {"labels": "|".join(prediction.labels)} if kind == "labels" else {}
    return row | present | dict(zip(_pair_names(top), pairs, strict=False))
