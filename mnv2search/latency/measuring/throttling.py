"""Pauses while a device throttles, which the reference network shows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mnv2search.latency.measuring.estimate import quantile

LOG = logging.getLogger("mnv2search.latency")
# A shorter pause is not logged: it would read as 0 s.
LOGGED_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooling:
    """When to pause, and for how long.

    Attributes:
        slowdown: of the reference beyond its level so far, relative, that counts as throttling.
        bursts: of the reference in a row that must all be slower by that: a passing disturbance is shorter.
        pause_s: the first pause; each further one in a row is twice as long, up to `longest_s`.
        longest_s: of one pause.
        total_s: of all pauses in one call; after that, measuring continues and the results are noisy.
    """

    slowdown: float = 0.12
    bursts: int = 30
    pause_s: float = 10.0
    longest_s: float = 60.0
    total_s: float = 300.0


class Cooler:
    """Watches the reference and pauses while it stays slow.

    Args:
        cooling: when to pause.
        name: of the device, for messages.
    """

    def __init__(self, cooling: Cooling, *, name: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._cooling = cooling
        self._name = name
        self._sleep = sleep
        self._paused_s = 0.0
        self._in_a_row = 0
        self._seen = 0

    @property
    def paused_s(self) -> float:
        """Time spent in pauses."""
        return self._paused_s

    def watch(self, levels_ms: Sequence[float], *, undisturbed_ms: float, left_s: float | None) -> None:
        """Pause if the latest levels of the reference are all far above its undisturbed level.

        Args:
            levels_ms: of the reference, oldest first.
            undisturbed_ms: its level on a cool device.
            left_s: time that is left for measuring; a pause never takes more than a quarter of it.
        """
        cooling = self._cooling
        fresh = levels_ms[self._seen :][-cooling.bursts :]
        if len(fresh) < cooling.bursts:
            return
        slowdown = quantile(fresh, 0.0) / undisturbed_ms - 1
        if slowdown <= cooling.slowdown:
            self._in_a_row = 0
            return
        pause_s = min(cooling.pause_s * 2**self._in_a_row, cooling.longest_s, cooling.total_s - self._paused_s)
        pause_s = pause_s if left_s is None else min(pause_s, left_s / 4)
        if pause_s <= 0:
            return
        if pause_s >= LOGGED_S:
            LOG.warning(
                "%s is %.0f %% slower than before: pausing %.0f s to cool", self._name, 100 * slowdown, pause_s
            )
        self._sleep(pause_s)
        self._seen = len(levels_ms)
        self._paused_s += pause_s
        self._in_a_row += 1
