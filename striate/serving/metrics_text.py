"""Counters and histograms in the text that Prometheus reads (exposition format 0.0.4)."""

from __future__ import annotations

import os
import resource
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Counter:
    """Numbers that only grow, one for each combination of labels."""

    kind = "counter"

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name, self.text, self.labels = name, text, tuple(labels)
        self.values: dict[tuple[str, ...], float] = {} if labels else {(): 0}

    def add(self, *labels: str, amount: float = 1) -> None:
        """``labels`` in the order of their names."""
        self.values[labels] = self.values.get(labels, 0) + amount

    def lines(self) -> Iterator[str]:
        """Samples."""
        for labels, value in list(self.values.items()):
            yield f"{self.name}{_braces(self.labels, labels)} {value:g}"


class Gauge:
    """A number as it is when asked for; a function gives pairs of label values and number."""

    kind = "gauge"

    def __init__(
        self,
        name: str,
        text: str,
        read: Callable[[], dict[tuple[str, ...], float]],
        labels: Sequence[str] = (),
        kind: str = "gauge",
    ) -> None:
        self.name, self.text, self.labels, self.read, self.kind = name, text, tuple(labels), read, kind

    def lines(self) -> Iterator[str]:
        """Samples."""
        for labels, value in self.read().items():
            yield f"{self.name}{_braces(self.labels, labels)} {value!r}"


class Histogram:
    """How often a value fell at or below each bound, with the sum and the number of all. Each has one writing thread."""

    kind = "histogram"

    def __init__(self, name: str, text: str, bounds: Sequence[float], label: str) -> None:
        self.name, self.text, self.bounds, self.label = name, text, tuple(bounds), label
        self.values: dict[str, tuple[list[int], list[float]]] = {}

    def observe(self, label: str, value: float) -> None:
        """Counts one value."""
        counts, total = self.values.setdefault(label, ([0] * (len(self.bounds) + 1), [0.0]))
        counts[bisect_left(self.bounds, value)] += 1
        total[0] += value

    def lines(self) -> Iterator[str]:
        """Samples, each bucket with those below it."""
        for label, (counts, total) in list(self.values.items()):
            below = 0
            for bound, count in zip((*self.bounds, float("inf")), counts, strict=True):
                below += count
                le = "+Inf" if bound == float("inf") else f"{bound:g}"
                yield f"{self.name}_bucket{_braces((self.label, 'le'), (label, le))} {below}"
            yield f"{self.name}_sum{_braces((self.label,), (label,))} {total[0]!r}"
            yield f"{self.name}_count{_braces((self.label,), (label,))} {below}"


class Metrics:
    """All that one server counts."""

    def __init__(self) -> None:
        self.requests = Counter("striate_requests_total", "Requests answered.", ("path", "status"))
        self.errors = Counter("striate_errors_total", "Answers that are errors, by their type.", ("type",))
        self.images = Counter("striate_images_total", "Images predicted.", ("model",))
        self.replaced = Counter("striate_decoders_replaced_total", "Decoding processes that died or were killed.")
        self.request_s = Histogram("striate_request_seconds", "From a request's headers to its answer.", SECONDS, "path")
        self.decode_s = Histogram("striate_decode_seconds", "One picture, from file to pixels.", SECONDS, "model")
        self.wait_s = Histogram("striate_wait_seconds", "An image between its decoding and its batch.", SECONDS, "model")
        self.batch_s = Histogram("striate_batch_seconds", "One batch in the network.", SECONDS, "model")
        self.batch_size = Histogram("striate_batch_images", "Images in a batch.", SIZES, "model")
        started = time.time()
        self.gauges = [
            Gauge("process_resident_memory_bytes", "Memory of the server process.", lambda: {(): resident_bytes()}),
            Gauge(
                "process_cpu_seconds_total", "CPU time of the server process.", lambda: {(): time.process_time()}, kind="counter"
            ),
            Gauge("process_start_time_seconds", "When the server started, in seconds since 1970.", lambda: {(): started}),
        ]

    def text(self) -> str:
        """The page at ``/metrics``."""
        families: tuple[Counter | Gauge | Histogram, ...] = (
            *(self.requests, self.errors, self.images, self.replaced),
            *(self.request_s, self.decode_s, self.wait_s, self.batch_s, self.batch_size),
            *self.gauges,
        )
        lines: list[str] = []
        for family in families:
            lines += [f"# HELP {family.name} {family.text}", f"# TYPE {family.name} {family.kind}", *family.lines()]
        return "\n".join(lines) + "\n"


def resident_bytes() -> float:
    """Memory of this process that is in RAM; at its peak, where the system does not tell it now."""
    try:
        with open("/proc/self/statm") as file:
            return float(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    except OSError:
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _braces(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
