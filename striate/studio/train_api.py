"""What the Train screen asks for: what can be trained on what, and a training that is begun, held, ended and watched."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from striate.catalogue import catalogue
from striate.errors import StriateError, UsageError
from striate.recipes import RECIPES
from striate.runs import Run
from striate.studio.events import Event, changes, stream
from striate.studio.opened import not_open
from striate.studio.presets import PRESETS, TOO_FAST, Preset
from striate.studio.runs_api import read_history
from striate.studio.shelf import weights_here
from striate.studio.studio import Here, Studio
from striate.studio.trainings import asked_of, claim_folder, run_has_begun

router = APIRouter(prefix="/api/train")

LOOK_SECONDS = 0.5
OWN = "own"
"""What the page calls the network of the command line's ``--arch``."""
SAVE_SECONDS = "10"
"""Between checkpoints within a long epoch: the page's pictures of the network are as old at most."""


class Asked(BaseModel):
    """A training as the page asks for it; what is None is chosen by `striate train`.

    Attributes:
        data: name of opened data.
        network: of the zoo, or ``own``.
        recipe: a recipe's name.
        weights: tag of published weights to begin with.
        epochs, batch, size, seed: fields of the recipe.
        rate: the learning rate.
        preset: a way to make it fail.
    """

    data: str
    network: str | None = None
    recipe: str | None = None
    weights: str | None = None
    epochs: int | None = Field(None, ge=1, le=10_000)
    batch: int | None = Field(None, ge=1, le=65_536)
    size: int | None = Field(None, ge=8, le=1024)
    seed: int | None = Field(None, ge=0)
    rate: float | None = Field(None, gt=0)
    preset: Preset | None = None


@router.get("/choices")
def choices(studio: Here) -> dict[str, Any]:
    """Data, networks, recipes and presets; and the trainings there are."""

    here = weights_here()
    networks = [
        {
            "name": entry.name,
            "input": list(entry.input),
            "parameters": entry.parameters,
            "weights": [each.tag for each in entry.published if each.file in here],
        }
        for entry in catalogue().values()
    ]
    recipes = [{"name": name, "about": _first_line(function.__doc__)} for name, function in RECIPES.items()]
    return {
        "data": list(studio.opened.data),
        "networks": networks,
        "own": studio.arch,
        "recipes": recipes,
        "presets": [{"name": name, "title": title, "about": about} for name, (title, about) in PRESETS.items()],
    }


@router.post("/start")
def start(asked: Asked, studio: Here) -> dict[str, str]:
    """Begins a training: `striate train` in a process of its own."""
    if asked.data not in studio.opened.data:
        raise not_open("data", asked.data, studio.opened.data, "striate studio FOLDER")
    words, name = ["train"], f"{asked.data}-{asked.network or 'auto'}"
    folder = claim_folder(studio.opened.home, f"{name}-{asked.preset}" if asked.preset else name)
    try:
        words += _words(asked, folder, studio)
    except StriateError:
        shutil.rmtree(folder)
        raise
    studio.trainings.start(folder, words, asked.model_dump(exclude_none=True))
    return {"run": folder.name}


class Which(BaseModel):
    """A training, by its run's name."""

    run: str


@router.post("/pause")
def pause(asked: Which, studio: Here) -> dict[str, Any]:
    """Holds it."""
    studio.trainings.pause(_folder(studio, asked.run))
    return studio.trainings.state(_folder(studio, asked.run))


@router.post("/stop")
def stop(asked: Which, studio: Here) -> dict[str, Any]:
    """Ends it once it has saved."""
    studio.trainings.stop(_folder(studio, asked.run))
    return studio.trainings.state(_folder(studio, asked.run))


@router.post("/resume")
def resume(asked: Which, studio: Here) -> dict[str, Any]:
    """Goes on with one that is held or was ended."""
    run = Run(_folder(studio, asked.run))
    arch = None
    if not run.record["model"]["in_zoo"]:
        from striate.studio.breaking import write_network

        began = asked_of(run.path)
        # Written again: nothing that lies in a run's folder is run as it is.
        arch = write_network(run.path, str(began.get("network"))) if began.get("preset") == "normalisation" else studio.arch
    studio.trainings.resume(run, arch)
    return studio.trainings.state(run.path)


@router.get("/watch")
def watch(run: str, studio: Here) -> StreamingResponse:
    """What happens in a training, as it happens: ``state``, ``history`` and ``glimpse``, each when it changes."""
    folder = _folder(studio, run)

    def look() -> tuple[dict[str, Any], dict[str, Any] | None]:
        found = Run(folder)
        if not run_has_begun(found):
            return studio.trainings.state(folder), None
        rows = read_history(found)
        return studio.trainings.state(folder), {"run": run, "epochs": found.record["resolved"]["epochs"], "rows": rows}

    def glimpse() -> dict[str, Any] | None:
        try:
            return studio.glimpses.of(Run(folder)) if run_has_begun(Run(folder)) else None
        except (StriateError, OSError, RuntimeError) as error:
            return {"problem": error.what if isinstance(error, StriateError) else str(error)}

    async def events() -> AsyncIterator[Event | None]:
        from starlette.concurrency import run_in_threadpool

        told: dict[str, Any] = {}
        yield "asked", asked_of(folder)
        async for seen in changes(look, LOOK_SECONDS):
            if seen is None:
                yield None
                continue
            news = {"state": seen[0], "history": seen[1], "glimpse": await run_in_threadpool(glimpse)}
            for name, value in news.items():
                if value is not None and told.get(name) != value:
                    told[name] = value
                    yield name, value

    return stream(events())


@router.get("/pictures")
def pictures(run: str, studio: Here) -> list[dict[str, Any]]:
    """The pictures whose predictions are watched."""
    found = Run(_folder(studio, run))
    return studio.glimpses.pictures(found) if run_has_begun(found) else []


def _words(asked: Asked, folder: Path, studio: Studio) -> list[str]:
    """The command line that does what is asked."""
    data, fields = studio.opened.data[asked.data], _fields(asked)
    arch = studio.arch if asked.network == OWN else asked.network
    if asked.network == OWN and arch is None:
        raise UsageError("No network of your own is open", fix="start the studio with --arch FILE.py:FUNCTION")
    if asked.preset is not None:
        from striate.recipes import get_recipe
        from striate.studio.breaking import write_network, write_shuffled
        from striate.subject import choose_network, recipe_name

        source = studio.opened.source(asked.data)
        arch = arch or choose_network(source)
        if asked.preset == "rate":
            rate = asked.rate or get_recipe(asked.recipe or recipe_name(arch)).optimizer.lr
            fields["optimizer.lr"] = f"{TOO_FAST * rate:g}"
        elif asked.preset == "normalisation":
            asked.network, asked.recipe = arch, asked.recipe or recipe_name(arch)
            arch = write_network(folder, arch)
        else:
            data = write_shuffled(folder, source, asked.seed or 0)
    named = {"arch": arch, "recipe": asked.recipe, "weights": asked.weights, **fields}
    return [data, *(f"--{name}={value}" for name, value in named.items() if value is not None)]


def _fields(asked: Asked) -> dict[str, str]:
    names = {"epochs": "epochs", "batch": "batch", "size": "size", "seed": "seed", "rate": "optimizer.lr"}
    given = {field: getattr(asked, name) for name, field in names.items()}
    return {"checkpoint_seconds": SAVE_SECONDS} | {name: f"{value:g}" for name, value in given.items() if value is not None}


def _folder(studio: Studio, run: str) -> Path:
    """The folder of a training: a run, or one that has begun so lately that it is none yet."""
    runs = studio.opened.runs()
    if run in runs:
        return runs[run].path
    begun = {folder.name: folder for folder in studio.trainings.processes}
    if run not in begun:
        raise not_open("run", run, [*runs, *begun], "striate studio FOLDER")
    return begun[run]


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
