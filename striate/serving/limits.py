"""How much a server takes on, all in one record."""

from __future__ import annotations

from dataclasses import dataclass

from striate.data.image_file import MAX_PIXELS
from striate.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """What is accepted, how much of it at once, and for how long.

    Attributes:
        max_batch: images that the network takes at once.
        max_delay_ms: milliseconds that an image may wait for others to join its batch; none of it while the server is idle.
        max_queue: images admitted and not yet answered; more are told to come back (503).
        max_images: images in one request (413).
        max_body_bytes: of one request (413).
        max_pixels: of one encoded picture, width x height (413); the model's own cap holds as well.
        max_uploads: requests whose bodies are being read at once (503).
        max_upload_bytes: that all bodies together may take in memory (503).
        max_connections: open at once (503).
        timeout_s: seconds from the end of a request's body to its answer (504).
        decode_timeout_s: seconds for one picture; its process is then killed (422).
        header_timeout_s: seconds for a request's headers to arrive (408).
        body_grace_s, body_bytes_a_second: a body of n bytes may take ``body_grace_s + n / body_bytes_a_second`` (408).
        linger_s: seconds in which the rest of a body is read and dropped after its request was refused.
        drain_s: seconds after SIGTERM in which new requests are still answered, so that none on its way is lost.
    """

    max_batch: int = 32
    max_delay_ms: float = 5.0
    max_queue: int = 128
    max_images: int = 64
    max_body_bytes: int = 32 * 2**20
    max_pixels: int = MAX_PIXELS
    max_uploads: int = 256
    max_upload_bytes: int = 256 * 2**20
    max_connections: int = 768
    timeout_s: float = 30.0
    decode_timeout_s: float = 10.0
    header_timeout_s: float = 10.0
    body_grace_s: float = 10.0
    body_bytes_a_second: int = 16 * 2**10
    linger_s: float = 3.0
    drain_s: float = 0.5

    def __post_init__(self) -> None:
        for name in ("max_batch", "max_queue", "max_images", "max_body_bytes", "max_uploads", "max_connections", "max_pixels"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", fix="give at least 1")
        if self.max_delay_ms < 0:
            raise UsageError(f"max_delay_ms is {self.max_delay_ms}", fix="give 0 or more")
        if self.timeout_s <= 0:
            raise UsageError(f"timeout_s is {self.timeout_s}", fix="give more than 0")
        if self.max_queue < max(self.max_images, self.max_batch):
            why = f"one request may hold {self.max_images} images, and a batch {self.max_batch}"
            raise UsageError(f"A queue of {self.max_queue} images is too short", why=why, fix="raise max_queue")
        if self.max_upload_bytes < self.max_body_bytes:
            why = f"one body may have {self.max_body_bytes:,} bytes"
            raise UsageError(f"{self.max_upload_bytes:,} bytes for all bodies together", why=why, fix="raise max_upload_bytes")
