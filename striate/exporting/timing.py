"""How fast a network answers on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from striate import machine
from striate.data.preprocess import Preprocess
from striate.prediction import Network

BATCH = 32
"""Of the throughput."""
OTHERS = 0.125
"""Share of the cores that other work may take while something is timed."""


@dataclass(frozen=True)
class Speed:
    """Measured here and now.

    Attributes:
        latency: seconds for one image.
        throughput: images a second in batches of 32; None where it was not measured.
    """

    latency: float
    throughput: float | None = None


@dataclass(frozen=True)
class Moment:
    """Clocks, read at once.

    Attributes:
        wall: of the time of day, in seconds.
        own: processor seconds of this process.
        every: processor seconds of all programs; None where the system does not say.
    """

    wall: float
    own: float
    every: float | None

    @staticmethod
    def now() -> Moment:
        return Moment(time.perf_counter(), time.process_time(), machine.busy_seconds())

    def disturbed(self) -> bool:
        """Whether others have taken a noticeable part of the cores since; the average load would count this process too."""
        now = Moment.now()
        if self.every is None or now.every is None:
            return machine.is_busy()
        others = (now.every - self.every) - (now.own - self.own)
        return others > OTHERS * machine.num_cores() * (now.wall - self.wall)


def speed(network: Network, preprocess: Preprocess, seconds: float = 0.5) -> Speed:
    """Of a network that takes ready tensors, about twice ``seconds``: the median of the calls, after some that do not count."""
    images = np.random.default_rng(0).integers(0, 256, (BATCH, preprocess.channels, *preprocess.size), dtype=np.uint8)
    one = images[:1]
    return Speed(median_seconds(lambda: network(one), seconds), BATCH / median_seconds(lambda: network(images), seconds))


def median_seconds(call: Callable[[], object], seconds: float = 0.5) -> float:
    """Of at least five calls, after two that do not count."""
    for _ in range(2):
        call()
    times: list[float] = []
    while len(times) < 5 or (sum(times) < seconds and len(times) < 1000):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)
