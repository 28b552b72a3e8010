"""Server-sent events (HTML Living Standard, 9.2): what a page is told while it stays open."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar

from fastapi.responses import StreamingResponse

from striate.errors import StriateError
from striate.progress import Progress, Silent

T = TypeVar("T")

Event = tuple[str, Any]
"""Its name, and what is sent as JSON."""

QUIET_SECONDS = 10.0
"""After so long without an event a comment is sent: a connection that broke is then noticed."""


def stream(events: AsyncIterator[Event | None]) -> StreamingResponse:
    """An answer that goes on as long as there are events; None is a sign of life, without content.

    What fails on the way is an event ``failed``, for the status of the answer is sent already.
    """

    async def lines() -> AsyncIterator[bytes]:
        try:
            async for event in events:
                yield b":\n\n" if event is None else _line(*event)
        except StriateError as error:
            yield _line("failed", {"what": error.what, "where": error.where, "why": error.why, "fix": error.fix})
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            yield _line("failed", {"what": "The studio failed at this", "why": why, "fix": "the terminal says more"})
            raise

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _line(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode("utf-8", "replace")


async def changes(look: Callable[[], T], seconds: float) -> AsyncIterator[T | None]:
    """What ``look`` returns, at once and whenever it returns something else; it is called in a thread, every so often."""
    last: T | None = None
    quiet = 0.0
    while True:
        seen = await asyncio.to_thread(look)
        if seen != last:
            last, quiet = seen, 0.0
            yield seen
        elif quiet >= QUIET_SECONDS:
            quiet = 0.0
            yield None
        await asyncio.sleep(seconds)
        quiet += seconds


class Work(Generic[T]):
    """Long work in a thread, whose progress any number of pages follow; its result stays.

    Args:
        work: is given what to tell progress to: (done, total, words).
    """

    def __init__(self, work: Callable[[Callable[[int, int, str], None]], T]) -> None:
        self.progress: tuple[int, int, str] = (0, 0, "")
        self.result: T | None = None
        self.error: Exception | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it has neither a result nor an error yet."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.result = self._work(self._tell)
        except Exception as error:
            self.error = error

    def _tell(self, done: int, total: int, words: str) -> None:
        self.progress = (done, total, words)

    async def follow(self) -> AsyncIterator[Event | None]:
        """``progress`` events until it is done. Raises what the work raised."""
        told: tuple[int, int, str] | None = None
        while self._thread.is_alive():
            if self.progress != told:
                told = self.progress
                yield "progress", dict(zip(("done", "total", "words"), told, strict=True))
            await asyncio.sleep(0.1)
        if self.error is not None:
            raise self.error


class _Abandoned(Exception):
    """Nobody listens any more."""


class _Telling(Silent):
    """Passes stages on to a page; ends the work where that has gone."""

    def __init__(self, tell: Callable[[int, int, str], None], left: threading.Event) -> None:
        self._tell, self._left = tell, left

    def stage(self, name: str, done: int, total: int) -> None:
        """Raises ``_Abandoned``."""
        if self._left.is_set():
            raise _Abandoned
        self._tell(done, total, name)


def work_stream(name: str, work: Callable[[Progress], Any]) -> StreamingResponse:
    """``progress``, then what the work returns as the event ``name``; where the page is gone, the work's next stage ends it."""
    left = threading.Event()

    async def events() -> AsyncIterator[Event | None]:
        doing = Work(lambda tell: work(_Telling(tell, left)))
        try:
            async for event in doing.follow():
                yield event
            yield name, doing.result
        finally:
            left.set()

    return stream(events())
