"""What the Runs screen asks for: runs as they are on the disk, their curves and reports, and two things done to their folders."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel

from striate.errors import Failed, Refused, UsageError
from striate.locking import LOCK_FILE, is_locked
from striate.runs import EVALUATION_FILE, METRICS_FILE, RECIPE_FILE, Run
from striate.studio.events import Event, changes, stream
from striate.studio.opened import Opened
from striate.studio.studio import Here

router = APIRouter(prefix="/api/runs")

LOOK_SECONDS = 1.0

REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; font-src data:; frame-ancestors 'none'"
)
"""A report is a page of its own that may be another's: it runs as a stranger to the studio, and reaches nothing."""


@router.get("")
def runs(studio: Here) -> list[dict[str, Any]]:
    """Every run, oldest first."""
    return _rows(studio.opened)


@router.get("/watch")
def watch(studio: Here) -> StreamingResponse:
    """The same list, sent again whenever a run's files change."""

    async def events() -> AsyncIterator[Event | None]:
        async for signs in changes(lambda: _signs(studio.opened), LOOK_SECONDS):
            yield None if signs is None else ("runs", _rows(studio.opened))

    return stream(events())


@router.get("/history")
def history(run: str, studio: Here) -> dict[str, Any]:
    """A row an epoch, and which figure chose the weights."""
    found = studio.opened.run(run)
    return {"run": run, "epochs": found.record["resolved"]["epochs"], "rows": read_history(found)}


@router.get("/run")
def run(run: str, studio: Here) -> dict[str, Any]:
    """What a run says of itself."""
    found = studio.opened.run(run)
    record = found.record
    kept = ("created", "python", "recipe", "resolved", "model", "data", "classes", "environment")
    files = [path for path in found.path.rglob("*") if path.is_file() and path.name != LOCK_FILE]
    size = sum(path.stat().st_size for path in files)
    return {
        "name": run,
        "row": found.to_json(),
        **{name: record.get(name) for name in kept},
        "command": shlex.join(record["command"]),
        "num_files": len(files),
        "bytes": size,
    }


@router.get("/report")
def report(run: str, studio: Here) -> HTMLResponse:
    """The run's own page, written anew where it is not there."""
    found = studio.opened.run(run)
    if not found.report_path.exists():
        if found.evaluation is None:
            raise Refused("This run has no report yet", why=f"it is {found.status}", fix="wait for it, or resume it")
        from striate.report.write import write_report

        write_report(found.path)
    return HTMLResponse(found.report_path.read_bytes(), headers={"Content-Security-Policy": REPORT_POLICY})


class Renaming(BaseModel):
    """A run and the name it shall have."""

    run: str
    name: str


@router.post("/rename")
def rename(asked: Renaming, studio: Here) -> dict[str, str]:
    """Renames a run's folder."""
    found = _idle(studio.opened.run(asked.run))
    if not re.fullmatch(r"\w[\w .+-]{0,99}", asked.name) or asked.name.endswith((" ", ".")):
        fix = "begin with a letter or digit, and use letters, digits, spaces, dots, dashes, up to 100"
        raise UsageError(f"A run cannot be called {asked.name!r}", why="it is the name of a folder", fix=fix)
    target = found.path.resolve().with_name(asked.name)
    if target.exists():
        raise Refused(
            f"There is a folder {asked.name!r} already", where=target.parent, fix="take another name, or rename that one"
        )
    try:
        found.path.resolve().rename(target)
    except OSError as error:
        raise Failed("The folder could not be renamed", where=found.path, why=error.strerror or str(error)) from error
    studio.opened.moved(found.path, target)
    return {"run": next(name for name, other in studio.opened.runs().items() if other.path.resolve() == target)}


class Naming(BaseModel):
    """A run."""

    run: str


@router.post("/delete")
def delete(asked: Naming, studio: Here) -> dict[str, str]:
    """Deletes a run's folder with all that is in it. There is no way back: the page asks first."""
    found = _idle(studio.opened.run(asked.run))
    if found.path.is_symlink():
        raise Refused(
            "This run's folder is a link", where=found.path, why="what it points to may be another's", fix="delete it there"
        )
    try:
        # First what makes it a run: a folder that could be deleted only in part is none any more.
        (found.path / RECIPE_FILE).unlink()
        shutil.rmtree(found.path)
    except OSError as error:
        fix = "look who owns the folder"
        raise Failed("The folder could not be deleted", where=found.path, why=error.strerror or str(error), fix=fix) from error
    return {"deleted": asked.run}


def read_history(run: Run) -> list[dict[str, Any]]:
    """``metrics.jsonl``, or what of it can be read."""
    try:
        return run.history
    except ValueError as error:
        raise Refused("The record of its epochs is damaged", where=run.path / METRICS_FILE, why=str(error)) from error


def _idle(run: Run) -> Run:
    if is_locked(run.path):
        raise Refused("This run is being trained right now", where=run.path, fix="stop it first, or wait for it")
    return run


def _rows(opened: Opened) -> list[dict[str, Any]]:
    return [{"name": name, **run.to_json()} for name, run in opened.runs().items()]


def _signs(opened: Opened) -> list[tuple[str, bool, tuple[int, ...]]]:
    """Changes when a run's files do."""
    files = (RECIPE_FILE, METRICS_FILE, EVALUATION_FILE)
    return [
        (name, is_locked(run.path), tuple(_changed(run.path / file) for file in files)) for name, run in opened.runs().items()
    ]


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
