"""The studio as an ASGI application: the page, the exchange of a token for a cookie, and a router a screen."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from striate.errors import Failed, StriateError, UsageError
from striate.studio import data_api, inside_api, network_api, runs_api, train_api, try_api, zoo_api
from striate.studio.guard import TOO_LARGE, BodyTooLarge, Guard, cookie_name, key_of, port_of
from striate.studio.studio import Here, Studio

STATIC = Path(__file__).parent / "static"
"""What Vite built of ``web/``."""

ROUTERS: tuple[APIRouter, ...] = (
    zoo_api.router,
    runs_api.router,
    try_api.router,
    train_api.router,
    data_api.router,
    inside_api.router,
    network_api.router,
)

STATUS: dict[type[StriateError], int] = {UsageError: 400, Failed: 500}
"""Of an answer, by the error; 422 for all others: what was sent cannot be used, or not now."""

FOREVER = "public, max-age=31536000, immutable"
"""For files whose name holds a hash of their content."""

UNBUILT = """<!doctype html><meta charset="utf-8"><title>striate studio</title>
<p>The studio's page has not been built. In the checkout: <code>make web</code>; then load this page again.</p>"""


class Token(BaseModel):
    """What a link carries behind its ``#``."""

    token: str


session = APIRouter()


@session.get("/session")
def standing(request: Request, studio: Here) -> dict[str, bool]:
    """Whether this browser may ask for data."""
    return {"open": studio.keys.holds(key_of(request.headers, port_of(request.scope)))}


@session.post("/session")
def enter(given: Token, request: Request, studio: Here) -> Response:
    """Trades a token, once, for the cookie that every later request carries."""
    key = studio.keys.exchange(given.token)
    if key is None:
        what = "This link was opened before, or is of an earlier start of the studio."
        return JSONResponse(told(what, fix="press Enter in the studio's terminal for another one"), 403)
    answer = JSONResponse({"open": True})
    answer.set_cookie(cookie_name(port_of(request.scope)), key, httponly=True, samesite="strict", path="/")
    return answer


@session.post("/api/link")
def link(request: Request, studio: Here) -> dict[str, str]:
    """A link that lets another browser of this machine in."""
    return {"link": f"http://{request.headers['host']}/#token={studio.keys.new_token()}"}


def make_app(studio: Studio) -> FastAPI:
    """The application for one start of the studio; ``app.state.studio`` is it."""
    # Its own pages about itself would load scripts from elsewhere.
    app = FastAPI(title="striate studio", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.studio = studio
    app.include_router(session)
    for router in ROUTERS:
        app.include_router(router)
    app.add_api_route("/{path:path}", page, methods=["GET"], include_in_schema=False)
    app.add_middleware(Guard, keys=studio.keys)
    app.add_exception_handler(StriateError, _failed)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _absent)
    app.add_exception_handler(BodyTooLarge, _too_large)
    app.add_exception_handler(Exception, _broken)
    return app


def page(path: str) -> Response:
    """A file of the built page, or the page itself: its own code reads the rest of the address."""
    if path.startswith(("api/", "session")):
        raise HTTPException(404)
    if (STATIC / "index.html").exists() and re.fullmatch(r"[\w-]+(/[\w-]+)*(\.[\w-]+)+", path):
        file = (STATIC / path).resolve()
        if not file.is_relative_to(STATIC.resolve()) or not file.is_file():
            raise HTTPException(404)
        return FileResponse(file, headers={"Cache-Control": FOREVER if path.startswith("assets/") else "no-cache"})
    if not (STATIC / "index.html").exists():
        return HTMLResponse(UNBUILT, 503)
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


def told(what: str, where: str | None = None, why: str | None = None, fix: str | None = None) -> dict[str, dict[str, str | None]]:
    """An error as the page reads it."""
    return {"error": {"what": what, "where": where, "why": why, "fix": fix}}


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, StriateError)
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 422)
    return JSONResponse(told(error.what, error.where, error.why, error.fix), status)


async def _malformed(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    return JSONResponse(told("The request is not one the studio knows", where or None, first["msg"]), 400)


async def _absent(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(told(f"Nothing is at {request.url.path}", fix="start at the studio's first page"), error.status_code)


async def _too_large(_: Request, error: Exception) -> Response:
    return JSONResponse(told(TOO_LARGE[0], fix=TOO_LARGE[1]), 413)


async def _broken(_: Request, error: Exception) -> Response:
    return JSONResponse(
        told("The studio failed at this", why=f"{type(error).__name__}: {error}", fix="the terminal says more"), 500
    )
