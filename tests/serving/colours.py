"""A model whose answer says which picture it was asked about, a service of it within the test, and a server in a process.

A picture of one grey of 0..255 is of class ``PREFIX`` + grey. There is no torch in it.

Run as a program it serves: ``python colours.py FILE LIMITS TOKEN WORKERS``, where FILE holds the prefix and, after a space, the
seconds that a batch takes, LIMITS is JSON, and TOKEN may be empty. It prints its address.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from striate.data.preprocess import Preprocess
from striate.prediction import Model
from striate.serving.app import make_app
from striate.serving.journal import Journal
from striate.serving.limits import Limits
from striate.serving.models import Source
from striate.serving.server import Address, serve
from striate.serving.service import Service

PREPROCESS = Preprocess((8, 8), channels=3)
START_S = 60
"""Until a server in a process has printed its address, however busy the machine."""


def grey_of(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [N, 3, 8, 8] -> logits [N, 256]: 20 at the mean grey, 0 elsewhere."""
    logits = np.zeros((len(images), 256), np.float32)
    logits[np.arange(len(images)), images.mean(axis=(1, 2, 3)).round().astype(int)] = 20.0
    return logits


def colours(prefix: str = "grey", network: Callable[..., Any] = grey_of, path: Path | None = None) -> Model:
    card = {
        "task": {"name": "classify", "kind": "label"},
        "classes": [f"{prefix}{grey}" for grey in range(256)],
        "preprocess": PREPROCESS.to_json(),
    }
    return Model(network, card, path)


def png(grey: int, size: tuple[int, int] = (16, 12)) -> bytes:
    return encoded("PNG", grey, size)


def encoded(kind: str, grey: int, size: tuple[int, int] = (16, 12)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (grey, grey, grey)).save(stream, kind)
    return stream.getvalue()


def tensor(*greys: int) -> NDArray[np.uint8]:
    return np.stack([np.full((3, 8, 8), grey, np.uint8) for grey in greys])


def npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def labels(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [prediction["label"] for prediction in response.json()["predictions"]]


@dataclass
class Running:
    """A service within the test, and a client of its application."""

    service: Service
    client: httpx.AsyncClient
    journal: io.StringIO

    def written(self) -> str:
        """The journal so far."""
        self.service.journal.flush()
        return self.journal.getvalue()

    async def predict(self, *greys: int) -> httpx.Response:
        """Asks about ready tensors."""
        return await self.client.post("/predict", content=npy(tensor(*greys)))


@contextlib.asynccontextmanager
async def running(
    limits: Limits | None = None,
    network: Callable[..., Any] = grey_of,
    token: str | None = None,
    num_workers: int = 0,
    sources: list[Source] | None = None,
) -> AsyncIterator[Running]:
    """``num_workers`` processes decode: none is enough for ready tensors."""
    journal = io.StringIO()
    sources = sources or [Source("colours", "colours", lambda: colours(network=network))]
    service = Service(sources, limits or Limits(), num_workers, Journal(journal))
    await service.start()
    transport = httpx.ASGITransport(make_app(service, token), raise_app_exceptions=False)  # type: ignore[arg-type]
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client:
            yield Running(service, client, journal)
    finally:
        await service.close()


def within(limits: Limits | None, test: Callable[[Running], Any], **options: Any) -> None:
    """Runs ``test`` on a service of its own."""

    async def run() -> None:
        async with running(limits, **options) as server:
            await test(server)

    asyncio.run(run())


@dataclass
class Process:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    url: str
    journal: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=START_S)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.journal.read_text().splitlines() if line.startswith("{")]

    def metrics(self) -> dict[str, float]:
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


@contextlib.contextmanager
def process(folder: Path, token: str = "", seconds: float = 0.0, workers: int = 1, **limits: Any) -> Iterator[Process]:
    """``folder / "colours.txt"`` is the model's file."""
    (folder / "colours.txt").write_text(f"grey {seconds}")
    words = [sys.executable, __file__, folder / "colours.txt", json.dumps(limits), token, str(workers)]
    with (
        open(folder / "journal", "w") as journal,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=journal, text=True) as server,
    ):
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            assert url, (folder / "journal").read_text()
            yield Process(server, url, folder / "journal")
        finally:
            server.kill()


def read_colours(path: Path) -> Model:
    prefix, seconds = path.read_text().split()

    def network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(float(seconds))
        return grey_of(images)

    return colours(prefix, network, path)


def main(file: str, limits: str, token: str, workers: str) -> None:
    path = Path(file)
    source = Source("colours", file, lambda: read_colours(path))
    address = Address(port=0, token=token or None)
    serve([source], address, Limits(**json.loads(limits)), int(workers), announce=lambda url, _: print(url, flush=True))
    assert "torch" not in sys.modules


if __name__ == "__main__":
    main(*sys.argv[1:])
