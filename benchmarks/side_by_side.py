"""Runs striate and its peers one after the other, again and again (A B C, A B C, ...), and compares them round by round.

Each run is a process of its own in the side's environment; before it, the runner waits until nothing else is busy, and after it
notes how many cores others took meanwhile. A ratio is formed within each round, then the median over rounds is taken, so that a
machine that slows down does so for all. A run from which the host of a virtual machine took processor time is run again, a few
times at most. What stands in the record is not run again: a stopped comparison goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.comparison import Figure, table
from benchmarks.environments import PROJECT, python_of
from benchmarks.quiet import Wait, read_ticks, wait_until_quiet
from striate.environment import describe_environment
from striate.files import make_folder, write_json
from striate.machine import available_memory, cpu_flags

ROOT = Path(__file__).resolve().parents[1]
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
MADE_BY = ("cpu", "cores", "striate", "torch", "git_commit")
"""What must be as it was for a comparison to go on; else it begins anew, and the old record is kept as NAME.old.json."""
ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1073741824:glibc.malloc.top_pad=268435456"}
"""Freed memory stays with the process: what ``striate.machine.tune`` sets, for a peer that knows nothing of it."""


@dataclass(frozen=True)
class Side:
    """One that is compared.

    Attributes:
        name: in the table.
        module: a script of ``benchmarks.peers``, which reads a job as JSON from its command line and prints figures as JSON.
        environment: the Python it runs in.
        job: what it is asked beyond the job of all.
        environ: variables it runs under.
        peer: whether it may be called the best peer (plain PyTorch and Keras as they come).
        absent: why it cannot run here; None where it can.
    """

    name: str
    module: str
    environment: str = PROJECT
    job: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    peer: bool = False
    absent: str | None = None


@dataclass(frozen=True)
class Options:
    """How a comparison is run.

    Attributes:
        out: folder of the records.
        pairs: rounds.
        sides: names of the sides to run; None: all. Striate always runs.
        quiet: cores that others may keep busy when a run begins.
        patience: seconds to wait for that; then the run begins all the same, and the table says so.
        timeout: seconds that one run may take.
        stolen: cores that the host may take in the mean of a run, without its being run again.
        repeats: how often it is run again at most; then the one with the least stolen counts.
    """

    out: Path
    pairs: int = 5
    sides: tuple[str, ...] | None = None
    quiet: float = 0.05
    patience: float = 600.0
    timeout: float = 3600.0
    stolen: float = 0.1
    repeats: int = 2


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that all comparisons have in common."""
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of the records")
    parser.add_argument("--pairs", type=int, default=Options.pairs, help="rounds: runs of each side")
    parser.add_argument("--sides", nargs="+", help="only these peers, by their names in the table")
    parser.add_argument("--quiet", type=float, default=Options.quiet, help="cores that others may keep busy when a run begins")
    parser.add_argument("--patience", type=float, default=Options.patience, help="seconds to wait for a quiet machine")
    parser.add_argument("--timeout", type=float, default=Options.timeout, help="seconds that one run may take")
    parser.add_argument("--stolen", type=float, default=Options.stolen, help="cores that the host may take during a run")
    parser.add_argument("--repeats", type=int, default=Options.repeats, help="how often that is run again at most")


def options_of(given: argparse.Namespace) -> Options:
    """What was given on the command line."""
    sides = None if given.sides is None else tuple(given.sides)
    limits = {name: getattr(given, name) for name in ("quiet", "patience", "timeout", "stolen", "repeats")}
    return Options(given.out, given.pairs, sides, **limits)


def compare(
    question: str,
    sides: Sequence[Side],
    job: Mapping[str, Any],
    figures: Sequence[Figure],
    options: Options,
    ceilings: bool = False,
) -> dict[str, Any]:
    """Runs the rounds that are still missing, prints the table, and returns the record.

    Args:
        question: the record's name.
        sides: striate's first.
        job: asked of every side; beside it the number of the round, as ``seed``.
        figures: columns of the table.
        ceilings: whether the machine's are measured first.

    Raises:
        SystemExit: an unknown side, or networks that are not the same.
    """
    sides = _chosen(sides, options.sides)
    path = make_folder(options.out) / f"{question}.json"
    machine = describe_machine()
    asked = {"job": dict(job), "sides": {side.name: {**asdict(side), "peer": side.peer} for side in sides}}
    record = json.loads(path.read_text()) if path.exists() else {}
    if not _goes_on(record, asked, machine):
        if record:
            path.replace(path.with_suffix(".old.json"))
        record = {"question": question, "asked": asked, "machine": machine, "rounds": []}
    if ceilings and "ceilings" not in record:
        record["ceilings"] = run_side(Side("ceilings", "ceilings"), {}, options)
    for number in range(options.pairs):
        if number == len(record["rounds"]):
            record["rounds"].append({})
        readings = record["rounds"][number]
        for side in (side for side in sides if side.absent is None and "seconds" not in readings.get(side.name, {})):
            readings[side.name] = run_side(side, {**job, "seed": number}, options)
            print(f"round {number + 1} of {options.pairs}: {side.name}: {_told(readings[side.name], figures)}", flush=True)
            _same_network(record)
            write_json(path, record)
    print()
    print("\n".join(table(record, figures)), flush=True)
    return record


def run_side(side: Side, job: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """One run: what the side printed, the process's time and memory, and how busy others were; or ``error``.

    Run again while the host took more than ``options.stolen`` cores; of all these the one with the least stolen is returned, with
    ``repeated``, how many there were beside it.
    """
    runs = [_run_once(side, job, options)]
    while len(runs) <= options.repeats and (runs[-1]["stolen"] or 0.0) > options.stolen:
        runs.append(_run_once(side, job, options))
    return {**min(runs, key=lambda run: run["stolen"] or 0.0), "repeated": len(runs) - 1}


def _run_once(side: Side, job: Mapping[str, Any], options: Options) -> dict[str, Any]:
    python = python_of(side.environment)
    with tempfile.TemporaryDirectory() as cache:
        environ = {**os.environ, "STRIATE_CACHE": cache, "TF_CPP_MIN_LOG_LEVEL": "3", **side.environ}
        words = [str(python), "-m", f"benchmarks.peers.{side.module}", json.dumps({**job, **side.job})]
        wait = wait_until_quiet(options.quiet, options.patience)
        return _run(words, environ, options.timeout, wait)


def describe_machine() -> dict[str, Any]:
    """What a reader must know of the machine to place the figures."""
    memory = available_memory()
    return {
        **describe_environment(),
        "instructions": [name for name in INSTRUCTIONS if name in cpu_flags()],
        "available_memory": memory,
        "threads_asked": os.environ.get("OMP_NUM_THREADS"),
    }


def _goes_on(record: dict[str, Any], asked: dict[str, Any], machine: dict[str, Any]) -> bool:
    """Whether the same was asked of the same code on the same machine."""
    kept = all(record.get("machine", {}).get(name) == machine[name] for name in MADE_BY)
    return kept and record.get("asked") == json.loads(json.dumps(asked))


def _chosen(sides: Sequence[Side], names: tuple[str, ...] | None) -> list[Side]:
    if names is None:
        return list(sides)
    known = {side.name: side for side in sides}
    if strange := [name for name in names if name not in known]:
        raise SystemExit(f"no side is called {strange[0]!r}; there are {', '.join(map(repr, known))}")
    return [sides[0], *(known[name] for name in names if name != sides[0].name)]


def _run(words: list[str], environ: dict[str, str], timeout: float, wait: Wait) -> dict[str, Any]:
    before = read_ticks()
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as complaints:
        begun = time.perf_counter()
        process = subprocess.Popen(
            words, stdout=printed, stderr=complaints, env=environ, cwd=ROOT, start_new_session=True, stdin=subprocess.DEVNULL
        )
        timer = threading.Timer(timeout, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        try:
            # Not process.wait(): only this call gives the memory and the processor time of this very process and its children.
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        finally:
            timer.cancel()
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (printed, complaints):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    cpu_seconds = usage.ru_utime + usage.ru_stime
    reading: dict[str, Any] = {
        "cpu_seconds": round(cpu_seconds, 3),
        "wait": asdict(wait),
        **_disturbance(before, cpu_seconds, seconds),
    }
    if process.returncode:
        last = (texts[1].strip() or texts[0].strip() or "nothing was said").splitlines()[-1]
        why = f"over {timeout:.0f} s" if process.returncode == -signal.SIGKILL and seconds >= timeout else last
        return {**reading, "error": f"exit {process.returncode}: {why}"}
    told: dict[str, Any] = json.loads(texts[0].strip().splitlines()[-1])
    # ru_maxrss is in bytes on macOS, in KiB elsewhere.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {**reading, "seconds": round(seconds, 3), "peak_memory": peak, **told}


def _disturbance(before: Any, cpu_seconds: float, seconds: float) -> dict[str, float | None]:
    """Cores that other processes, and other machines on the same host, took meanwhile."""
    after = read_ticks()
    if before is None or after is None:
        return {"others": None, "stolen": None}
    taken = after - before
    return {"others": round(max(0.0, taken.busy - cpu_seconds) / seconds, 3), "stolen": round(taken.stolen / seconds, 3)}


def _same_network(record: dict[str, Any]) -> None:
    """Refuses to compare networks of different size."""
    sizes = {
        name: reading["parameters"]
        for readings in record["rounds"]
        for name, reading in readings.items()
        if reading.get("parameters") is not None
    }
    if len(set(sizes.values())) > 1:
        raise SystemExit(f"not the same network: {', '.join(f'{name} has {size:,} parameters' for name, size in sizes.items())}")


def _told(reading: dict[str, Any], figures: Sequence[Figure]) -> str:
    if "error" in reading:
        return str(reading["error"])
    told = ", ".join(f"{figure.text(reading[figure.key])} {figure.title}" for figure in figures if figure.key in reading)
    others = reading["others"]
    return told + ("" if others is None else f" (others took {others:.2f} cores)")
