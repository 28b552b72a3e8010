"""Micro-batches: one thread runs the networks, on whatever has come together while it was busy.

A batch goes off as soon as the engine is free and nobody else is about to join it. Others are about to join where images of
the same model are being decoded, or where the batch before was larger and has just been answered: its clients ask again. For
them a batch waits, at most ``max_delay_ms``. So a lone request never waits, and under load batches fill by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from striate.serving.limits import Limits
from striate.serving.metrics_text import Metrics

Images = NDArray[np.uint8]
Raw = NDArray[np.float32]
Network = Callable[[Images], Raw]


class Job:
    """The images of one request on their way through a network.

    Attributes:
        images: uint8 [N, C, h, w].
        answer: raw outputs [N, K], once all of them are there; or the exception of the network.
        deadline: on the clock of ``time.monotonic``; images not yet begun by then are dropped.
    """

    def __init__(self, images: Images, deadline: float, answer: asyncio.Future[Raw]) -> None:
        self.images, self.deadline, self.answer = images, deadline, answer
        self.since = time.monotonic()
        self.taken = self.done = 0
        self.raw: Raw | None = None

    def is_over(self, now: float) -> bool:
        """Nobody waits for it any more."""
        return self.answer.done() or now >= self.deadline

    def put(self, start: int, rows: Raw) -> bool:
        """Keeps the outputs of the images from ``start`` on; whether these were the last ones."""
        if self.raw is None:
            self.raw = np.empty((len(self.images), *rows.shape[1:]), rows.dtype)
        self.raw[start : start + len(rows)] = rows
        self.done += len(rows)
        return self.done == len(self.images)


class Lane:
    """The queue of one network. Everything but the constructor is called under the engine's lock."""

    def __init__(self, name: str, network: Network, limits: Limits) -> None:
        self.name, self.network, self.limits = name, network, limits
        self.jobs: deque[Job] = deque()
        self.queued = self.coming = self.last_size = 0
        self.last_end = 0.0

    def due(self, now: float) -> float | None:
        """When the next batch may go: now or before, or a later moment; None without images."""
        while self.jobs and self.jobs[0].is_over(now):
            job = self.jobs.popleft()
            self.queued -= len(job.images) - job.taken
        if not self.jobs:
            return None
        delay = self.limits.max_delay_ms / 1000
        returning = self.last_size if now - self.last_end < delay else 0
        if self.queued >= min(self.limits.max_batch, max(self.queued + self.coming, returning)):
            return now
        latest = self.jobs[0].since + delay
        return latest if self.coming else min(latest, self.last_end + delay)

    def take(self) -> list[tuple[Job, int, int]]:
        """The next batch as (job, first image, end), oldest first."""
        pieces: list[tuple[Job, int, int]] = []
        room, now = self.limits.max_batch, time.monotonic()
        while room and self.jobs:
            job = self.jobs[0]
            end = job.taken if job.is_over(now) else min(len(job.images), job.taken + room)
            if end > job.taken:
                pieces.append((job, job.taken, end))
                room -= end - job.taken
            if end == len(job.images) or end == job.taken:
                self.jobs.popleft()
                self.queued -= len(job.images) - job.taken
            else:
                self.queued -= end - job.taken
            job.taken = end
        return pieces


class Engine:
    """The thread that runs every network of the server, one batch at a time, in turns.

    One thread for all of them: two networks at once would share the same cores, and both would be late.
    """

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits, self._metrics = limits, metrics
        self._lanes: deque[Lane] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="striate-engine", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether its thread still runs."""
        return self._thread.is_alive()

    def open_lane(self, name: str, network: Network) -> Lane:
        """A queue for ``network``; ``name`` labels its metrics."""
        lane = Lane(name, network, self._limits)
        with self._changed:
            self._lanes.append(lane)
        return lane

    def close_lane(self, lane: Lane) -> None:
        """Forgets a network that nobody asks any more."""
        with self._changed:
            self._lanes.remove(lane)

    @contextlib.contextmanager
    def expecting(self, lane: Lane, num_images: int) -> Iterator[None]:
        """Within it, batches of ``lane`` know that so many images may join them soon."""
        with self._changed:
            lane.coming += num_images
        try:
            yield
        finally:
            with self._changed:
                lane.coming -= num_images
                self._changed.notify()

    def submit(self, lane: Lane, images: Images, deadline: float) -> asyncio.Future[Raw]:
        """Queues uint8 [N, C, h, w], N at least 1. The result is [N, K]; cancelling it drops what has not begun."""
        job = Job(images, deadline, self._loop.create_future())
        with self._changed:
            lane.jobs.append(job)
            lane.queued += len(images)
            self._changed.notify()
        return job.answer

    def close(self) -> None:
        """Ends the thread after the batch it is at."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            lane, pieces = batch
            if pieces:
                finished = self._compute(lane, pieces)
                with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits
                    self._loop.call_soon_threadsafe(_deliver, finished)

    def _next(self) -> tuple[Lane, list[tuple[Job, int, int]]] | None:
        with self._changed:
            while not self._closing:
                now, earliest = time.monotonic(), None
                for lane in self._lanes:
                    due = lane.due(now)
                    if due is not None and due <= now:
                        self._lanes.remove(lane)
                        self._lanes.append(lane)  # the others first, next time
                        return lane, lane.take()
                    if due is not None:
                        earliest = due if earliest is None else min(due, earliest)
                self._changed.wait(None if earliest is None else max(0.0, earliest - now))
        return None

    def _compute(self, lane: Lane, pieces: list[tuple[Job, int, int]]) -> list[tuple[Job, Exception | None]]:
        """Runs one batch; the jobs that it finishes, or that it fails."""
        parts = [job.images[start:end] for job, start, end in pieces]
        begun = time.monotonic()
        try:
            raw = lane.network(parts[0] if len(parts) == 1 else np.concatenate(parts))
        except Exception as error:  # whatever a backend throws: these requests fail, the server goes on
            lane.last_size, lane.last_end = 0, time.monotonic()
            return [(job, error) for job, _, _ in pieces]
        ended = time.monotonic()
        finished: list[tuple[Job, Exception | None]] = []
        offset = 0
        for job, start, end in pieces:
            self._metrics.wait_s.observe(lane.name, begun - job.since)
            if job.put(start, raw[offset : offset + end - start]):
                finished.append((job, None))
            offset += end - start
        self._metrics.batch_s.observe(lane.name, ended - begun)
        self._metrics.batch_size.observe(lane.name, offset)
        lane.last_size, lane.last_end = offset, ended
        return finished


def _deliver(finished: list[tuple[Job, Exception | None]]) -> None:
    for job, error in finished:
        if job.answer.done():
            continue
        if error is not None:
            job.answer.set_exception(error)
        elif job.raw is not None:
            job.answer.set_result(job.raw)
