"""The command that writes a model for other programs. What does the work is imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from striate.cli.parameters import Arch, Flag
from striate.cli.printing import listening, print_json

STATUSES = {"passed": 0, "rejected": 3, "undecided": 4}


def export(
    model: Path,
    /,
    *,
    to: Literal["onnx", "openvino", "torch"],
    precision: Literal["fp32", "bf16", "int8"] = "fp32",
    data: str | None = None,
    calibrate: str | None = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    weights: str | None = None,
    arch: Arch = None,
    json: Flag = False,
) -> int:
    """Write a model for other programs, proven equal to it.

    Two files: NAME.EXT takes whole pictures (uint8 RGB, N x H x W x 3, of any size) and returns logits and probabilities, the
    preprocessing is in it; NAME.tensor.EXT takes what the model's preprocessing makes. Both are held against the model on
    labelled images. Where they differ too much they are kept as .rejected and the exit status is 3; with too few images to
    say, as .undecided, and it is 4.

    Args:
        model: A run's folder, a model.safetensors, or with --weights a network by name.
        to: onnx (.onnx), openvino (.xml and .bin) or torch (.pt2).
        precision: Of the arithmetic: bf16 with openvino and torch, int8 with onnx and openvino.
        data: Labelled images to judge by. Without it: the run's validation images.
        calibrate: Images that int8 is calibrated on. Without it: the run's training images.
        out: NAME or NAME.EXT. Without it: beside the model.
        weights: imagenet, imagenet-v2 or cifar10 (published ones, downloaded where they are not here), or a file.
        arch: FILE.py:FUNCTION, where the network is your own; a network by name, where the model is another tool's file.
        json: Print every figure as JSON.
    """
    from striate.exporting.conversion import check_kind

    check_kind(to, precision)
    from striate import machine
    from striate.exporting.export import make_artefact
    from striate.prediction import load

    with listening() as progress:
        opened = load(model, arch=arch, weights=weights, progress=progress)
        machine.tune()
        made = make_artefact(opened, to, precision, data=data, calibrate=calibrate, out=out, progress=progress)
    if json:
        print_json(made.to_json())
    else:
        print(made.text())
    return STATUSES[made.status]
