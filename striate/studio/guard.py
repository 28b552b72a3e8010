"""What every request passes before anything answers it: whose page asks, whether it may, and how much it sends."""

from __future__ import annotations

import json
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from striate.studio.keys import Keys

HOSTS = frozenset({"127.0.0.1", "localhost"})
"""Names under which this machine alone is reached. Any other may be a foreign site that points its own name here."""

MOST_BYTES = 64 * 2**20
"""Of one request's body; the page says the same before it sends."""
MOST_DRAINED = 2**30
"""Of a body that is too large, so many bytes are thrown away to let the browser read the answer."""

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; font-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Nothing from elsewhere, no script within the page; styles of single elements are allowed, and cannot run anything."""

HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
"""Of every answer that does not say otherwise."""


def cookie_name(port: int) -> str:
    """A browser keeps one set of cookies for all ports of a host: each studio on a machine has its own name."""
    return f"striate-studio-{port}"


class Guard:
    """ASGI middleware: refuses what comes from elsewhere, what has no key, and what is too large."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self.app, self.keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answer.setdefault(name, value)
            await send(message)

        if (refusal := foreign(headers) or self._keyless(scope, headers)) is not None:
            await _refuse(secured, 403, *refusal)
        elif _length(headers) > MOST_BYTES:
            await _drain(receive)
            await _refuse(secured, 413, *TOO_LARGE)
        else:
            await self.app(scope, _limited(receive), secured)

    def _keyless(self, scope: Scope, headers: Headers) -> tuple[str, str] | None:
        path: str = scope["path"]
        if not path.startswith("/api/") or self.keys.holds(key_of(headers, port_of(scope))):
            return None
        return "This browser has no key to the studio's data", "open the link that `striate studio` printed"


TOO_LARGE = (
    f"The studio takes up to {MOST_BYTES // 2**20} MB at once",
    "give a smaller image; for a whole data set start `striate studio FOLDER`",
)


class BodyTooLarge(Exception):
    """A body without a length came to more than :data:`MOST_BYTES`."""


def foreign(headers: Headers) -> tuple[str, str] | None:
    """Why a request is not from the studio's own page, and what to do; None where it is, or may be.

    A page under a foreign name that points to this machine betrays itself by ``Host`` (DNS rebinding); a foreign page that asks
    this one by ``Origin``, or by ``Sec-Fetch-Site`` where a browser sends no origin.
    """
    hosts = headers.getlist("host")
    if len(hosts) != 1 or _name(hosts[0]) not in HOSTS:
        return "The studio is only for this machine", "open it as http://127.0.0.1 with the port that the terminal names"
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{hosts[0]}":
        return "Another page may not ask the studio", "open the studio itself"
    fetched = headers.get("sec-fetch-site", "none")
    if fetched not in ("none", "same-origin") and headers.get("sec-fetch-mode") != "navigate":
        return "Another page may not ask the studio", "open the studio itself"
    return None


def _name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def key_of(headers: Headers, port: int) -> str | None:
    """The key in the studio's cookie."""
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return None
    morsel = cookies.get(cookie_name(port))
    return None if morsel is None else morsel.value


def port_of(scope: Scope) -> int:
    """Where the studio listens."""
    server = scope.get("server")
    return int(server[1] or 0) if server else 0


def _length(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isdecimal() else 0


def _limited(receive: Receive) -> Receive:
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MOST_BYTES:
            raise BodyTooLarge
        return message

    return limited


async def _drain(receive: Receive) -> None:
    drained, more = 0, True
    while more and drained < MOST_DRAINED:
        message = await receive()
        drained += len(message.get("body", b""))
        more = message.get("more_body", False)


async def _refuse(send: Send, status: int, what: str, fix: str) -> None:
    body = json.dumps({"error": {"what": what, "fix": fix}}).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
