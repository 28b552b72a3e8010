"""The servers that :mod:`benchmarks.serving` measures, each started with the same model and stopped again."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import python_of
from benchmarks.side_by_side import ROOT

START_S = 180
"""Seconds in which a server must answer."""


@dataclass(frozen=True)
class Setting:
    """What is served, and how it is asked.

    Attributes:
        connections: of the generator while it measures throughput: two batches, so that one can wait while one runs.
    """

    model: str
    photos: str
    bodies: Path
    max_batch: int
    max_queue: int
    delay_ms: float
    seconds: float

    @property
    def connections(self) -> int:
        return 2 * self.max_batch


@dataclass(frozen=True)
class Server:
    """A server that listens."""

    port: int
    path: str


@contextlib.contextmanager
def striate_server(setting: Setting) -> Iterator[Server]:
    """`striate serve`, its journal to a file as in production."""
    words = [sys.executable, "-m", "striate", "serve", f"m={setting.model}", "--port", "0", "--max-batch", str(setting.max_batch)]
    words += ["--max-queue", str(setting.max_queue), "--max-delay-ms", str(setting.delay_ms)]
    with running(words) as process:
        said = ""
        while (found := re.search(r"serving at http://127\.0\.0\.1:(\d+)", said)) is None:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise SystemExit("striate serve did not start")
            said += line
        yield Server(int(found[1]), "/predict")


@contextlib.contextmanager
def litserve_server(setting: Setting) -> Iterator[Server]:
    """The peer, in its own environment."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [
        str(python_of("litserve")),
        "-m",
        "benchmarks.peers.litserve_server",
        setting.model,
        str(port),
        str(setting.max_batch),
    ]
    with running([*words, str(setting.delay_ms / 1000)]):
        begun = time.monotonic()
        while not _is_healthy(port):
            if time.monotonic() - begun > START_S:
                raise SystemExit("LitServe did not start")
            time.sleep(0.5)
        yield Server(port, "/predict")


def _is_healthy(port: int) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


@contextlib.contextmanager
def running(words: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A process of its own group; at the end every process of the group has ended."""
    with tempfile.TemporaryFile() as journal:
        process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=journal, text=True, start_new_session=True)
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def metrics(server: Server) -> dict[str, float]:
    """What the server counts, by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}
