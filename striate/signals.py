"""SIGINT and SIGTERM as a request that long work reads between steps, so that it can save before it stops."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class StopRequest:
    """Context manager: within it the first SIGINT or SIGTERM only sets :attr:`signal_number`; a second one interrupts.

    Outside the main thread, where Python allows no handlers, it can still be set by :meth:`stop`.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def __bool__(self) -> bool:
        return self.signal_number != 0

    def stop(self, signal_number: int = signal.SIGINT) -> None:
        """Asks for a stop from code, as the signal would."""
        self.signal_number = signal_number

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number:
            raise KeyboardInterrupt
        self.stop(number)
