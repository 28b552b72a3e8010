"""Pictures read and decoded by threads while the network works on the ones before, in order, a batch at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from striate import machine
from striate.data.decode import ImageError
from striate.errors import UsageError

AHEAD = 2
"""Batches in the making while one is in use: enough that neither side waits for the other's slow moments."""

Item = TypeVar("Item")
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class PictureBatch(Generic[Item]):
    """Some consecutive items, and the pictures of those that could be read.

    Attributes:
        items: in their order.
        outcomes: an item each: its row in ``images``, or why it could not be read.
        images: uint8 [M, C, h, w], laid out channels last; None where nothing could be read.
    """

    items: list[Item]
    outcomes: list[int | ImageError]
    images: Picture | None


def stream_pictures(
    items: Iterable[Item], read: Callable[[Item], Picture], batch: int, workers: int | None = None
) -> Iterator[PictureBatch[Item]]:
    """Reads ``items`` lazily and in order.

    Args:
        items: any number; asked for only a few batches ahead.
        read: an item -> uint8 [h, w, C], one shape for all; called by several threads. An :class:`ImageError` is kept with
            its item; any other exception ends the stream.
        batch: items a batch.
        workers: threads; 0 or None: one a core. The batches do not depend on it.

    Raises:
        UsageError: no images a batch, or fewer than no threads.
    """
    if batch < 1:
        raise UsageError(f"batch is {batch}", why="it is the number of images taken at once", fix="take at least 1")
    if workers is not None and workers < 0:
        raise UsageError(f"workers is {workers}", why="it is the number of decoding threads", fix="0 or None: one a core")
    iterator, num_threads = iter(items), workers or machine.num_cores()
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="striate-decode")
    waiting: deque[tuple[list[Item], list[Future[list[Picture | ImageError]]]]] = deque()

    def start_next() -> None:
        if taken := list(islice(iterator, batch)):
            share = -(-len(taken) // num_threads)  # few large pieces: a future costs as much as a small picture
            waiting.append((taken, [pool.submit(_read_all, read, taken[i : i + share]) for i in range(0, len(taken), share)]))

    try:
        for _ in range(AHEAD):
            start_next()
        while waiting:
            taken, pieces = waiting.popleft()
            start_next()
            yield _collate(taken, [result for piece in pieces for result in piece.result()])
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _read_all(read: Callable[[Item], Picture], items: list[Item]) -> list[Picture | ImageError]:
    results: list[Picture | ImageError] = []
    for item in items:
        try:
            results.append(read(item))
        except ImageError as error:
            results.append(error)
    return results


def _collate(items: list[Item], results: list[Picture | ImageError]) -> PictureBatch[Item]:
    pictures: list[Picture] = []
    outcomes: list[int | ImageError] = []
    for result in results:
        if isinstance(result, ImageError):
            outcomes.append(result)
        else:
            outcomes.append(len(pictures))
            pictures.append(result)
    # [M, h, w, C] seen as [M, C, h, w] is what torch calls channels last: nothing is copied.
    images = np.stack(pictures).transpose(0, 3, 1, 2) if pictures else None
    return PictureBatch(items, outcomes, images)
