"""Every answer that is no prediction: one JSON shape, one stable word a case, one status."""

from __future__ import annotations

import json
from typing import Any

from striate.data.decode import ImageError

STATUSES = {
    "bad_request": 400,
    "bad_parameter": 400,
    "bad_json": 400,
    "bad_base64": 400,
    "bad_multipart": 400,
    "bad_tensor": 400,
    "no_image": 400,
    "unauthorized": 401,
    "cross_origin": 403,
    "no_token_set": 403,
    "unknown_model": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_slow": 408,
    "too_large": 413,
    "too_many_images": 413,
    "too_many_pixels": 413,
    "unsupported_media_type": 415,
    "not_an_image": 415,
    "wrong_host": 421,
    "bad_image": 422,
    "decode_timeout": 422,
    "wrong_shape": 422,
    "reload_failed": 422,
    "internal": 500,
    "model_failed": 500,
    "not_finite": 500,
    "decoder_died": 500,
    "busy": 503,
    "stopping": 503,
    "deadline": 504,
}
"""What went wrong, as clients see it in ``error.type`` -> the HTTP status it comes with."""


class Refusal(Exception):
    """A request that gets an error for an answer.

    Args:
        type: a key of :data:`STATUSES`.
        message: one sentence for a person.
        retry_after: seconds after which the same request may succeed.
        details: further fields of the JSON, plain values.
    """

    def __init__(self, type: str, message: str, *, retry_after: int | None = None, **details: Any) -> None:
        super().__init__(message)
        self.type, self.message, self.retry_after, self.details = type, message, retry_after, details
        self.status = STATUSES[type]

    def to_json(self) -> dict[str, Any]:
        """The value of ``error``."""
        more = self.details if self.retry_after is None else {**self.details, "retry_after_s": self.retry_after}
        return {"type": self.type, "message": self.message, **more}

    def body(self) -> bytes:
        """The whole answer, UTF-8."""
        return json.dumps({"error": self.to_json()}, ensure_ascii=False).encode()

    def headers(self) -> dict[str, str]:
        """What goes with the body."""
        headers = {"content-type": "application/json"}
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        if "allow" in self.details:
            headers["allow"] = self.details["allow"]
        if self.type == "unauthorized":
            headers["www-authenticate"] = "Bearer"
        return headers


_REASONS = {"pixels": "too_many_pixels", "too large": "too_large", "not an image": "not_an_image", "format": "not_an_image"}


def of_image(reason: str, what: str, why: str | None) -> Refusal:
    """A picture that cannot be read. ``reason`` is that of the :class:`ImageError`."""
    return Refusal(_REASONS.get(reason, "bad_image"), f"{what} ({why})" if why else what, reason=reason)


def of_image_error(error: ImageError) -> Refusal:
    """As :func:`of_image`."""
    return of_image(error.reason, error.what, error.why)
