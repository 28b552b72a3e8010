"""The end of a run: the model's file, the held-out images scored once, and the report."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np

import striate
from striate.bundle import write_bundle
from striate.evaluation import Evaluation, evaluate
from striate.files import replacing, write_json
from striate.prediction import Model
from striate.preparation import Prepared
from striate.progress import Progress
from striate.report.write import write_report
from striate.runs import EVALUATION_FILE, MODEL_FILE, PREDICTIONS_FILE, Run
from striate.training import Fitted


def finish_run(ready: Prepared, fitted: Fitted, folder: Path, progress: Progress) -> Run:
    """Scores the best weights, then writes predictions, report inputs and, last of all, the model.

    The held-out images are read here for the first and only time; where there are none, validation is scored and said so.
    """
    card = make_card(ready, fitted)
    model = Model.from_module(fitted.model.cpu().float(), card, folder / MODEL_FILE)
    scored = _score(model, ready, progress)
    write_predictions(folder / PREDICTIONS_FILE, scored)
    write_json(folder / EVALUATION_FILE, scored.to_json())
    card["metrics"] = headline(scored)
    write_bundle(folder / MODEL_FILE, fitted.model.state_dict(), card)
    write_report(folder, source=ready.source, model=model)
    return Run(folder)


def make_card(ready: Prepared, fitted: Fitted) -> dict[str, Any]:
    """Everything beside the weights that using the model takes, as the bundle keeps it."""
    subject, source, split = ready.subject, ready.source, ready.split
    return {
        "striate": striate.__version__,
        "architecture": {
            "name": subject.name,
            "num_classes": subject.num_classes,
            "in_channels": subject.in_channels,
            "input_size": list(subject.input_size),
            "in_zoo": subject.variant is not None,
            "source_file": subject.source_file,
        },
        "task": ready.task.to_json(),
        "classes": list(source.classes),
        "preprocess": ready.preprocess.to_json(),
        "metrics": {},
        "recipe": ready.recipe.name,
        "license": None,
        "data": {"name": source.name, "fingerprint": source.fingerprint(), "num_train": len(split.train), "how": split.how},
        "chosen_by": None if fitted.best is None else {"epoch": fitted.best.epoch, fitted.best.monitor: fitted.best.figure},
    }


def _score(model: Model, ready: Prepared, progress: Progress) -> Evaluation:
    split = ready.split
    if len(split.held_out):
        name, indices, how = split.held_out_name or "held out", split.held_out, split.how
    else:
        name, indices, how = (
            "validation",
            split.validation,
            "No images were held out: these chose the weights, so the figures flatter.",
        )
    scored = evaluate(model, ready.source, indices=indices, workers=ready.batches.workers, progress=progress)
    return dataclasses.replace(scored, split=name, how=how)


def headline(scored: Evaluation) -> dict[str, Any]:
    """The figures that travel with the model."""
    figures = scored.to_json()
    names = ("split", "n", "accuracy", "interval", "top5", "macro_f1", "mae", "rmse", "r2", "mean_average_precision")
    return {name: figures[name] for name in names if figures.get(name) is not None}


def write_predictions(path: Path, scored: Evaluation) -> None:
    """Every scored image with its target and probabilities, as a plain ``.npz`` without pickles."""
    block = io.BytesIO()
    np.savez_compressed(block, allow_pickle=False, **scored.arrays())
    with replacing(path) as file:
        file.write(block.getvalue())
