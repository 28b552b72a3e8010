"""Commands that use a trained model, and the one that looks at the machine. What does the work is imported inside."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from striate.cli.parameters import Arch, Flag
from striate.cli.printing import listening, print_json, print_predictions
from striate.errors import UsageError


def evaluate(
    model: Path,
    data: str,
    /,
    *,
    arch: Arch = None,
    split: Literal["train", "val", "test", "all"] | None = None,
    split_file: Path | None = None,
    batch: int = 64,
    workers: int | None = None,
    device: str = "cpu",
    json: Flag = False,
) -> None:
    """Measure a trained model on labelled images.

    Accuracy with its 95 % interval, top-5, macro-F1, each class, the confusion matrix, calibration, the majority baseline.

    Args:
        model: A run's folder, or a model.safetensors.
        data: A folder, a .csv or .npz file, or scheme:path.
        arch: FILE.py:FUNCTION, where the network is your own.
        split: Part of the data. Without it: the images held out in training where these are the training data, else test,
            val or all.
        split_file: The split.json to take the parts from.
        batch: Images at once.
        workers: Decoding threads.
        device: cpu or cuda.
        json: Print every figure as JSON; `accuracy` is a number from 0 to 1.
    """
    from striate import machine
    from striate.evaluation import evaluate
    from striate.prediction import load

    machine.tune()
    with listening() as progress:
        evaluation = evaluate(
            load(model, arch=arch, device=device),
            data,
            split=split,
            split_file=split_file,
            batch=batch,
            workers=workers,
            progress=progress,
        )
    if json:
        print_json(evaluation.to_json())
    else:
        print(evaluation.text())


def predict(
    model: Path,
    /,
    *paths: Annotated[str, Parameter(allow_leading_hyphen=True)],
    arch: Arch = None,
    csv: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    json: Flag = False,
    top: int = 5,
    batch: int = 64,
    workers: int | None = None,
    device: str = "cpu",
) -> int:
    """Say what is on images.

    An image that cannot be read is a row with its error: the others still come out, and the exit status is 1.

    Args:
        model: A run's folder, or a model.safetensors.
        paths: Files, folders, globs, or - for a list of names on standard input, one a line.
        arch: FILE.py:FUNCTION, where the network is your own.
        csv: Write a table to this file (- is standard output).
        json: Print one JSON object a line.
        top: Most probable classes to name.
        batch: Images at once.
        workers: Decoding threads.
        device: cpu or cuda.
    """
    from striate import machine
    from striate.prediction import load
    from striate.prediction_inputs import expand_inputs

    if not paths:
        raise UsageError("No images to look at", fix="striate predict MODEL PATHS...; - reads their names from standard input")
    if csv and json:
        raise UsageError("--csv and --json are two forms of the same answer", fix="give one of them")
    machine.tune()
    opened = load(model, arch=arch, device=device)
    answers = opened.predict_iter(expand_inputs(paths, sys.stdin), top=top, batch=batch, workers=workers)
    return 1 if print_predictions(answers, opened.kind, top, csv, json) else 0


def doctor(*, json: Flag = False) -> int:
    """Say what is installed and what this machine can do.

    And what stands in the way, with its cure; the exit status is 1 where something does.

    Args:
        json: Print it as JSON.
    """
    from striate.doctor import examine

    examination = examine()
    if json:
        print_json(examination.to_json())
    else:
        print(examination.text())
    return 1 if examination.problems else 0
