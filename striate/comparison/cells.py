"""What a comparison is made of: one run a cell, and the rows that they leave."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from striate.data.findings import counted
from striate.errors import Refused
from striate.files import write_text
from striate.runs import Run
from striate.transferring import Regime

REGIMES: tuple[Regime, ...] = ("small", "mid", "enough", "scratch")
"""In the order of what they cost."""


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        images: a class, to learn from and to validate with; None: all there are.
        seed: of the draw and of the run.
        regime: of transfer.
    """

    images: int | None
    seed: int
    regime: Regime

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return f"{self.images or 'all'}-{self.seed}-{self.regime}"

    def __str__(self) -> str:
        return f"{said(self.images)}, seed {self.seed}, {self.regime}"


def said(images: int | None) -> str:
    """``20 images a class`` or ``all images``."""
    return f"{images} images a class" if images else "all images"


def make_cells(regimes: Sequence[Regime], images: Sequence[int | None], seeds: int) -> list[Cell]:
    """A seed after the other, so that a comparison that is stopped has something of everything; ``small`` first of a draw."""
    ordered, numbers = sorted(set(regimes), key=REGIMES.index), dict.fromkeys(images)
    return [Cell(number, seed, regime) for seed in range(seeds) for number in numbers for regime in ordered]


@dataclass(frozen=True)
class Result:
    """What came of a cell.

    Attributes:
        accuracy: of the held-out images, 0..1, scored once.
        baseline: what always saying their commonest class would reach.
        num_held_out, num_train, num_validation: images.
        seconds: of all epochs; of ``small``: of reading the features and solving the head.
        epochs: that fitted into the budget.
        course: after each epoch the seconds so far, and the validation accuracy.
        machine: that it ran on.
    """

    cell: Cell
    accuracy: float
    baseline: float
    num_held_out: int
    num_train: int
    num_validation: int
    seconds: float
    epochs: int
    course: tuple[tuple[float, float], ...]
    machine: str

    @classmethod
    def of(cls, cell: Cell, run: Run) -> Result:
        """From the files of a run that is done."""
        figures, data = run.evaluation or {}, run.record["data"]
        seconds, course = 0.0, []
        for row in run.history:
            seconds += row["seconds"]
            if (accuracy := row["validation"].get("accuracy")) is not None:
                course.append((round(seconds, 3), accuracy))
        return cls(
            cell, figures["accuracy"], figures["majority_baseline"], figures["n"], data["num_train"], data["num_validation"],
            round(seconds, 3), len(run.history), tuple(course), _machine(run),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """A flat row."""
        row = asdict(self)
        return {**row.pop("cell"), **row}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Result:
        """What :meth:`to_json` gave."""
        cell = Cell(row.pop("images"), row.pop("seed"), row.pop("regime"))
        course = tuple((float(seconds), float(accuracy)) for seconds, accuracy in row.pop("course"))
        return cls(cell=cell, course=course, **row)


class Results:
    """The rows so far, in a file of JSON lines: whole at any moment.

    Raises:
        Refused: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._rows = path, {result.cell: result for result in _read(path)}

    def __contains__(self, cell: Cell) -> bool:
        return cell in self._rows

    def add(self, result: Result) -> None:
        """Keeps a result.

        Raises:
            Failed: the disk refused.
        """
        self._rows[result.cell] = result
        write_text(self.path, "".join(json.dumps(row.to_json()) + "\n" for row in self._rows.values()))

    def among(self, cells: Sequence[Cell]) -> list[Result]:
        """Those of ``cells`` that are there, in that order."""
        return [self._rows[cell] for cell in cells if cell in self._rows]


def _machine(run: Run) -> str:
    environment = run.record["environment"]
    if run.record["resolved"]["device"] != "cpu":
        return str(environment["cuda"])
    return f"{environment['cpu']}, {counted(environment['threads'], 'thread')}"


def _read(path: Path) -> list[Result]:
    if not path.exists():
        return []
    try:
        return [Result.from_json(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, TypeError, KeyError) as error:
        fix = "delete it: runs that are done are read again from their folders"
        raise Refused("The results of this comparison are damaged", where=path, why=repr(error), fix=fix) from error
