"""Signs of life, written to a storage at intervals, and their loss, judged by the clock of the reader alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from mnv2search.errors import StorageError

# Interval between two beats, and the time without a beat after which a process counts as dead.
BEAT_S, GRACE_S = 5.0, 45.0


@contextmanager
def beating(beat: Callable[[int], None], *, every_s: float = BEAT_S) -> Iterator[None]:
    """Call `beat` with a growing count in a thread, also while this process is busy; the first call is made here."""
    beat(0)
    ended = threading.Event()

    def run() -> None:
        count = 0
        while not ended.wait(every_s):
            count += 1
            try:
                beat(count)
            except StorageError:
                continue  # the storage may come back; the main thread reports errors

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Pulse:
    """Tells which processes are silent, by the time since their count last changed on this machine's clock."""

    def __init__(self, *, grace_s: float = GRACE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace_s, self._clock = grace_s, clock
        self._last: dict[Hashable, tuple[object, float]] = {}

    def is_silent(self, key: Hashable, count: object) -> bool:
        """Whether a process has shown the same count for longer than the grace period."""
        now = self._clock()
        last, since = self._last.setdefault(key, (count, now))
        if count != last:
            self._last[key] = (count, now)
            return False
        return now - since > self._grace_s
