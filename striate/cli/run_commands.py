"""Commands that make and show runs. What does the work is imported inside, so that ``--help`` never loads torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from striate.cli.parameters import Arch, Device, Fields, Flag, Workers
from striate.cli.printing import columns, listening, print_json, print_run, print_runs


def check(
    data: str,
    /,
    *,
    out: Path | None = None,
    augmented: Flag = False,
    arch: Arch = None,
    recipe: str | None = None,
    size: int | None = None,
    validation: float = 0.1,
    seed: int = 0,
    json: Flag = False,
    fields: Fields = None,
) -> int:
    """Look at a data set before training on it.

    Bad files, duplicates and whether they leak across splits, sizes, modes, imbalance. None of your files is changed; where
    some cannot be read, the exit status is 1. Writes check.html, audit.json and split.json (for `striate train --split`).

    Args:
        data: A folder, a .csv or .npz file, or scheme:path (demo:fashion, mnist:FOLDER, csv:FILE, ...).
        out: Folder for what is written, instead of runs/check-NAME.
        augmented: Also draw augmented.png, training images as the network would see them in its first epochs.
        arch: Of which network that is: a name, or FILE.py:FUNCTION. Without it: what `striate train` would take.
        recipe: Whose augmentation it is. Without it: the network's own recipe.
        size: Side of the square training image, in pixels.
        validation: Share of the training images that the split cuts off for validation.
        seed: Of the split and of the augmentation, as of `striate train`.
        json: Print the audit as JSON.
    """
    from striate.checking import check

    chosen: dict[str, Any] = (fields or {}) | ({} if size is None else {"size": size})
    with listening() as progress:
        checked = check(
            data,
            out,
            augmented=augmented,
            model=arch,
            recipe=recipe,
            seed=seed,
            validation=validation,
            progress=progress,
            **chosen,
        )
    if json:
        print_json(checked.to_json())
    else:
        print(checked.text(columns()))
    return 1 if checked.num_bad else 0


def train(
    data: str,
    /,
    *,
    arch: Arch = None,
    recipe: str | None = None,
    weights: str | None = None,
    regime: Literal["auto", "small", "mid", "enough", "scratch"] = "auto",
    epochs: int | None = None,
    size: int | None = None,
    batch: int | None = None,
    budget: str | None = None,
    seed: int | None = None,
    precision: Literal["fp32", "bf16", "auto"] | None = None,
    out: Path | None = None,
    split: Path | None = None,
    workers: Workers = None,
    device: Literal["auto", Device] = "auto",
    cache: str = "auto",
    json: Flag = False,
    fields: Fields = None,
) -> None:
    """Train a network on images.

    Leaves a run folder: the model, its scores on images held out for them, and a report.

    Args:
        data: A folder, a .csv or .npz file, or scheme:path (demo:fashion, mnist:FOLDER, csv:FILE, ...).
        arch: A network by name, or FILE.py:FUNCTION of your own. Without it: chosen by the size of the images.
        recipe: How to train. Without it: the network's own recipe.
        weights: What the network begins with: imagenet, a weight file, or a trained model.
        regime: Of transfer, with --weights: small solves the last layer alone, mid trains the later layers, enough all of them;
            scratch does without the weights; auto decides by the data.
        epochs: Passes over the training images.
        size: Side of the square training image, in pixels.
        batch: Images an optimizer step.
        budget: Time for the epochs (90s, 10m, 1h30m): their number and the schedule are fitted to it.
        seed: Of initialisation, order, augmentation and dropout.
        precision: Of the arithmetic; auto measures what pays on this machine.
        out: Folder of the run, instead of runs/DATA-MODEL-N.
        split: A split.json that `striate check` wrote.
        workers: Decoding threads. Images and their order do not depend on it.
        device: auto, cpu or cuda.
        cache: Of decoded images: auto, off, or a folder.
        json: Print the run as JSON.
    """
    from striate import machine
    from striate.experiment import train

    named = {"epochs": epochs, "size": size, "batch": batch, "seed": seed, "precision": precision}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    tuning = machine.tune()
    with listening() as progress:
        run = train(
            data,
            arch,
            recipe,
            out=out,
            split=split,
            weights=weights,
            regime=regime,
            budget=budget,
            device=device,
            workers=workers,
            cache=cache,
            progress=progress,
            tuning=tuning,
            **(given | (fields or {})),
        )
    print_run(run, json)


def resume(
    run: Path,
    /,
    *,
    arch: Arch = None,
    allow_inexact: Flag = False,
    workers: Workers = None,
    cache: str = "auto",
    json: Flag = False,
) -> None:
    """Go on with a stopped run.

    On a CPU it comes to the very weights that the uninterrupted run would have come to.

    Args:
        run: The run's folder.
        arch: FILE.py:FUNCTION again, where the network is your own.
        allow_inexact: Go on although processor, threads or torch are others, which changes the last bits.
        workers: Decoding threads.
        cache: Of decoded images: auto, off, or a folder.
        json: Print the run as JSON.
    """
    from striate import machine
    from striate.experiment import resume
    from striate.runs import Run

    resolved = Run(run).record["resolved"]
    machine.tune(resolved["threads"] or None, resolved["tuned_allocator"])
    with listening() as progress:
        finished = resume(run, arch=arch, allow_inexact=allow_inexact, workers=workers, cache=cache, progress=progress)
    print_run(finished, json)


def runs(folder: Path = Path("runs"), /, *, json: Flag = False) -> None:
    """List and compare runs.

    Args:
        folder: Where they lie. They are listed oldest first.
        json: Print them as JSON.
    """
    from striate.runs import list_runs

    found = list_runs(folder)
    if json:
        print_json([run.to_json() for run in found])
    else:
        print_runs(found)


def report(run: Path, /, *, arch: Arch = None) -> None:
    """Write a run's report anew.

    One HTML file that needs no network.

    Args:
        run: The run's folder.
        arch: FILE.py:FUNCTION, where the network is your own: for the maps beside its mistakes.
    """
    from striate.prediction import load
    from striate.report.write import write_report

    print(write_report(run, model=load(run, arch=arch) if arch else None))
