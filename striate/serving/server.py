"""From a list of models to a process that answers until it is told to stop, and then ends with nothing left unanswered."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from striate import machine
from striate.errors import UsageError
from striate.serving.app import make_app
from striate.serving.journal import Journal
from striate.serving.limits import Limits
from striate.serving.models import Source
from striate.serving.protocol import timed_protocol
from striate.serving.service import Service

SWITCH_S = 0.0005
"""Seconds after which a thread that holds Python's lock hands it over. With the usual 5 ms the network would wait that long for
the event loop, after every operation that lets go of the lock."""

KEEP_ALIVE_S = 75
"""Seconds that an idle connection stays open: longer than the usual proxy keeps it, so that the proxy closes it first."""


@dataclass(frozen=True)
class Address:
    """Where to listen, and who may ask.

    Attributes:
        host: an address or a name; loopback by default.
        port: 0 takes any free one.
        token: that requests must bring; None on loopback only.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"


def with_token(address: Address) -> Address:
    """The same address with a token, made here where others can reach it and none was given."""
    if address.token is not None or address.is_loopback:
        return address
    return Address(address.host, address.port, secrets.token_urlsafe(24))


def serve(
    sources: list[Source],
    address: Address,
    limits: Limits,
    num_workers: int | None = None,
    journal: Journal | None = None,
    announce: Callable[[str, Service], None] = lambda url, service: None,
) -> None:
    """Serves until SIGTERM or SIGINT, then answers what it has taken on. SIGHUP loads every model again.

    Args:
        sources: the models; the first is the one that ``/predict`` means.
        address: checked by :func:`with_token`.
        limits: see there.
        num_workers: processes that decode; None: one a core.
        journal: takes the events; by default stderr.
        announce: called with the server's address once it listens.

    Raises:
        UsageError: the address is taken, or not this machine's. And what :func:`striate.load` raises.
    """
    sys.setswitchinterval(SWITCH_S)
    listener = _listen(address)
    with listener:
        asyncio.run(
            _serve(sources, address, limits, num_workers or machine.num_cores(), journal or Journal(), listener, announce)
        )


async def _serve(
    sources: list[Source],
    address: Address,
    limits: Limits,
    num_workers: int,
    journal: Journal,
    listener: socket.socket,
    announce: Callable[[str, Service], None],
) -> None:
    service = Service(sources, limits, num_workers, journal)
    try:
        await service.start()
        config = uvicorn.Config(
            make_app(service, address.token),
            http=timed_protocol(limits),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=round(limits.timeout_s + limits.body_grace_s) + 1,
        )
        server = DrainingServer(config, service, lambda: announce(_url(address, listener), service))
        await server.serve(sockets=[listener])
    finally:
        await service.close()


class DrainingServer(uvicorn.Server):
    """A server that ends by itself: first it says so, then it stops listening, then it answers what is there."""

    def __init__(self, config: uvicorn.Config, service: Service, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._service, self._announce = service, announce
        self._reloading: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT drain, a second SIGINT ends at once, SIGHUP reloads. Uvicorn's own raises them again at the end."""
        loop = asyncio.get_running_loop()
        handlers: dict[int, Callable[[], Any]] = {
            signal.SIGTERM: lambda: self.handle_exit(signal.SIGTERM, None),
            signal.SIGINT: lambda: self.handle_exit(signal.SIGINT, None),
            signal.SIGHUP: self._reload,
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, then says so."""
        await super().startup(sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """For ``drain_s`` seconds answers close their connections, so that hardly one is idle when the idle ones are closed."""
        load = self._service.load
        load.stopping = True
        self._service.journal.write("stopping", queued=load.queued, uploads=load.uploads)
        await asyncio.sleep(self._service.limits.drain_s)
        await super().shutdown(sockets)
        self._service.journal.write("stopped")

    def _reload(self) -> None:
        task = asyncio.get_running_loop().create_task(self._service.reload_all())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except OSError as error:
        listener.close()
        why = error.strerror or str(error)
        raise UsageError(
            "Cannot listen there", where=f"{address.host}:{address.port}", why=why, fix="give another --port"
        ) from error
    return listener


def _url(address: Address, listener: socket.socket) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"http://{host}:{listener.getsockname()[1]}"
