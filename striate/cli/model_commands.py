"""Commands that use a trained model, and the one that looks at the machine. What does the work is imported inside."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from striate.cli.parameters import Arch, Count, Device, Flag, Workers
from striate.cli.printing import listening, print_json, print_predictions
from striate.errors import UsageError

if TYPE_CHECKING:
    from striate.prediction import Model
    from striate.progress import Progress


def evaluate(
    model: Path,
    data: str,
    /,
    *,
    weights: str | None = None,
    arch: Arch = None,
    split: Literal["train", "val", "test", "all"] | None = None,
    split_file: Path | None = None,
    batch: Count = 64,
    workers: Workers = None,
    device: Device = "cpu",
    json: Flag = False,
) -> None:
    """Measure a trained model on labelled images.

    Accuracy with its 95 % interval, top-5, macro-F1, each class, the confusion matrix, calibration, the majority baseline.

    Args:
        model: A run's folder, a model.safetensors, or with --weights a network by name.
        data: A folder, a .csv or .npz file, or scheme:path.
        weights: imagenet, imagenet-v2 or cifar10 (published ones, downloaded where they are not here), or a file.
        arch: FILE.py:FUNCTION, where the network is your own; a network by name, where the model is another tool's file.
        split: Part of the data. Without it: the images held out in training where these are the training data, else test,
            val or all.
        split_file: The split.json to take the parts from.
        batch: Images at once.
        workers: Decoding threads.
        device: cpu or cuda.
        json: Print every figure as JSON; `accuracy` is a number from 0 to 1.
    """
    from striate.evaluation import evaluate

    with listening() as progress:
        evaluation = evaluate(
            _load(model, weights, arch, device, progress),
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
    weights: str | None = None,
    arch: Arch = None,
    csv: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    json: Flag = False,
    top: Count = 5,
    batch: Count = 64,
    workers: Workers = None,
    device: Device = "cpu",
    backend: Literal["auto", "torch", "onnx", "openvino"] | None = None,
    data: str | None = None,
) -> int:
    """Say what is on images.

    An image that cannot be read is a row with its error: the others still come out, and the exit status is 1. Where an
    image may show several classes, those that it is not taken to show stand in brackets.

    Args:
        model: A run's folder, a model.safetensors, what `striate export` wrote, or with --weights a network by name.
        paths: Files, folders, globs, or - for a list of names on standard input, one a line.
        weights: imagenet, imagenet-v2 or cifar10 (published ones, downloaded where they are not here), or a file.
        arch: FILE.py:FUNCTION, where the network is your own; a network by name, where the model is another tool's file.
        csv: Write a table to this file (- is standard output).
        json: Print one JSON object a line.
        top: Most probable classes to name.
        batch: Images at once.
        workers: Decoding threads.
        device: cpu or cuda.
        backend: What runs the model. auto: whatever is fastest on this machine for this --batch, among what agrees with the
            model; it is exported, judged and timed once, and kept. Without it: PyTorch, or the exported file that was named.
        data: With --backend: labelled images to judge by. Without it: the run's validation images.
    """
    from striate.prediction_inputs import expand_inputs

    if not paths:
        raise UsageError("No images to look at", fix="striate predict MODEL PATHS...; - reads their names from standard input")
    if csv and json:
        raise UsageError("--csv and --json are two forms of the same answer", fix="give one of them")
    if data and not backend:
        raise UsageError("--data is what --backend judges by", fix="leave it out, or add --backend auto")
    with listening() as progress:
        if backend is None:
            opened = _load(model, weights, arch, device, progress)
        else:
            opened = _load_fastest(model, weights, arch, device, backend, batch, data, progress)
    answers = opened.predict_iter(expand_inputs(paths, sys.stdin), top=top, batch=batch, workers=workers)
    return 1 if print_predictions(answers, opened.kind, top, csv, json) else 0


def _load(path: Path, weights: str | None, arch: str | None, device: str, progress: Progress) -> Model:
    """Opens a model. Torch is tuned where it has been loaded for it: an exported graph does without."""
    from striate import machine
    from striate.prediction import load

    opened = load(path, arch=arch, device=device, weights=weights, progress=progress)
    if "torch" in sys.modules:
        machine.tune()
    return opened


def _load_fastest(
    path: Path, weights: str | None, arch: str | None, device: str, backend: str, batch: int, data: str | None, progress: Progress
) -> Model:
    """What runs the model fastest here; torch is loaded, and tuned, only where nothing is known of it yet, or where it won."""
    from striate import machine
    from striate.exporting.fastest import fastest, is_remembered
    from striate.prediction import load

    if device != "cpu":
        raise UsageError(f"--backend chooses what runs on the CPU, not on {device}", fix="leave one of the two out")
    goal: Literal["latency", "throughput"] = "latency" if batch == 1 else "throughput"
    if weights is not None or not is_remembered(path, goal, backend, arch):
        machine.tune()
    model = load(path, arch=arch, weights=weights, progress=progress) if weights is not None else path
    opened = fastest(model, goal, backend, data=data, arch=arch, progress=progress)
    if opened.is_torch:
        machine.tune()
    return opened


def convert(
    file: str,
    /,
    *,
    arch: Annotated[str, Parameter(name=["--arch", "--model"])],
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("model.safetensors"),
) -> None:
    """Write another tool's weights as a model: one file with the network's name, classes and preprocessing.

    Reads safetensors, PyTorch (tensors only: nothing in the file is run), Caffe's .caffemodel, Keras's .h5 and .keras.
    Every tensor must fit; those that do not are named with both shapes.

    Args:
        file: The weights, or imagenet, imagenet-v2, cifar10: published ones.
        arch: The network they belong to, by name.
        out: The file to write.
    """
    from striate.pretrained import convert

    with listening() as progress:
        print(convert(file, arch, out, progress))


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
