"""The outermost layer: who may ask, and whether there is room. What it refuses has cost no body and no decoding."""

from __future__ import annotations

import contextlib
import hmac
import itertools
import re
import time
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from striate.serving.admission import Load, Ticket
from striate.serving.journal import Journal
from striate.serving.metrics_text import Metrics
from striate.serving.refusals import Refusal

_PATHS = ("/predict", "/models/{name}/predict")

OPEN = frozenset(["/", "/healthz", "/readyz"])
"""Paths that need no token: the page holds nothing, and asks for it."""

LOOPBACK = frozenset(["localhost", "127.0.0.1", "::1"])

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PREDICT = re.compile(r"/predict|/models/([^/]+)/predict")


class Gate:
    """An ASGI application around two others.

    Predictions go straight to theirs: what a framework does for a request costs as much as a small network.

    Args:
        predict: answers ``POST /predict`` and ``POST /models/NAME/predict``; NAME is in the scope as ``striate.model``.
        others: answers everything else.
        token: that requests must bring (``Authorization: Bearer TOKEN``); None on loopback, where instead the page of another
            site is kept out by its ``Origin``, and a name that was made to point here by its ``Host``.
    """

    def __init__(
        self, predict: ASGIApp, others: ASGIApp, load: Load, metrics: Metrics, journal: Journal, token: str | None
    ) -> None:
        self._predict, self._others = predict, others
        self._load, self._metrics, self._journal = load, metrics, journal
        self._token = token.encode() if token is not None else None
        self._ids = itertools.count(1)
        self._shed, self._shed_told = 0, 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._others(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("x-request-id", "")
        ticket = Ticket(given if _REQUEST_ID.fullmatch(given) else f"{next(self._ids):x}", time.monotonic())
        scope["striate.ticket"], scope["striate.headers"] = ticket, headers

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                ticket.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._marks(ticket)]
            await send(message)

        try:
            self._check_who(scope["path"], headers)
            if prediction := _PREDICT.fullmatch(scope["path"]):
                ticket.path, scope["striate.model"] = _PATHS[prediction[1] is not None], prediction[1]
                self._check_room(scope["method"], headers)
                await self._predict(scope, receive, send_marked)
            else:
                await self._others(scope, receive, send_marked)
        except Refusal as refusal:
            await _refuse(refusal, ticket, send_marked)
        except ClientDisconnect:
            ticket.error = "disconnected"
        except Exception as error:
            self._journal.error("failed", error, id=ticket.id)
            if not ticket.status:
                await _refuse(Refusal("internal", "The server failed; its journal says where"), ticket, send_marked)
        self._tell(scope, ticket)

    def _check_who(self, path: str, headers: dict[str, str]) -> None:
        if self._token is None:
            _check_same_site(headers)
        elif path not in OPEN:
            self._check_token(headers.get("authorization", ""))

    def _check_room(self, method: str, headers: dict[str, str]) -> None:
        if method != "POST":
            raise Refusal("method_not_allowed", f"{method} is not answered here; POST is", allow="POST")
        if "content-encoding" in headers:
            raise Refusal("unsupported_media_type", "Compressed bodies are not read; images are compressed already")
        most = self._load.limits.max_body_bytes
        if int(headers.get("content-length", 0)) > most:
            raise Refusal("too_large", f"A body of {headers['content-length']} bytes; at most {most}", max_bytes=most)
        self._load.check()

    def _check_token(self, given: str) -> None:
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode("latin-1"), self._token or b""):
            raise Refusal("unauthorized", "Send the server's token: Authorization: Bearer TOKEN")

    def _marks(self, ticket: Ticket) -> list[tuple[bytes, bytes]]:
        marks = [(b"x-request-id", ticket.id.encode())]
        if ticket.stages:
            told = ", ".join(f"{name};dur={milliseconds:g}" for name, milliseconds in ticket.stages.items())
            marks.append((b"server-timing", told.encode()))
        if self._load.stopping:
            marks.append((b"connection", b"close"))
        return marks

    def _tell(self, scope: Scope, ticket: Ticket) -> None:
        """Counts the request and writes it down; the many that were told to come back are one line a second."""
        seconds = time.monotonic() - ticket.begun
        path = ticket.path or getattr(scope.get("route"), "path", "other")
        self._metrics.requests.add(path, str(ticket.status or "none"))
        if ticket.error is not None:
            self._metrics.errors.add(ticket.error)
        if ticket.error == "busy":
            self._shed += 1
            if time.monotonic() - self._shed_told >= 1:
                self._journal.write("busy", refused=self._shed, queued=self._load.queued, uploads=self._load.uploads)
                self._shed, self._shed_told = 0, time.monotonic()
            return
        self._metrics.request_s.observe(path, seconds)
        self._journal.write(
            "request",
            id=ticket.id,
            method=scope["method"],
            path=path,
            status=ticket.status,
            error=ticket.error,
            model=ticket.model,
            version=ticket.version,
            images=ticket.images,
            bytes=ticket.body_bytes or None,
            ms=round(1000 * seconds, 2),
            **{f"{name}_ms": value for name, value in ticket.stages.items()},
        )


def _check_same_site(headers: dict[str, str]) -> None:
    """Without a token, only this machine's own programs and the server's own page may ask."""
    host = headers.get("host", "")
    if _host_name(host) not in LOOPBACK:
        raise Refusal("wrong_host", "Asked for by a name that is not this machine's; give the server a token to use others")
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise Refusal("cross_origin", "A page of another site may not ask; give the server a token")


def _host_name(host: str) -> str | None:
    with contextlib.suppress(ValueError):  # brackets that do not close
        return urlsplit(f"//{host}").hostname
    return None


async def _refuse(refusal: Refusal, ticket: Ticket, send: Send) -> None:
    ticket.error = refusal.type
    body = refusal.body()
    headers = [(name.encode(), value.encode()) for name, value in refusal.headers().items()]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
