"""Fixtures and settings every test shares."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import ROOT, Ended

from striate import machine

# Small tensors: OpenMP's barriers cost more than a second thread brings, and xdist runs a worker a core.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module", autouse=True)
def _freed_memory_goes_back() -> Iterator[None]:
    """What a module's tests no longer hold is the system's again: a command keeps it with the process, for all that follow."""
    yield
    machine.release_freed_memory()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout, or ``STRIATE_TEST_DATA``; the test is skipped, and counted, without it."""
    root = Path(os.environ.get("STRIATE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (root / "INDEX.md").exists():
        pytest.skip("needs the shared data folder (set STRIATE_TEST_DATA)")
    return root


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium or Chrome; the test is skipped, and counted, without one."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if path := shutil.which(name):
            return path
    pytest.skip("needs Chromium")


@pytest.fixture(scope="session")
def thorough() -> bool:
    """Whether every variant and fault is wanted: ``make test-all`` sets ``STRIATE_TEST_ALL``."""
    return os.environ.get("STRIATE_TEST_ALL") == "1"


@pytest.fixture
def striate_command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """``striate_command("train", folder, "--epochs", 1)``: the command line, in this process."""
    from striate.cli import main

    def call(*words: object) -> Ended:
        capsys.readouterr()
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Ended(status, out, err)

    return call


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One counted line of what could not run, above pytest's own closing line."""
    skipped = terminalreporter.getreports("skipped")
    if not skipped:
        return
    reasons: Counter[str] = Counter()
    for report in skipped:
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        reasons[text.removeprefix("Skipped: ").removeprefix("NOT RUN: ").strip()] += 1
    told = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    terminalreporter.write_line(f"NOT RUN: {len(skipped)} test{'s' * (len(skipped) != 1)}: {told}", yellow=True)
