"""What commands print: results on stdout, progress on stderr."""

from __future__ import annotations

import io
import json
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.columns import align

if TYPE_CHECKING:
    from striate.runs import Run
    from striate.tasks.decoding import Kind, Prediction
    from striate.terminal import Terminal


@contextmanager
def listening() -> Iterator[Terminal]:
    """Progress and warnings on stderr; nothing is left half-drawn when the work ends or fails."""
    from striate.terminal import Terminal

    terminal = Terminal()
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: terminal.message(f"note: {message}")
        try:
            yield terminal
        finally:
            terminal.close()


def columns() -> int:
    """Width of the terminal in characters, within what reads well; 100 where there is none."""
    return min(120, shutil.get_terminal_size((100, 24)).columns)


def print_json(value: Any) -> None:
    """Indented JSON, alone on stdout."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def print_run(run: Run, as_json: bool) -> None:
    """A run that has ended."""
    if as_json:
        print_json(run.to_json())
    else:
        print(run.text())


def print_runs(runs: Sequence[Run]) -> None:
    """A table, a run a row; never cut to the width of the terminal, so that paths can be copied."""
    rows = [("run", "model", "data", "recipe", "epochs", "time", "accuracy", "status"), *map(_cells, runs)]
    print("\n".join(align(rows)))


def _cells(run: Run) -> tuple[str, ...]:
    from striate.plan import format_seconds

    row = run.to_json()
    if row["status"] == "unreadable":
        return (row["path"], *6 * "-", row["status"])
    accuracy = "-" if row["accuracy"] is None else f"{100 * row['accuracy']:.2f} %"
    described = (row["path"], row["model"], row["data"], row["recipe"], str(row["epochs"]))
    return (*described, format_seconds(row["seconds"]), accuracy, row["status"])


def print_predictions(predictions: Iterable[Prediction], kind: Kind, top: int, csv: str | None, as_json: bool) -> int:
    """Predictions as they come, as text, as JSON lines or as a table; returns the number of failures."""
    from striate.files import replacing
    from striate.prediction_rows import write_csv, write_json_lines

    if as_json:
        return write_json_lines(predictions, sys.stdout)
    if csv == "-":
        return write_csv(predictions, sys.stdout, kind, top)
    if csv is None:
        return sum(_print_prediction(prediction, kind) for prediction in predictions)
    with replacing(Path(csv), "the table of predictions") as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        failures = write_csv(predictions, text, kind, top)
        text.detach()
    return failures


def _print_prediction(prediction: Prediction, kind: Kind) -> bool:
    """One line; whether it is an error."""
    if prediction.error is not None:
        said = f"error: {prediction.error}"
    elif prediction.value is not None:
        said = f"{prediction.value:.6g}"
    else:
        named = {label: f"{label} {100 * probability:.1f} %" for label, probability in prediction.top}
        said = "  ".join(named.values()) if kind == "label" else _marked(named, prediction.labels)
    print(f"{prediction.source}: {said}", file=sys.stderr if prediction.error is not None else sys.stdout, flush=True)
    return prediction.error is not None


def _marked(named: dict[str, str], present: Sequence[str]) -> str:
    """Labels of which any number may be present: the others stand in brackets, and present ones beyond the first follow."""
    words = [text if label in present else f"({text})" for label, text in named.items()]
    more = [label for label in present if label not in named]
    return "  ".join([*([] if present else ["none"]), *words, *([f"and {', '.join(more)}"] if more else [])])
