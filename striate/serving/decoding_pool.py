"""Processes that decode pictures, each replaced when it dies or takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from striate.data.image_file import MAX_PIXELS, MEMORY_A_PIXEL
from striate.data.preprocess import Preprocess
from striate.errors import Failed
from striate.serving.decode_worker import ANSWER, ERROR, REQUEST
from striate.serving.limits import Limits
from striate.serving.metrics_text import Metrics
from striate.serving.refusals import Refusal, of_image

Pixels = NDArray[np.uint8]

START_S = 60.0
"""Seconds within which a new process must report: generous, for a machine may be busy."""

AHEAD = 4
"""Pictures that a process has been given: it goes on with the next one without waiting until the event loop, which may be busy
with turning others away, has taken note of the last."""

_DEATHS = (asyncio.IncompleteReadError, ConnectionError)

SLACK = 128 * 2**20
"""Bytes of memory beyond the largest picture: the encoded file, the resized picture and the allocator's own."""


@dataclass(frozen=True)
class Recipe:
    """A preprocessing as it is sent to a process.

    Attributes:
        label: of the model, for metrics.
        shape: (height, width, channels) of what comes back.
        text: the preprocessing as JSON.
    """

    label: str
    shape: tuple[int, int, int]
    text: bytes

    @classmethod
    def of(cls, label: str, preprocess: Preprocess, max_pixels: int) -> Recipe:
        """``max_pixels`` lowers the cap of the model; pixels do not depend on it."""
        preprocess = replace(preprocess, max_pixels=min(max_pixels, preprocess.max_pixels))
        return cls(label, (*preprocess.size, preprocess.channels), json.dumps(preprocess.to_json()).encode())


@dataclass(frozen=True)
class _Task:
    recipe: Recipe
    data: bytes | memoryview
    pixels: asyncio.Future[Pixels]


class _Decoder:
    """One process, the socket to it, and the tasks that it has been given, oldest first."""

    def __init__(self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.process, self._reader, self._writer = process, reader, writer
        self.tasks: deque[_Task] = deque()
        self.is_late = False
        self._alarm: asyncio.TimerHandle | None = None

    @classmethod
    async def start(cls, memory: int) -> _Decoder:
        """A process that has said that it is ready.

        Raises:
            Failed: it does not.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            # One thread each: there is a process a core. The path is ours, so that it finds the same package.
            environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "striate.serving.decode_worker", str(theirs.fileno()), str(memory)),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        decoder = cls(process, *await asyncio.open_connection(sock=ours, limit=2**22))
        try:
            async with asyncio.timeout(START_S):
                await decoder._answer()
        except (TimeoutError, *_DEATHS) as error:
            await decoder.end()
            raise Failed("A decoding process did not start", why=type(error).__name__, fix="look at what it printed") from error
        return decoder

    def give(self, task: _Task, timeout_s: float) -> None:
        """Sends a task; answers come in the order in which tasks were given."""
        self.tasks.append(task)
        if len(self.tasks) == 1:
            self._watch(timeout_s)
        head = REQUEST.pack(len(task.recipe.text), len(task.data))
        self._writer.write(b"".join((head, task.recipe.text, task.data)))  # one system call: dearer than the copy

    async def next_answer(self, timeout_s: float) -> tuple[_Task, int, bytes, float]:
        """The oldest task with its answer; waits for one where there is none. Raises one of ``_DEATHS``.

        A process that takes longer than ``timeout_s`` over a task is killed, and ``is_late``.
        """
        answer = await self._answer()
        task = self.tasks.popleft()
        self._watch(timeout_s)
        return task, *answer

    def _watch(self, timeout_s: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(timeout_s, self._late) if self.tasks else None

    def _late(self) -> None:
        self.is_late = True
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    async def _answer(self) -> tuple[int, bytes, float]:
        kind, size, seconds = ANSWER.unpack(await self._reader.readexactly(ANSWER.size))
        return kind, await self._reader.readexactly(size), seconds

    async def end(self) -> None:
        """Kills the process and waits for its end."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._writer.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


class DecodingPool:
    """Decodes pictures in ``num_workers`` processes, first come first served."""

    def __init__(self, num_workers: int, limits: Limits, metrics: Metrics) -> None:
        self._limits, self._metrics, self._num_workers = limits, metrics, num_workers
        self._memory = MEMORY_A_PIXEL * max(limits.max_pixels, MAX_PIXELS) + limits.max_body_bytes + SLACK
        self._waiting: deque[_Task] = deque()
        self._decoders: list[_Decoder] = []
        self._runners: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns when every process is ready.

        Raises:
            Failed: they do not start.
        """
        starting = (_Decoder.start(self._memory) for _ in range(self._num_workers))
        outcomes = await asyncio.gather(*starting, return_exceptions=True)
        self._decoders = [outcome for outcome in outcomes if isinstance(outcome, _Decoder)]
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        self._runners = [asyncio.create_task(self._run(decoder)) for decoder in self._decoders]

    @property
    def pids(self) -> list[int]:
        """Of the processes, as they are now."""
        return [decoder.process.pid for decoder in self._decoders]

    async def decode(self, data: bytes | memoryview, recipe: Recipe) -> Pixels:
        """An encoded picture -> uint8 [h, w, C].

        Raises:
            Refusal: it cannot be read, it took too long, or its process died over it.
        """
        task = _Task(recipe, data, asyncio.get_running_loop().create_future())
        self._waiting.append(task)
        self._feed()
        return await task.pixels

    async def close(self) -> None:
        """Ends every process. Pictures that still wait are left without an answer."""
        for runner in self._runners:
            runner.cancel()
        await asyncio.gather(*self._runners, return_exceptions=True)
        await asyncio.gather(*(decoder.end() for decoder in self._decoders))

    def _feed(self) -> None:
        """Gives what waits to the processes that have least to do."""
        while self._waiting and self._decoders:
            decoder = min(self._decoders, key=lambda decoder: len(decoder.tasks))
            if len(decoder.tasks) >= AHEAD:
                return
            task = self._waiting.popleft()
            if not task.pixels.done():  # given up since
                decoder.give(task, self._limits.decode_timeout_s)

    async def _run(self, decoder: _Decoder) -> None:
        """The life of one place in the pool."""
        while True:
            failure = await self._answer_all(decoder)
            self._decoders.remove(decoder)
            if decoder.tasks:
                _fail(decoder.tasks.popleft(), failure)  # the one it was at; the others had not begun
                self._waiting.extendleft(reversed(decoder.tasks))
            self._metrics.replaced.add()
            await decoder.end()
            decoder = await self._replacement()
            self._decoders.append(decoder)
            self._feed()

    async def _answer_all(self, decoder: _Decoder) -> Refusal:
        """Passes answers on until there are no more: why, as the picture that it was at is to be told."""
        timeout_s = self._limits.decode_timeout_s
        while True:
            try:
                task, kind, payload, seconds = await decoder.next_answer(timeout_s)
            except _DEATHS:
                if decoder.is_late:
                    return Refusal("decode_timeout", f"The picture took more than {timeout_s:g} s to decode")
                return Refusal("decoder_died", "The process that decoded the picture died")
            self._feed()
            self._metrics.decode_s.observe(task.recipe.label, seconds)
            if kind == ERROR:
                _fail(task, of_image(*json.loads(payload)))
            elif not task.pixels.done():
                task.pixels.set_result(np.frombuffer(payload, np.uint8).reshape(task.recipe.shape))

    async def _replacement(self) -> _Decoder:
        while True:
            with contextlib.suppress(Failed, OSError):  # no memory for a process just now: the next second may be better
                return await _Decoder.start(self._memory)
            await asyncio.sleep(1.0)


def _fail(task: _Task, refusal: Refusal) -> None:
    if not task.pixels.done():
        task.pixels.set_exception(refusal)
