"""A clock that does not depend on how busy the machine is."""

from __future__ import annotations


class CountingClock:
    """A clock that advances by a fixed time whenever it is read.

    Args:
        tick_s: from one reading to the next.
    """

    def __init__(self, tick_s: float) -> None:
        self.tick_s, self.now_s = tick_s, 0.0

    def __call__(self) -> float:
        """Seconds."""
        self.now_s += self.tick_s
        return self.now_s
