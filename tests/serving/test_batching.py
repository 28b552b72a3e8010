"""Who shares a batch with whom, and who gets which answer."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from typing import Any

import numpy as np
import pytest
from colours import Running, colours, grey_of, labels, npy, tensor, within
from numpy.typing import NDArray

from striate.serving.limits import Limits
from striate.serving.models import Source


class Watched:
    """A network that notes the size of each batch and can be held still."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.free = threading.Event()
        self.free.set()
        self.begun = threading.Event()

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.begun.set()
        assert self.free.wait(60)
        self.sizes.append(len(images))
        return grey_of(images)

    async def hold(self, server: Running, grey: int = 0) -> asyncio.Task[Any]:
        """Lets one request begin and keeps it in the network."""
        self.begun.clear()
        self.free.clear()
        task = asyncio.create_task(server.predict(grey))
        await asyncio.to_thread(self.begun.wait, 60)
        return task


def test_every_answer_is_that_of_its_own_picture() -> None:
    async def ask(server: Running) -> None:
        choose = random.Random(0)
        requests = [[choose.randrange(256) for _ in range(choose.choice([1, 1, 1, 2, 5, 9]))] for _ in range(100)]
        answers = await asyncio.gather(*(server.predict(*greys) for greys in requests))
        assert [labels(answer) for answer in answers] == [[f"grey{grey}" for grey in greys] for greys in requests]

    within(Limits(max_batch=8, max_queue=1000), ask)


def test_batch_gives_what_one_picture_alone_gives() -> None:
    weights = np.random.default_rng(1).normal(size=(192, 256)).astype(np.float32)

    def linear(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return (images.reshape(len(images), -1).astype(np.float32) / 255) @ weights

    images = np.random.default_rng(2).integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)

    async def ask(server: Running) -> None:
        alone = [(await server.client.post("/predict?top=256", content=npy(image[None]))).json() for image in images]
        together = (await server.client.post("/predict?top=256", content=npy(images))).json()["predictions"]
        for one, many in zip(alone, together, strict=True):
            first, second = ({row["label"]: row["probability"] for row in said["top"]} for said in (one["predictions"][0], many))
            # Sums of 192 products in another order: 192 ulp of float32 on logits of about 10, at a slope of at most 1.
            assert all(abs(first[label] - second[label]) <= 192 * 2**-23 * 10 for label in first)

    within(Limits(max_batch=16), ask, network=linear)


def test_a_lone_request_waits_for_nobody() -> None:
    async def ask(server: Running) -> None:
        for grey in range(3):
            assert labels(await server.predict(grey)) == [f"grey{grey}"]

    within(Limits(max_delay_ms=1e6, timeout_s=50), ask)  # a wait would outlast the patience


def test_load_fills_the_batches() -> None:
    network = Watched()

    async def ask(server: Running) -> None:
        network.sizes.clear()
        held = await network.hold(server)
        waiting = [asyncio.create_task(server.predict(grey)) for grey in range(20)]
        while server.service.load.queued < 21:
            await asyncio.sleep(0.001)
        network.free.set()
        await asyncio.gather(held, *waiting)
        assert network.sizes == [1, 8, 8, 4]

    within(Limits(max_batch=8), ask, network=network)


def test_a_batch_waits_for_pictures_that_are_being_decoded_but_not_for_ever() -> None:
    network = Watched()

    async def ask(server: Running) -> None:
        network.sizes.clear()
        lane = server.service.models.versions[0].lane
        with server.service.engine.expecting(lane, 1):
            first = asyncio.create_task(server.predict(1))
            await asyncio.sleep(0.3)
            assert network.sizes == []
            second = asyncio.create_task(server.predict(2))
            await asyncio.wait([first, second], timeout=0.3)
            assert network.sizes == []  # still one to come
        await asyncio.gather(first, second)
        assert network.sizes == [2]
        with server.service.engine.expecting(lane, 1):
            await server.predict(3)
        assert network.sizes == [2, 1]

    within(Limits(max_delay_ms=2000), ask, network=network)


def test_a_request_larger_than_a_batch_is_cut_and_put_together_again() -> None:
    network = Watched()

    async def ask(server: Running) -> None:
        network.sizes.clear()
        assert labels(await server.predict(*range(20))) == [f"grey{grey}" for grey in range(20)]
        assert network.sizes == [8, 8, 4]

    within(Limits(max_batch=8, max_delay_ms=0), ask, network=network)


def test_deadline_is_answered_and_what_has_not_begun_is_dropped() -> None:
    network = Watched()

    async def ask(server: Running) -> None:
        held = await network.hold(server)
        late = await server.predict(7, 8)
        assert (late.status_code, late.json()["error"]["type"]) == (504, "deadline")
        network.sizes.clear()
        network.free.set()
        assert (await held).status_code == 504
        assert labels(await server.predict(9)) == ["grey9"]
        assert network.sizes == [1, 1]  # the one held, and the last: never the two whose time was up
        assert server.service.load.queued == 0

    within(Limits(timeout_s=0.2), ask, network=network)


def test_a_network_that_fails_fails_its_batch_alone() -> None:
    def moody(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if 13 in images:
            raise RuntimeError("secret pixels")
        return grey_of(images) if 14 not in images else np.full((len(images), 256), np.nan, np.float32)

    async def ask(server: Running) -> None:
        for grey, type in ((13, "model_failed"), (14, "not_finite")):
            failed = await server.predict(grey)
            assert (failed.status_code, failed.json()["error"]["type"]) == (500, type)
        assert labels(await server.predict(5)) == ["grey5"]
        assert "RuntimeError" in server.written()
        assert "secret" not in server.written()

    within(None, ask, network=moody)


def test_models_take_turns() -> None:
    order: list[str] = []

    def named(name: str) -> Any:
        def network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            order.append(name)
            time.sleep(0.01)
            return grey_of(images)

        return network

    sources = [Source(name, name, lambda name=name: colours(network=named(name))) for name in ("a", "b")]  # type: ignore[misc]

    async def ask(server: Running) -> None:
        order.clear()
        asked = [server.client.post(f"/models/{name}/predict", content=npy(tensor(1))) for name in 10 * "a" + 10 * "b"]
        await asyncio.gather(*asked)
        assert order.count("a") == order.count("b") == 10
        after_both = order[order.index("b") :][:6]
        assert all(first != second for first, second in itertools.pairwise(after_both)), order

    within(Limits(max_batch=1), ask, sources=sources)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("max_batch", 0, "max_batch"),
        ("max_delay_ms", -1, "max_delay_ms"),
        ("timeout_s", 0, "timeout_s"),
        ("max_queue", 3, "short"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(field: str, value: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Limits(**{field: value})
