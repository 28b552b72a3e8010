"""What ``recipe.json`` says of a run, and what must still hold when the run is taken up again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import nn

from striate.data.source import Source
from striate.environment import describe_environment, inexact_because
from striate.errors import Refused, UsageError
from striate.preparation import Prepared
from striate.recipe import Recipe, Resolved, average_over
from striate.recipe_fields import to_fields
from striate.recipes import RECIPES
from striate.reproduction import command_line, python_code

Network = str | nn.Module | Callable[..., nn.Module]


def _as_asked(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with its own average of weights again, where the run's is what a run of so many steps makes of it."""
    usual = RECIPES[recipe.name]().ema if recipe.name in RECIPES else None
    return dataclasses.replace(recipe, ema=usual) if recipe.ema == average_over(usual, steps) else recipe


def make_record(
    ready: Prepared, resolved: Resolved, data: str, *, budget: str | float | None, split: str | Path | None,
    weights: str | Path | None, regime: str | None,
) -> dict[str, Any]:  # fmt: skip
    source, parts = ready.source, ready.split
    subject = ready.subject
    # Not the bare name of a user's own, which may be that of another network of the zoo.
    network = subject.source_file or (subject.name if subject.variant else f"{subject.name} of your own")
    paths = {"split": split, "weights": weights}
    options = {"budget": budget, "regime": regime, **{name: None if path is None else str(path) for name, path in paths.items()}}
    transferred = regime not in (None, "scratch")  # where the average stays as the recipe has it
    asked = ready.recipe if transferred else _as_asked(ready.recipe, resolved.epochs * ready.batches.steps)
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line(data, network, asked, **options),
        "python": python_code(data, network, asked, **options),
        "recipe": to_fields(ready.recipe),
        "resolved": to_fields(resolved),
        "model": ready.subject.to_json(),
        "task": ready.task.to_json(),
        "classes": list(source.classes),
        "preprocess": ready.preprocess.to_json(),
        "begun_from": None if regime == "scratch" else options["weights"],
        "data": {
            "location": source.location,
            "name": source.name,
            "fingerprint": source.fingerprint(),
            "num_train": len(parts.train),
            "num_validation": len(parts.validation),
            "num_held_out": len(parts.held_out),
            "held_out_name": parts.held_out_name,
            "how": parts.how,
        },
        "environment": describe_environment(),
    }


def refuse_inexact(record: dict[str, Any], allow_inexact: bool, path: Path) -> None:
    differences = inexact_because(record["environment"], describe_environment())
    if differences and not allow_inexact:
        raise Refused(
            "This resume would not be exact",
            where=path,
            why="; ".join(differences) + ": sums differ in their last bits",
            fix="resume where the run began, or accept that with --allow-inexact",
        )


def refuse_other_data(record: dict[str, Any], source: Source) -> None:
    if source.fingerprint() != record["data"]["fingerprint"]:
        raise Refused(
            "The data are not those that this run began with",
            where=source.location,
            why="a file was added, removed, renamed, changed or put in another class since",
            fix="put the data back as they were, or start a new run with `striate train`",
        )


def network_of(record: dict[str, Any], arch: Network | None, path: Path) -> Network:
    model = record["model"]
    if model["in_zoo"]:
        if arch is not None:
            raise UsageError(f"This run's network is {model['name']} of the zoo", where=path, fix="leave --arch away")
        return str(model["name"])
    if arch is None:
        hint = model["source_file"] or "FILE.py:FUNCTION"
        raise Refused(
            f"This run trains a network of your own ({model['name']})",
            where=path,
            why="code is run only when you name it",
            fix=f"striate resume {path} --arch {hint}",
        )
    return arch
