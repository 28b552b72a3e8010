"""Striate as users run it: ``striate train`` with its defaults, in a process of its own and without any cache of earlier runs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers import job as asked
from striate.runs import Run


def training_speeds(history: list[dict[str, Any]]) -> list[float]:
    """Images a second of all epochs but the first; of those that validate only where all do, for it counts in their time."""
    later = history[1:] or history
    return [row["images_per_second"] for row in later if not row["validation"]] or [row["images_per_second"] for row in later]


def answer_run(run: Run, **more: Any) -> None:
    """Answers with what the files of a run say."""
    record, history = run.record, run.history
    resolved, environment = record["resolved"], record["environment"]
    later = history[1:] or history
    asked.answer(
        images_per_second=statistics.median(training_speeds(history)),
        first_epoch=history[0]["images_per_second"],
        input_share=sum(row["input_seconds"] for row in later) / sum(row["seconds"] for row in later),
        accuracy=run.accuracy,
        validation_accuracy=max(row["validation"]["accuracy"] for row in history if row["validation"]),
        parameters=record["model"]["parameters"],
        precision=resolved["precision"],
        choices={name: resolved[name] for name in ("precision", "memory_format", "micro_batch", "threads", "tuned_allocator")},
        notes=resolved["notes"],
        versions={"torch": environment["torch"], "striate": environment["striate"]},
        threads=resolved["threads"],
        **more,
    )


def main() -> None:
    job = asked.read_job()
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "run"
        words = [sys.executable, "-m", "striate", "train", job["data"], "--model", job["model"], "--epochs", str(job["epochs"])]
        words += ["--split", job["split"], "--batch", str(job["batch"]), "--seed", str(job["seed"]), "--out", str(out)]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        answer_run(Run(out))


if __name__ == "__main__":
    main()
