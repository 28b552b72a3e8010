"""The routes."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

import striate
from striate.serving import openapi
from striate.serving.gate import Gate
from striate.serving.page_frame import framed, served_policy
from striate.serving.predicting import Predictions
from striate.serving.refusals import Refusal
from striate.serving.service import Service


def make_app(service: Service, token: str | None = None) -> ASGIApp:
    """The ASGI application of a service; the service is started and closed by whoever made it.

    Args:
        service: started before the first request.
        token: that requests must bring; None on loopback.
    """
    app = FastAPI(
        title="striate serve",
        version=striate.__version__,
        description="Predictions of convolutional networks over HTTP.",
        docs_url=None,  # FastAPI's pages load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    _add_models(app, service, token)
    _add_state(app, service)
    _add_page(app)
    for kind in (HTTPException, Refusal, Exception):
        app.add_exception_handler(kind, _answer_error)
    schema = app.openapi()  # kept by the application: what it serves is this very dict
    schema["paths"] = {**openapi.PREDICTIONS, **schema["paths"]}
    return Gate(Predictions(service), app, service.load, service.metrics, service.journal, token)


def _add_models(app: FastAPI, service: Service, token: str | None) -> None:
    @app.get("/models", tags=["models"])
    async def models() -> Response:
        """Every model with the version that answers now, its classes and what it reads."""
        return _json({"default": service.models.default, "models": [entry.to_json() for entry in service.models.versions]})

    @app.post("/models/{name}/reload", tags=["models"], responses=openapi.error_responses(401, 404, 422))
    async def reload(name: str) -> Response:
        """Loads the model's file again, warms it, then lets it answer. Requests before keep the version they began with.

        SIGHUP does the same for every model.
        """
        if token is None:
            raise Refusal("no_token_set", "Reloading over HTTP needs a server with a token; send it SIGHUP instead")
        return _json((await service.reload(name)).to_json())


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["state"])
    async def healthz() -> Response:
        """200 while the server works at all; 500 where only a restart helps."""
        if not service.engine.is_alive:
            raise Refusal("internal", "The thread that runs the networks has ended")
        return _json({"status": "ok"})

    @app.get("/readyz", tags=["state"])
    async def readyz() -> Response:
        """200 while new requests are wanted; 503 from SIGTERM on."""
        if service.load.stopping:
            raise Refusal("stopping", "The server is shutting down")
        return _json({"status": "ready"})

    @app.get("/metrics", tags=["state"])
    async def metrics() -> Response:
        """Counters and histograms, for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_page(app: FastAPI) -> None:
    html = framed("served.js")
    headers = {
        "content-security-policy": served_policy(html),
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response(html, media_type="text/html", headers=headers)


async def _answer_error(request: Request, error: Exception) -> Response:
    """Whatever was raised, in our own shape."""
    if isinstance(error, Refusal):
        refusal = error
    elif isinstance(error, HTTPException) and error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "")
        refusal = Refusal("method_not_allowed", f"{request.method} is not answered here; {allow} is", allow=allow)
    elif isinstance(error, HTTPException) and error.status_code == 404:
        refusal = Refusal("not_found", "Nothing is here; /openapi.json lists what is")
    elif isinstance(error, HTTPException):
        refusal = Refusal("bad_request", str(error.detail))
    else:  # raised again by Starlette: the gate writes it down
        refusal = Refusal("internal", "The server failed; its journal says where")
    request.scope["striate.ticket"].error = refusal.type
    return Response(refusal.body(), refusal.status, refusal.headers())


def _json(value: Any) -> Response:
    return Response(json.dumps(value, ensure_ascii=False, allow_nan=False), media_type="application/json")
