"""Running the studio: a server on this machine alone, a link with a key, and another one whenever Enter is pressed."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from importlib import import_module
from types import FrameType

import uvicorn

from striate.errors import UsageError
from striate.studio.app import make_app
from striate.studio.studio import Studio

HOST = "127.0.0.1"
PORT = 8731
"""Where it listens if nothing else does."""


def listen(port: int | None) -> socket.socket:
    """A socket on this machine's own address; None: :data:`PORT`, or any other where that is taken.

    Raises:
        UsageError: the port that was asked for is taken, or not allowed.
    """
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((HOST, PORT if port is None else port))
    except OSError as error:
        if port is not None:
            server.close()
            why = error.strerror or str(error)
            raise UsageError(f"Port {port} cannot be used", why=why, fix="take another --port, or leave it away") from error
        server.bind((HOST, 0))
    server.listen(128)
    return server


def serve(studio: Studio, port: int | None, open_browser: bool, say: Callable[[str], None]) -> None:
    """Serves until Ctrl-C. Trainings that were begun go on.

    Raises what :func:`listen` does.
    """
    with listen(port) as server:
        address = f"http://{HOST}:{server.getsockname()[1]}"

        def link() -> str:
            return f"{address}/#token={studio.keys.new_token()}"

        app = make_app(studio)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1, lifespan="off")
        say(f"studio   {link()}")
        say("         The link lets one browser in. Enter: another link. Ctrl-C: end.")
        if open_browser and _has_screen():
            threading.Thread(target=webbrowser.open, args=(link(),), daemon=True).start()
        if sys.stdin.isatty():
            threading.Thread(target=_offer_links, args=(link, say), daemon=True).start()
        threading.Thread(target=_warm, daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            _Server(config).run(sockets=[server])


class _Server(uvicorn.Server):
    """Ends without a word of the streams that pages still listen to."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        super().handle_exit(sig, frame)


def _has_screen() -> bool:
    """Whether a browser would open a window: without one it might take over the terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _offer_links(link: Callable[[], str], say: Callable[[str], None]) -> None:
    for _ in sys.stdin:
        say(f"studio   {link()}")


def _warm() -> None:
    """Loads torch and what looks into networks while the page is being looked at: the first model then opens at once.

    And PyTorch's compiler, which it loads itself for the first operation on the meta device: where networks are traced.
    """
    import striate.look.inspection
    import striate.prediction
    import striate.torch_network  # noqa: F401

    import_module("torch._dynamo")
