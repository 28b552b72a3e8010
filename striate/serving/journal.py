"""What the server did, one JSON object a line on stderr. Nothing of what was sent is in it: no pixels, names or tokens."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
import traceback
from typing import IO, Any

FLUSH_S = 0.1
"""Seconds that a line may wait for others: a system call for each would cost as much as a small network."""


class Journal:
    """Writes events.

    Args:
        stream: stderr by default; None writes nothing.
    """

    def __init__(self, stream: IO[str] | None = sys.stderr) -> None:
        self.stream = stream
        self._lines: list[str] = []

    def write(self, event: str, **fields: Any) -> None:
        """One line: the time (UTC, ISO 8601), the event, and its fields; those that are None are left out.

        To be called in the event loop.
        """
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        record = {"time": now, "event": event, **{key: value for key, value in fields.items() if value is not None}}
        self._lines.append(json.dumps(record, ensure_ascii=False) + "\n")
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Writes down what waits."""
        text = "".join(self._lines)
        self._lines.clear()
        if self.stream is None or not text:
            return
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):  # whoever read it has gone: no reason to stop serving
            self.stream = None

    def error(self, event: str, error: BaseException, **fields: Any) -> None:
        """The same for an exception that nobody expected: where it was raised, and its class. Its text may quote a request."""
        places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
        self.write(event, error=type(error).__name__, at=places[-8:], **fields)
