"""Is anything else running? What /proc/stat says of the whole machine, less what the measured process took itself."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")
WINDOW = 2.0
"""Seconds of one look at a machine that ought to be idle."""


@dataclass(frozen=True)
class Ticks:
    """Processor seconds of all cores since the start of the machine.

    Attributes:
        busy: spent in programs or the kernel, by anyone.
        stolen: that another virtual machine had instead.
    """

    busy: float
    stolen: float

    def __sub__(self, earlier: Ticks) -> Ticks:
        return Ticks(self.busy - earlier.busy, self.stolen - earlier.stolen)


@dataclass(frozen=True)
class Wait:
    """What :func:`wait_until_quiet` found.

    Attributes:
        seconds: waited.
        others: cores that others kept busy in the last look; None where the system does not say.
        quiet: whether that was at most the limit.
    """

    seconds: float
    others: float | None
    quiet: bool


def parse_ticks(text: str, hertz: int) -> Ticks:
    """Reads the first line of /proc/stat (``man 5 proc``): user, nice, system, idle, iowait, irq, softirq, steal, ..."""
    user, nice, system, _, _, irq, softirq, steal = (int(word) / hertz for word in text.partition("\n")[0].split()[1:9])
    return Ticks(user + nice + system + irq + softirq, steal)


def read_ticks() -> Ticks | None:
    """The machine's counters now; None where there is no /proc/stat."""
    try:
        return parse_ticks(STAT.read_text(), os.sysconf("SC_CLK_TCK"))
    except OSError:
        return None


def wait_until_quiet(limit: float, patience: float) -> Wait:
    """Sleeps until others keep at most ``limit`` cores busy over ``WINDOW`` seconds, or ``patience`` seconds have passed."""
    begun = time.monotonic()
    while True:
        before, looked = read_ticks(), time.monotonic()
        if before is None:
            return Wait(0.0, None, False)
        time.sleep(WINDOW)
        after = read_ticks()
        assert after is not None
        taken = after - before
        others = (taken.busy + taken.stolen) / (time.monotonic() - looked)
        waited = time.monotonic() - begun
        if others <= limit or waited >= patience:
            return Wait(round(waited, 1), round(others, 3), others <= limit)
