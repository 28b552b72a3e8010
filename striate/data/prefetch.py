"""Work in threads, its results in order, a bounded number ahead of the reader, given up at once when he stops."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Stopped(Exception):
    """The results of a job are no longer wanted."""


def ordered(
    work: Callable[[Item, threading.Event], Result], items: Iterable[Item], workers: int, ahead: int, give_way: bool = False
) -> Iterator[Result]:
    """``work(item, stop)`` for each item, in order, up to ``ahead`` results before they are asked for.

    The first exception of an item is raised in its turn. However the iteration ends (to the end, by an exception, by
    closing or dropping the iterator), ``stop`` is set, what has not begun is dropped, and the threads are gone before it
    returns; work that takes long looks at ``stop`` and raises :class:`Stopped`.

    Args:
        work: reads and decodes; must not hold the interpreter's lock for long.
        items: taken one by one as results are asked for.
        workers: threads; 0: the work is done when its result is asked for.
        ahead: bound on results waiting, and so on memory.
        give_way: the threads run at the lowest priority: for work beside training, whose own threads lose most of their
            speed to a busy neighbour.
    """
    stop = threading.Event()
    if workers == 0:
        for item in items:
            yield work(item, stop)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="striate-decode", initializer=_lowest_priority if give_way else None)
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item, stop))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _lowest_priority() -> None:
    if sys.platform == "linux":  # elsewhere the call is for the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
