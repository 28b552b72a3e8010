"""What :mod:`benchmarks.serving` measures, each in a process of its own: the load on a server, and the two ceilings.

    python -m benchmarks.serving_parts load|raw|decode JOB

JOB is JSON, see each function; what it measured is printed as JSON.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Tally:
    """What came back within the measured window.

    Attributes:
        statuses: answers by status; 0: the connection broke.
        seconds: from the moment a request is written to the end of its answer, those with 200 alone.
        unsent: arrivals for which no connection was free.
        late: the longest that an arrival was sent after its time.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    unsent: int = 0
    late: float = 0.0


class Connection:
    """One connection that stays open, opened again when it breaks."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> int:
        """The status of the answer; 0 where there was none."""
        try:
            if self.reader is None or self.writer is None:
                self.reader, self.writer = await asyncio.open_connection(self.host, self.port, limit=2**20)
            self.writer.write(request)
            head = await self.reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
            await self.reader.readexactly(length)
            if b"connection: close" in lines:
                self.close()
            return int(head[9:12])
        except (OSError, asyncio.IncompleteReadError, StopIteration):
            self.close()
            return 0

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


def load(job: dict[str, Any]) -> dict[str, Any]:
    """Asks a server for ``seconds`` after ``warm`` seconds that do not count.

    ``host``, ``port``, ``path``, ``headers`` (a dict), ``bodies`` (a folder), ``images`` (in each body), ``connections``, and
    ``rate``: requests a second, sent when their time has come (Poisson); None: each connection asks again once it has its answer.
    """
    bodies = [path.read_bytes() for path in sorted(Path(job["bodies"]).iterdir())]
    head = f"POST {job['path']} HTTP/1.1\r\nHost: {job['host']}:{job['port']}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in job["headers"].items())
    requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
    tally = Tally()
    cpu, wall = asyncio.run(_run(job, requests, tally))
    answered = tally.statuses[200]
    if not answered:
        raise SystemExit(f"no answer with 200 from {job['path']}, but {dict(tally.statuses)}")
    quantiles = np.percentile(tally.seconds, [50, 90, 99, 100])
    return {
        "images_a_second": answered * job["images"] / wall,
        "statuses": {str(status): count for status, count in sorted(tally.statuses.items())},
        **{name: float(value) for name, value in zip(("p50", "p90", "p99", "max"), quantiles, strict=True)},
        "unsent": tally.unsent,
        "late": tally.late,
        "cpu_seconds": cpu,
        "wall_seconds": wall,
    }


async def _run(job: dict[str, Any], requests: list[bytes], tally: Tally) -> tuple[float, float]:
    begun = time.perf_counter() + job["warm"]
    end = begun + job["seconds"]
    choose = random.Random(0)

    async def ask(connection: Connection) -> None:
        sent = time.perf_counter()
        status = await connection.ask(choose.choice(requests))
        now = time.perf_counter()
        if begun <= now < end:
            tally.statuses[status] += 1
            if status == 200:
                tally.seconds.append(now - sent)

    connections = [Connection(job["host"], job["port"]) for _ in range(job["connections"])]
    if job["rate"] is None:
        clients = [_again(connection, ask, end) for connection in connections]
    else:
        clients = [_at_rate(job["rate"], connections, ask, (begun, end), tally)]
    working = asyncio.gather(*clients)
    await asyncio.sleep(max(0.0, begun - time.perf_counter()))
    cpu = time.process_time()
    await asyncio.sleep(max(0.0, end - time.perf_counter()))
    cpu = time.process_time() - cpu
    await working
    for connection in connections:
        connection.close()
    return cpu, job["seconds"]


async def _again(connection: Connection, ask: Callable[[Connection], Any], end: float) -> None:
    while time.perf_counter() < end:
        await ask(connection)


async def _at_rate(
    rate: float, connections: list[Connection], ask: Callable[[Connection], Any], window: tuple[float, float], tally: Tally
) -> None:
    idle, running = list(connections), set[asyncio.Task[None]]()
    choose, due = random.Random(1), time.perf_counter()

    async def use(connection: Connection) -> None:
        await ask(connection)
        idle.append(connection)

    while due < window[1]:
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        elif int(-wait * 1000) % 8 == 7:
            await asyncio.sleep(0)  # behind: the answers must be read all the same
        counted = due >= window[0]
        if idle:
            task = asyncio.create_task(use(idle.pop()))
            running.add(task)
            task.add_done_callback(running.discard)
        elif counted:
            tally.unsent += 1
        if counted:
            tally.late = max(tally.late, time.perf_counter() - due)
        due += choose.expovariate(rate)
    await asyncio.gather(*running)


def raw(job: dict[str, Any]) -> dict[str, Any]:
    """The network alone, ready tensors in full batches: ``model``, ``batch``, ``seconds``."""
    from striate import machine
    from striate.prediction import load as load_model

    model = load_model(job["model"])
    if model.is_torch:
        machine.tune()
    shape = (job["batch"], model.preprocess.channels, *model.preprocess.size)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for _ in range(3):
        model.raw(images)
    batches, begun = 0, time.perf_counter()
    while (taken := time.perf_counter() - begun) < job["seconds"]:
        model.raw(images)
        batches += 1
    return {"images_a_second": batches * job["batch"] / taken, "batch_seconds": taken / batches}


def decode(job: dict[str, Any]) -> dict[str, Any]:
    """Decoding and preprocessing alone, a process a core: ``model``, ``bodies``, ``seconds``."""
    from striate import machine

    context = multiprocessing.get_context("spawn")
    with context.Pool(machine.num_cores(), _ready, (job["model"], job["bodies"])) as pool:
        rates = pool.map(_decode, [job["seconds"]] * machine.num_cores(), chunksize=1)
    return {"images_a_second": sum(rates)}


_state: dict[str, Any] = {}


def _ready(model: str, bodies: str) -> None:
    from striate.prediction import load as load_model

    _state["preprocess"] = load_model(model).preprocess
    _state["bodies"] = [path.read_bytes() for path in sorted(Path(bodies).iterdir())]


def _decode(seconds: float) -> float:
    images, begun = 0, time.perf_counter()
    while (taken := time.perf_counter() - begun) < seconds:
        _state["preprocess"](_state["bodies"][images % len(_state["bodies"])])
        images += 1
    return images / taken


PARTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"load": load, "raw": raw, "decode": decode}

if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](json.loads(sys.argv[2]))))
