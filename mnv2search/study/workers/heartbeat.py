"""Heartbeats: counts that processes write to a storage at intervals; readers judge them by their own clock."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from mnv2search.errors import StorageError

# Interval between two heartbeats, and the time without one after which a process counts as dead.
BEAT_S, GRACE_S = 5.0, 45.0
# Most time that counts between two readings: in a longer pause, the storage may have been unreachable for everyone.
MOST_PAUSE_S = 2 * BEAT_S


@contextmanager
def beating(beat: Callable[[int], None], *, every_s: float = BEAT_S) -> Iterator[None]:
    """Call `beat` with 0 in this thread, and then at intervals with a growing count in another thread."""
    with contextlib.suppress(StorageError):  # as below
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
    """Finds silent processes by the time since their count last changed, on the clock of this machine.

    A pause between two readings counts as at most `MOST_PAUSE_S`, so that after an outage of the storage, processes
    have time to write their heartbeats again.
    """

    def __init__(self, *, grace_s: float = GRACE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace_s, self._clock = grace_s, clock
        self._last: dict[Hashable, tuple[object, float, float]] = {}

    def is_silent(self, key: Hashable, count: object) -> bool:
        """Whether the count of a process has not changed for longer than the grace period."""
        now = self._clock()
        last, silent_s, read_at = self._last.get(key, (count, 0.0, now))
        silent_s = silent_s + min(now - read_at, MOST_PAUSE_S) if count == last else 0.0
        self._last[key] = (count, silent_s, now)
        return silent_s > self._grace_s
