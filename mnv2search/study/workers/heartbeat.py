"""Heartbeats: counts that processes write to a storage at intervals; readers judge them by their own clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from mnv2search.errors import StorageError

# Interval between two heartbeats, and the time without one after which a process counts as dead.
BEAT_S, GRACE_S = 5.0, 45.0


@contextmanager
def beating(beat: Callable[[int], None], *, every_s: float = BEAT_S) -> Iterator[None]:
    """Call `beat` with 0 in this thread, and then at intervals with a growing count in another thread."""
    beat(0)
    ended = threading.Event()

    def run() -> None:
        count = 0
        while not ended.wait(every_s):
            count += 1
            try:
                beat(count)
            except StorageError:
                continue  # the storage may become reachable again; the main thread reports errors

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Pulse:
    """Finds silent processes by the time since their count last changed, on the clock of this machine."""

    def __init__(self, *, grace_s: float = GRACE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace_s, self._clock = grace_s, clock
        self._last: dict[Hashable, tuple[object, float]] = {}

    def is_silent(self, key: Hashable, count: object) -> bool:
        """Whether the count of a process has not changed for longer than the grace period."""
        now = self._clock()
        last, since = self._last.setdefault(key, (count, now))
        if count != last:
            self._last[key] = (count, now)
            return False
        return now - since > self._grace_s
