"""Work side by side in threads, results in order, memory bounded."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

Track = Callable[[Iterable[Any], int, str], Iterator[Any]]
"""Wraps an iterable with a progress display: (items, total, description)."""

_AHEAD = 4  # items in hand for each worker: enough to hide one slow item, few enough to stay small


def in_order(function: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Iterator[Result]:
    """Apply a function to items in `workers` threads and yield the results in the items' order.

    Decoding, image steps and networks all leave the interpreter's lock, so threads keep every processor
    busy while sharing one network. Stopping early cancels what has not begun.

    Args:
        function: Called once an item; an error it raises is raised here.
        items: Consumed only a few items ahead of the results.
        workers: Number of threads.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
