"""What the tests of commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""


@dataclass(frozen=True)
class Ended:
    """A command line that has ended: its exit status and what it printed."""

    status: int
    out: str
    err: str
