"""The route that predicts, as plain ASGI: from a request to its answer."""

from __future__ import annotations

import asyncio
import json
import re
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from striate.serving.admission import read_body
from striate.serving.bodies import parse
from striate.serving.refusals import Refusal
from striate.serving.service import Service

PARSED_ASIDE = 2**20
"""Bytes from which a body is parsed in a thread: the others must not wait for it."""

TOP = 5
"""Classes that an answer names, where it is not asked for more or fewer."""


class Predictions:
    """Answers within a :class:`striate.serving.gate.Gate`, which turns refusals into answers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service, ticket = self._service, scope["striate.ticket"]
        name = scope["striate.model"] or service.models.default
        top = _top(scope["query_string"])
        service.models.check(name)  # before the body is read
        try:
            with ticket.timing("read"):
                body = await read_body(receive, service.load, ticket)
                if len(body) < PARSED_ASIDE:
                    asked = parse(body, scope["striate.headers"], service.limits)
                else:
                    asked = await asyncio.to_thread(parse, body, scope["striate.headers"], service.limits)
            answer = await service.predict(name, asked, top, ticket)
        finally:
            service.load.bytes -= ticket.body_bytes
        text = json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})


def _top(query: bytes) -> int:
    if not query:
        return TOP
    text = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("top", [str(TOP)])[-1]
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise Refusal("bad_parameter", f"top={text[:40]!r}: the number of classes to name, at least 1")
    return int(text)
