"""Prefetch: threads that make batches ahead of their use, in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
# Threads that make batches for a GPU; on a CPU, the network itself needs the cores.
MOST_WORKERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """How many batches wait at most, the threads that make them, and whether they are in pinned memory."""

    ahead: int = 4
    workers: int = 1
    pinned: bool = False


ONE_THREAD = Feed()


def feed_of(device: str) -> Feed:
    """The settings for a device of torch.

    >>> feed_of("cpu")
    Feed(ahead=4, workers=1, pinned=False)
    """
    if not device.startswith("cuda"):
        return Feed()
    workers = max(1, min(MOST_WORKERS, (os.cpu_count() or 1) - 1))
    return Feed(ahead=2 * workers, workers=workers, pinned=True)


def made_ahead(make: Callable[[int], T], numbers: Iterable[int], feed: Feed) -> Generator[T]:
    """``make(number)`` of every number, in order.

    >>> list(made_ahead(lambda n: n * n, range(5), Feed(ahead=3, workers=2)))
    [0, 1, 4, 9, 16]
    """
    if not feed.ahead:
        yield from map(make, numbers)
        return
    left = iter(numbers)
    with ThreadPoolExecutor(feed.workers) as pool:
        waiting: deque[Future[T]] = deque(pool.submit(make, number) for number in islice(left, feed.ahead))
        try:
            while waiting:
                found = waiting.popleft().result()
                waiting.extend(pool.submit(make, number) for number in islice(left, 1))
                yield found
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
