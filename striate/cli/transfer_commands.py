"""The command of transfer learning. What does the work is imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from striate.cli.parameters import Count, Device, Fields, Flag, Workers
from striate.cli.printing import listening, print_json
from striate.cli.run_commands import train
from striate.errors import UsageError


def transfer(
    data: str,
    /,
    *,
    arch: Annotated[str, Parameter(name=["--arch", "--model"])] = "mobilenet_v2",
    weights: str = "imagenet",
    compare: Flag = False,
    regimes: str | None = None,
    images: str | None = None,
    seeds: Count | None = None,
    budget: str | None = None,
    out: Path | None = None,
    workers: Workers = None,
    device: Literal["auto", Device] = "auto",
    cache: str = "auto",
    json: Flag = False,
    fields: Fields = None,
) -> None:
    """Train on images with what a network has learnt before; with --compare, find out how that is done best.

    Without --compare it is `striate train DATA --arch mobilenet_v2 --weights imagenet`: the regime follows from the data.
    With it, every regime trains for the same time on 5, 10, 20, 50 and all images a class, with several draws of each, and is
    scored on the same held-out images: a table, a picture (comparison.svg) and a row a run (results.jsonl). After Ctrl-C or a
    crash the same command goes on: no finished run is repeated, and a half one is resumed.

    Args:
        data: A folder, a .csv or .npz file, or scheme:path, as for `striate train`.
        arch: A network by name, or FILE.py:FUNCTION of your own.
        weights: What it begins with: imagenet, a weight file, or a trained model.
        compare: Compare the regimes.
        regimes: Some of small,mid,enough,scratch (all): see `striate train --help`.
        images: Numbers a class, validation among them, and all: 5,10,20,50,all.
        seeds: Draws of each number (3).
        budget: Time for the epochs of a run (60s with --compare).
        out: Folder, instead of runs/DATA-MODEL-N, or runs/transfer-DATA-MODEL with --compare.
        workers: Decoding threads.
        device: auto, cpu or cuda.
        cache: Of decoded images: auto, off, or a folder.
        json: Print the run, or the verdict and all rows, as JSON.
    """
    if not compare:
        for name, value in (("--regimes", regimes), ("--images", images), ("--seeds", seeds)):
            if value is not None:
                raise UsageError(f"{name} says what to compare", fix="add --compare, or leave it out")
        train(
            data, arch=arch, weights=weights, budget=budget, out=out, workers=workers, device=device, cache=cache, json=json,
            fields=fields,
        )  # fmt: skip
        return
    from striate import machine
    from striate.comparison.cells import REGIMES
    from striate.comparison.comparing import BUDGET
    from striate.comparison.comparing import compare as run

    chosen: Any = REGIMES if regimes is None else _words(regimes)
    given: dict[str, Any] = dict(fields or {})
    tuning = machine.tune()
    with listening() as progress:
        made = run(
            data,
            arch,
            weights,
            regimes=chosen,
            images=None if images is None else [_number(word) for word in _words(images)],
            seeds=3 if seeds is None else seeds,
            budget=BUDGET if budget is None else budget,
            out=out,
            device=device,
            workers=workers,
            cache=cache,
            progress=progress,
            tuning=tuning,
            **given,
        )
    if json:
        print_json(made.to_json())
    else:
        print(made.text())


def _words(text: str) -> list[str]:
    return [word for word in text.replace(",", " ").split() if word]


def _number(word: str) -> int | None:
    """Images a class; None for ``all``."""
    if word == "all":
        return None
    if not word.isdecimal():
        raise UsageError(f"{word!r} is no number of images a class", fix="--images 5,10,20,50,all")
    return int(word)
