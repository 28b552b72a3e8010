"""The command that looks inside a network. What does the work is imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from striate.cli.parameters import Arch, Device, Flag
from striate.cli.printing import columns, listening, print_json
from striate.errors import UsageError


def look(
    model: Path,
    image: Path,
    /,
    *,
    layer: str | None = None,
    unit: str | None = None,
    target: Annotated[str | None, Parameter(name="--class")] = None,
    sanity: str | None = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    weights: str | None = None,
    arch: Arch = None,
    device: Device = "cpu",
    json: Flag = False,
) -> None:
    """See what a network sees in a picture, down to the arithmetic of one number.

    Writes PNGs: the input as the network reads it; Grad-CAM, occlusion, saliency and integrated gradients of a class; the maps
    of a layer, the first filters, a unit's receptive field. Prints the answer, the layers, and how the unit's number came about.

    Args:
        model: A run's folder, a model.safetensors, or with --weights a network by name.
        image: Any picture.
        layer: A module's path or a name in the table of layers; without it the last convolution that puts out a map.
        unit: CHANNEL,ROW,COLUMN (or the number of a neuron) in that layer; without it the one with the largest number.
        target: The class to explain, by name or number; without it the network's answer.
        sanity: A map to check, by name (grad_cam, occlusion, saliency, integrated_gradients, deconvnet, guided_backpropagation):
            how much of it stays as the weights are made random. A map that stays shows the picture, not what was learned.
        out: The folder for the pictures; without it look-NAME, after the image.
        weights: imagenet, imagenet-v2 or cifar10 (published ones, downloaded where they are not here), or a file.
        arch: FILE.py:FUNCTION, where the network is your own; a network by name, where the model is another tool's file.
        device: cpu or cuda.
        json: Print everything as JSON.
    """
    place = None if unit is None else _position(unit)
    from striate import machine
    from striate.look.looking import look_at
    from striate.prediction import load

    with listening() as progress:
        opened = load(model, arch=arch, device=device, weights=weights, progress=progress)
        machine.tune()
        folder = out or Path(f"look-{image.stem}")
        found = look_at(
            opened, image, folder, layer=layer, unit=place, target=target, sanity=sanity, name=image.name, progress=progress
        )
    if json:
        print_json(found.to_json())
    else:
        print(found.text(columns()))


def _position(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--unit {text} is no position", fix="--unit CHANNEL,ROW,COLUMN, e.g. 12,3,4") from None
