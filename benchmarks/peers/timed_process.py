"""Any program, timed from outside: from its start to its first line, and to its end. The cores that it kept busy meanwhile."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.peers import job as asked


def measure(words: list[str]) -> dict[str, float]:
    """One run. Its first line counts from the moment at which it can be read.

    Raises:
        SystemExit: it failed; with the last line of what it said.
    """
    before = os.times()
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    first = time.perf_counter() - begun
    _, complaints = process.communicate()
    whole = time.perf_counter() - begun
    if process.returncode:
        raise SystemExit((complaints.strip() or "nothing was said").splitlines()[-1])
    after = os.times()
    busy = after.children_user - before.children_user + after.children_system - before.children_system
    return {"first_line": first, "whole": whole, "busy_cores": busy / whole}


def main() -> None:
    """The median of ``times`` runs of ``words``, after ``unmeasured`` ones that bring the files into memory."""
    job = asked.read_job()
    runs: list[dict[str, float]] = []
    for number in range(-job.get("unmeasured", 1), job["times"]):
        run = measure(job["words"])
        runs += [run] if number >= 0 else []
    found: dict[str, Any] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    if "images" in job:
        found["images_per_second"] = job["images"] / found["whole"]
    asked.answer(**found)


if __name__ == "__main__":
    main()
