"""How fast a request's bytes must come: HTTP/1.1 as uvicorn speaks it, with a deadline on headers and bodies."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from striate.serving.limits import Limits
from striate.serving.refusals import Refusal


class TimedProtocol(H11Protocol):
    """One connection. A client that sends its headers or its body too slowly is told so (408) and cut off.

    ``limits`` is set on a subclass by :func:`timed_protocol`, for uvicorn makes the instances.
    """

    limits = Limits()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(JoiningTransport(transport, self.loop))  # type: ignore[arg-type]
        self._timer: asyncio.TimerHandle | None = None
        self._stage, self._stage_began, self._stage_bytes = "", 0.0, 0
        if len(self.connections) > self.limits.max_connections:
            self._end_with(Refusal("busy", "As many connections as the server takes are open", retry_after=1))
            return
        self._follow(0)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():
            super().data_received(data)
            self._follow(len(data))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._follow(0)

    def send_400_response(self, msg: str) -> None:
        self._end_with(Refusal("bad_request", msg))

    def _follow(self, num_bytes: int) -> None:
        """Sets the deadline where the connection has come to another stage."""
        stage = "" if self.transport.is_closing() else self._now()
        if stage != self._stage:
            self._stage, self._stage_began, self._stage_bytes = stage, self.loop.time(), 0
            self._disarm()
            if stage:
                self._timer = self.loop.call_at(self._due(), self._look)
        self._stage_bytes += num_bytes

    def _due(self) -> float:
        limits = self.limits
        seconds = {
            "headers": limits.header_timeout_s,
            "body": limits.body_grace_s + self._stage_bytes / limits.body_bytes_a_second,
            "rest": limits.linger_s,
        }
        return self._stage_began + seconds[self._stage]

    def _now(self) -> str:
        """What the client owes: ``headers``, a ``body``, the ``rest`` of a refused one, or nothing."""
        if self.conn.their_state is h11.SEND_BODY:
            answered = self.cycle is not None and self.cycle.response_complete
            return "rest" if answered else "body"
        if self.conn.their_state is h11.IDLE:
            # Between two requests uvicorn's own keep-alive timer runs, until the first byte of the next.
            return "headers" if self.cycle is None or self.conn.trailing_data[0] else ""
        return ""

    def _look(self) -> None:
        """Whether the stage has taken too long; with what has come since, it may have more time."""
        if (due := self._due()) > self.loop.time() + 0.001:
            self._timer = self.loop.call_at(due, self._look)
            return
        self._timer = None
        self._end_with(Refusal("too_slow", f"The {self._stage} took too long to arrive"))

    def _end_with(self, refusal: Refusal) -> None:
        """Answers, where the client has had no answer yet, and closes the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = refusal.body()
            headers = [*refusal.headers().items(), ("content-length", str(len(body))), ("connection", "close")]
            with contextlib.suppress(h11.LocalProtocolError):
                response = h11.Response(status_code=refusal.status, headers=headers)
                for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._disarm()
        self.transport.close()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class JoiningTransport:
    """A transport that sends what is written in one go of the event loop at once: head and body of an answer as one packet."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Sends ``data`` soon."""
        if data:
            self._parts.append(data)
            if len(self._parts) == 1:
                self._loop.call_soon(self._send)

    def close(self) -> None:
        """Sends what was written, then closes."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._parts and not self._transport.is_closing():
            self._transport.write(b"".join(self._parts))
        self._parts.clear()


def timed_protocol(limits: Limits) -> type[TimedProtocol]:
    """A protocol class with these limits."""
    attributes: dict[str, Any] = {"limits": limits}
    return type("LimitedProtocol", (TimedProtocol,), attributes)
