"""Run folders: plain files that can be listed, compared, renamed and deleted by any tool."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from striate.data.source import Source
from striate.errors import Refused, UsageError
from striate.evaluation_text import describe_scores
from striate.files import make_folder
from striate.locking import is_locked

RECIPE_FILE, METRICS_FILE, EVALUATION_FILE, SPLIT_FILE = "recipe.json", "metrics.jsonl", "evaluation.json", "split.json"
AUDIT_FILE, PREDICTIONS_FILE, MODEL_FILE, REPORT_FILE = "audit.json", "predictions.npz", "model.safetensors", "report.html"


_COLUMNS = (
    *("path", "status", "model", "recipe", "data", "created", "epochs", "seconds"),
    *("accuracy", "evaluation", "model_path", "report_path"),
)


@dataclass(frozen=True)
class Run:
    """A run by its folder; everything is read from its files when asked for."""

    path: Path

    @property
    def model_path(self) -> Path:
        """The trained model's one file."""
        return self.path / MODEL_FILE

    @property
    def report_path(self) -> Path:
        """The run's offline HTML page."""
        return self.path / REPORT_FILE

    @cached_property
    def record(self) -> dict[str, Any]:
        """``recipe.json``: recipe, choices, network, data and environment.

        Raises:
            UsageError: the folder is not a run.
            Refused: the file is damaged.
        """
        path = self.path / RECIPE_FILE
        if not path.exists():
            raise UsageError(
                "Not a run folder", where=self.path, why=f"it has no {RECIPE_FILE}", fix="`striate runs` lists the runs"
            )
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if lacking := [name for name in ("created", "recipe", "resolved", "model", "data") if name not in record]:
                raise KeyError(*lacking)
        except (OSError, ValueError, TypeError, KeyError) as error:
            fix = "put it back as it was, or delete the run's folder"
            raise Refused("The record of this run is damaged", where=path, why=repr(error), fix=fix) from error
        return record

    @property
    def history(self) -> list[dict[str, Any]]:
        """One row an epoch done so far."""
        path = self.path / METRICS_FILE
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """Figures of the held-out split (of validation, where nothing was held out); None until the run is done."""
        path = self.path / EVALUATION_FILE
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    @property
    def accuracy(self) -> float | None:
        """Held-out accuracy, 0..1; None until the run is done, or without classes."""
        evaluation = self.evaluation
        return None if evaluation is None else evaluation.get("accuracy")

    @property
    def status(self) -> str:
        """``done``, or how far it came: ``running, 3/20`` or ``stopped at 3/20``."""
        if self.evaluation is not None and self.model_path.exists():
            return "done"
        how_far = f"{len(self.history)}/{self.record['resolved']['epochs']}"
        return f"running, {how_far}" if is_locked(self.path) else f"stopped at {how_far}"

    def text(self) -> str:
        """What is printed at the end: scores, worst class, most confused pair, paths, and the same run as Python code."""
        evaluation = self.evaluation
        scores = (
            describe_scores(evaluation) if evaluation else f"This run is {self.status}: `striate resume {self.path}` goes on."
        )
        paths = [
            f"{name:<8} {path}" for name, path in (("model", self.model_path), ("report", self.report_path)) if path.exists()
        ]
        code = ["The same run in Python:", *(f"    {line}" for line in str(self.record["python"]).splitlines() if line)]
        return "\n".join([scores, "", *paths, "", *code])

    def to_json(self) -> dict[str, Any]:
        """What `striate runs --json` and `striate train --json` print; of a run with damaged files only ``path`` and that."""
        try:
            return self._row()
        except (OSError, ValueError, TypeError, KeyError):
            return dict.fromkeys(_COLUMNS) | {"path": str(self.path), "status": "unreadable"}

    def _row(self) -> dict[str, Any]:
        record = self.record
        return {
            "path": str(self.path),
            "status": self.status,
            "model": record["model"]["name"],
            "recipe": record["recipe"]["name"],
            "data": record["data"]["name"],
            "created": record["created"],
            "epochs": len(self.history),
            "seconds": round(sum(row["seconds"] for row in self.history), 1),
            "accuracy": self.accuracy,
            "evaluation": self.evaluation,
            "model_path": str(self.model_path) if self.model_path.exists() else None,
            "report_path": str(self.report_path) if self.report_path.exists() else None,
        }


def list_runs(folder: str | Path = "runs") -> list[Run]:
    """The runs in a folder (or the folder's own, when it is one), oldest first; damaged ones before all others.

    Raises:
        UsageError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UsageError("No such folder of runs", where=root, fix="`striate train DATA` makes the first one")
    found = [Run(path.parent) for path in (*root.glob(RECIPE_FILE), *root.glob(f"*/{RECIPE_FILE}"))]
    return sorted(found, key=_created)


def _created(run: Run) -> str:
    try:
        return str(run.record["created"])
    except Refused:
        return ""


def free_run_folder(out: str | Path | None, name: str, root: Path = Path("runs")) -> Path:
    """The folder a new run may take: ``out``, or the next free ``runs/NAME-N``. It is not created yet.

    Raises:
        Refused: ``out`` holds a run already, which is never overwritten, or is a file.
    """
    if out is None:
        number = 1
        while (root / f"{name}-{number}").exists():
            number += 1
        return root / f"{name}-{number}"
    path = Path(out)
    if (path / RECIPE_FILE).exists():
        raise Refused(
            "This folder holds a run already", where=path, fix=f"go on with `striate resume {path}`, or name another --out"
        )
    if path.exists() and not path.is_dir():
        raise Refused("A file is in the way of the run's folder", where=path, fix="name another --out")
    return path


def claim_run_folder(folder: Path, out: str | Path | None, name: str) -> Path:
    """Creates the folder that :func:`free_run_folder` named; where another run has taken it since, the next free one.

    Raises:
        Failed: the disk refused.
    """
    make_folder(folder.parent)
    while out is None:
        try:
            folder.mkdir()
        except FileExistsError:
            folder = free_run_folder(None, name, folder.parent)
        except OSError:
            break
        else:
            return folder
    return make_folder(free_run_folder(folder, name))


def refuse_inside(folder: Path, source: Source) -> None:
    """Nothing is ever written into a folder of data, where the next look would take it for data.

    Raises:
        UsageError: ``folder`` is the data's folder or below it.
    """
    place = Path(re.sub(r"^[A-Za-z][A-Za-z0-9]+:", "", source.location))
    if place.is_dir() and folder.resolve().is_relative_to(place.resolve()):
        raise UsageError(
            "The results would lie within the data",
            where=folder,
            why=f"{place} is read, never written to",
            fix=f"name another folder: --out {Path('..') / folder.name}",
        )
