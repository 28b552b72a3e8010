"""Pictures are decoded elsewhere: what dies or hangs there costs one answer."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import numpy as np
import pytest
from colours import PREPROCESS, Running, encoded, labels, png, within

from striate.serving.decoding_pool import DecodingPool, Recipe
from striate.serving.limits import Limits
from striate.serving.metrics_text import Metrics
from striate.serving.refusals import Refusal

RECIPE = Recipe.of("colours", PREPROCESS, 10**6)


def with_pool(test: Any, limits: Limits | None = None, num_workers: int = 1) -> None:
    async def run() -> None:
        pool = DecodingPool(num_workers, limits or Limits(), Metrics())
        await pool.start()
        try:
            await test(pool)
        finally:
            await pool.close()

    asyncio.run(run())


def test_pixels_are_those_of_the_preprocessing() -> None:
    data = encoded("JPEG", 77, (40, 30))

    async def ask(pool: DecodingPool) -> None:
        pixels = await asyncio.gather(*(pool.decode(data, RECIPE) for _ in range(9)))
        assert all(np.array_equal(picture, PREPROCESS(data)) for picture in pixels)
        with pytest.raises(Refusal, match="too early"):
            await pool.decode(png(1)[:-20], RECIPE)
        assert len(pool.pids) == 2

    with_pool(ask, num_workers=2)


def test_a_stopped_process_is_killed_and_replaced() -> None:
    async def ask(pool: DecodingPool) -> None:
        (pid,) = pool.pids
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(Refusal, match=r"more than 0\.5 s") as refused:
            await pool.decode(png(1), RECIPE)
        assert (refused.value.type, refused.value.status) == ("decode_timeout", 422)
        assert (await pool.decode(png(9), RECIPE)).mean() == 9
        assert pool.pids != [pid]

    with_pool(ask, Limits(decode_timeout_s=0.5))


def test_a_killed_process_is_replaced_and_its_request_answered() -> None:
    async def ask(server: Running) -> None:
        (pid,) = server.service.pool.pids
        os.kill(pid, signal.SIGSTOP)  # so that the picture is its own when it dies
        asked = asyncio.create_task(server.client.post("/predict", content=png(1)))
        waiting = asyncio.create_task(server.client.post("/predict", content=png(2)))
        while server.service.load.queued < 2:
            await asyncio.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        died = await asked
        assert (died.status_code, died.json()["error"]["type"]) == (500, "decoder_died")
        assert labels(await waiting) == ["grey2"]
        assert "striate_decoders_replaced_total 1" in (await server.client.get("/metrics")).text

    within(None, ask, num_workers=1)


def test_a_process_killed_while_idle_costs_no_answer() -> None:
    async def ask(pool: DecodingPool) -> None:
        (pid,) = pool.pids
        os.kill(pid, signal.SIGKILL)
        while pool.pids in ([], [pid]):
            await asyncio.sleep(0.01)
        assert (await pool.decode(png(5), RECIPE)).mean() == 5

    with_pool(ask)


def test_a_request_given_up_does_not_disturb_the_next() -> None:
    async def ask(pool: DecodingPool) -> None:
        (pid,) = pool.pids
        os.kill(pid, signal.SIGSTOP)
        given_up = asyncio.create_task(pool.decode(png(1), RECIPE))
        await asyncio.sleep(0.05)
        given_up.cancel()
        os.kill(pid, signal.SIGCONT)
        assert (await pool.decode(png(6), RECIPE)).mean() == 6
        assert pool.pids == [pid]

    with_pool(ask)


def test_processes_survive_signals_meant_for_the_server_and_end_with_it() -> None:
    async def ask(pool: DecodingPool) -> None:
        (pid,) = pool.pids
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
        assert (await pool.decode(png(5), RECIPE)).mean() == 5
        decoder = pool._decoders[0]
        assert decoder.process.returncode is None
        await pool.close()
        assert decoder.process.returncode == -signal.SIGKILL

    with_pool(ask)


def test_memory_of_a_process_is_capped() -> None:
    with open("/proc/meminfo") as file:
        assert file.readline()  # Linux: elsewhere nothing is promised

    async def ask(pool: DecodingPool) -> None:
        with open(f"/proc/{pool.pids[0]}/limits") as file:
            cap = next(line.split()[3] for line in file if line.startswith("Max address space"))
        assert 0 < int(cap) < 4 * 2**30

    with_pool(ask)
