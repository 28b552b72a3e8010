"""Training from the page: `striate train` in a process of its own, so that it outlives the page and the studio.

What is known of a training lies in its run's folder: ``studio.json`` (what was asked), ``train.log`` (what it said), and the
files that every run has. A studio that starts anew finds it all there again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from striate.errors import Failed, Refused, UsageError
from striate.files import make_folder, write_json
from striate.locking import LOCK_FILE, is_locked
from striate.runs import Run

ASKED_FILE, LOG_FILE = "studio.json", "train.log"

Phase = Literal["starting", "running", "paused", "stopped", "failed", "done"]

LOG_BYTES = 6000
"""Of the end of the log, shown on the page."""


@dataclass
class Trainings:
    """Trainings that this start of the studio began, or was asked to end.

    Attributes:
        processes: by the folder of their run.
        stopped: folders of those that were told to end.
    """

    processes: dict[Path, subprocess.Popen[bytes]] = field(default_factory=dict)
    stopped: set[Path] = field(default_factory=set)

    def start(self, folder: Path, words: Sequence[str], asked: dict[str, Any]) -> None:
        """Begins a run.

        Args:
            folder: of the run, see :func:`claim_folder`.
            words: of the command line after ``striate``, without ``--out``.
            asked: what the page asked for, kept beside the run.
        """
        write_json(folder / ASKED_FILE, asked)
        self._spawn(folder, [*words, "--out", str(folder)])

    def resume(self, run: Run, arch: str | None) -> None:
        """Goes on: a paused process at once, a stopped run from its newest checkpoint."""
        if is_locked(run.path):
            _signal(run.path, signal.SIGCONT)
            return
        self._spawn(run.path, ["resume", str(run.path), *(["--arch", arch] if arch else [])])

    def pause(self, folder: Path) -> None:
        """Holds the process where it is; it keeps its memory."""
        _signal(folder, signal.SIGSTOP)

    def stop(self, folder: Path) -> None:
        """Ends the process once it has saved: `striate resume` goes on from there, exactly."""
        process = self.processes.get(folder)
        self.stopped.add(folder)
        if not is_locked(folder) and process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)
            return
        _signal(folder, signal.SIGINT)
        _signal(folder, signal.SIGCONT)  # a paused one hears nothing before

    def state(self, folder: Path) -> dict[str, Any]:
        """Where a training stands, and in words why it ended, where it ended otherwise than by being done."""
        run, process = Run(folder), self.processes.get(folder)
        exit_status = process.poll() if process is not None else None
        alive = is_locked(folder) or (process is not None and exit_status is None)
        begun = run_has_begun(run)
        if alive:
            phase: Phase = "paused" if _is_held(folder) else "running" if begun and is_locked(folder) else "starting"
        elif begun and run.status == "done":
            phase = "done"
        else:
            phase = "stopped" if begun else "failed"
        why = "" if alive or phase == "done" else _why_ended(exit_status, begun, folder in self.stopped)
        return {"phase": phase, "why": why, "resumable": phase == "stopped", "log": read_log(folder)}

    def _spawn(self, folder: Path, words: list[str]) -> None:
        with open(folder / LOG_FILE, "ab") as log:
            self.stopped.discard(folder)
            # A session of its own: Ctrl-C in the studio's terminal is not meant for it.
            self.processes[folder] = subprocess.Popen(
                [sys.executable, "-m", "striate", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"},
            )


def run_has_begun(run: Run) -> bool:
    """Whether its record is written: before that there is a folder, and no run."""
    try:
        return bool(run.record)
    except UsageError:
        return False


def asked_of(folder: Path) -> dict[str, Any]:
    """What the page asked for; empty where the run was begun elsewhere."""
    try:
        asked = json.loads((folder / ASKED_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return asked if isinstance(asked, dict) else {}


def read_log(folder: Path) -> str:
    """The end of what the training said, from the beginning of a line."""
    try:
        with open(folder / LOG_FILE, "rb") as file:
            file.seek(0, os.SEEK_END)
            start = max(0, file.tell() - LOG_BYTES)
            file.seek(start)
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return text.partition("\n")[2] if start else text


def holder_of(folder: Path) -> int | None:
    """The process that trains in a folder."""
    if not is_locked(folder):
        return None
    with contextlib.suppress(OSError, ValueError):
        return int((folder / LOCK_FILE).read_text())
    return None


def _signal(folder: Path, number: signal.Signals) -> None:
    holder = holder_of(folder)
    if holder is None:
        raise Refused("Nothing is being trained in this run", where=folder, fix="resume it first")
    try:
        os.kill(holder, number)
    except OSError as error:
        raise Refused("The training cannot be reached", where=folder, why=error.strerror or str(error)) from error


def _is_held(folder: Path) -> bool:
    """Whether its process is stopped by a signal."""
    holder = holder_of(folder)
    if holder is None:
        return False
    with contextlib.suppress(OSError):
        # After the name, which may hold anything but a closing bracket at its end: "123 (python) T 1 ...".
        return Path(f"/proc/{holder}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    done = subprocess.run(["ps", "-o", "state=", "-p", str(holder)], capture_output=True, text=True, check=False)
    return done.stdout.strip().startswith("T")


def _why_ended(exit_status: int | None, begun: bool, stopped: bool) -> str:
    if stopped or exit_status in (130, 143):
        return "It was stopped, and everything is saved." if begun else "It was stopped before it began."
    if exit_status is None:
        return "It was not ended by this studio; perhaps the machine was restarted, or the process killed."
    if exit_status < 0:
        name = signal.Signals(-exit_status).name
        out_of_memory = " Often that is the system running out of memory." if exit_status == -signal.SIGKILL else ""
        return f"The process was killed ({name}).{out_of_memory}"
    return "It ended with an error; its last words are below."


def claim_folder(home: Path, wanted: str) -> Path:
    """Makes the folder ``wanted-N`` of a new run, N being the first number that is free.

    Raises:
        Failed: the disk refused.
    """
    plain = re.sub(r"[^\w.-]+", "-", wanted).strip("-.") or "run"
    make_folder(home)
    number = 1
    while True:
        folder = home / f"{plain}-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        except OSError as error:
            raise Failed("Could not create the run's folder", where=folder, why=error.strerror or str(error)) from error
        else:
            return folder
