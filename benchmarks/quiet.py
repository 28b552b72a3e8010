"""Is anything else running? What /proc/stat says of the whole machine, less what the measured process took itself.

A host that runs more virtual machines than it has cores takes them from the busy: an idle machine cannot see it. So a look at
others is followed by a short burst on all cores.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

STAT = Path("/proc/stat")
WINDOW = 2.0
"""Seconds of one look at a machine that ought to be idle."""
BURST = 1.0
"""Seconds that all cores are kept busy for, to see whether the host lets them."""
BLOCK = bytes(1 << 20)


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
        quiet: whether that, and what was stolen, was at most the limit.
        stolen: cores that the host took from the last burst; None where there was none.
    """

    seconds: float
    others: float | None
    quiet: bool
    stolen: float | None = None


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
    """Waits until others keep at most ``limit`` cores busy over ``WINDOW`` seconds and the host takes at most ``limit`` from a
    burst on all of them, or ``patience`` seconds have passed."""
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
        stolen = stolen_in_burst() if others <= limit else None
        quiet = stolen is not None and stolen <= limit
        waited = time.monotonic() - begun
        if quiet or waited >= patience:
            return Wait(round(waited, 1), round(others, 3), quiet, None if stolen is None else round(stolen, 3))


def stolen_in_burst() -> float:
    """Cores that the host takes away while all of them are kept busy for ``BURST`` seconds."""
    before, begun = read_ticks(), time.monotonic()
    threads = [threading.Thread(target=_busy, args=(begun + BURST,)) for _ in range(os.cpu_count() or 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = read_ticks()
    assert before is not None
    assert after is not None
    return (after - before).stolen / (time.monotonic() - begun)


def _busy(until: float) -> None:
    while time.monotonic() < until:
        sha256(BLOCK)  # a block of this size is digested without the interpreter's lock
