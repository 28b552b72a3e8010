"""What a server has taken on at this moment, whether there is room for more, and what is known of each request."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from striate.serving.limits import Limits
from striate.serving.refusals import Refusal


@dataclass
class Load:
    """How much the server has taken on at this moment; only the event loop changes it.

    Attributes:
        queued: images admitted and not yet answered.
        uploads: requests whose bodies are being read.
        bytes: that all bodies take.
        batch_seconds: how long a full batch takes, to say when to come back.
        stopping: SIGTERM has come.
    """

    limits: Limits
    queued: int = 0
    uploads: int = 0
    bytes: int = 0
    batch_seconds: float = 1.0
    stopping: bool = False

    def retry_after(self) -> int:
        """Seconds until the images that are here will have been answered, at least 1."""
        return max(1, round(self.queued / self.limits.max_batch * self.batch_seconds))

    def check(self) -> None:
        """Raises a :class:`Refusal` where no image more, or no body more, is taken."""
        if self.queued >= self.limits.max_queue or self.uploads >= self.limits.max_uploads:
            raise self._busy()

    @contextlib.contextmanager
    def admitting(self, num_images: int) -> Iterator[None]:
        """Within it, the images count as queued. Raises a :class:`Refusal` where there is no room for all of them."""
        if self.queued + num_images > self.limits.max_queue:
            raise self._busy()
        self.queued += num_images
        try:
            yield
        finally:
            self.queued -= num_images

    def _busy(self) -> Refusal:
        return Refusal("busy", "As many images as the server takes are waiting", retry_after=self.retry_after())

    def add_bytes(self, count: int) -> None:
        """Raises a :class:`Refusal` where all bodies together would take too much memory."""
        if self.bytes + count > self.limits.max_upload_bytes:
            raise Refusal("busy", "As many bytes as the server takes are being sent", retry_after=self.retry_after())
        self.bytes += count


@dataclass
class Ticket:
    """One request, for the journal and the metrics: what is known of it so far.

    Attributes:
        path: of the route; empty: that which the framework finds.
        status: of the answer; 0: none yet.
        stages: name -> milliseconds, also sent as ``Server-Timing``.
    """

    id: str
    begun: float
    path: str = ""
    status: int = 0
    error: str | None = None
    model: str | None = None
    version: int | None = None
    images: int | None = None
    body_bytes: int = 0
    stages: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Adds the block's time to ``stages``."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.stages[stage] = round(1000 * (time.perf_counter() - begun), 2)


async def read_body(receive: Receive, load: Load, ticket: Ticket) -> bytearray:
    """The whole body; its bytes count in ``load`` until :meth:`Load` is told otherwise.

    Raises:
        Refusal: it is too large, or all bodies together are.
        ClientDisconnect: the client went away, or was too slow.
    """
    body, most = bytearray(), load.limits.max_body_bytes
    load.uploads += 1
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk = message.get("body", b"")
            if len(body) + len(chunk) > most:
                raise Refusal("too_large", f"A body of more than {most} bytes", max_bytes=most)
            load.add_bytes(len(chunk))
            ticket.body_bytes += len(chunk)
            body += chunk
            if not message.get("more_body", False):
                return body
    finally:
        load.uploads -= 1
