"""Detection of thermal throttling by the reference network, and pauses to cool."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mnv2search.latency.measuring.estimate import quantile

LOG = logging.getLogger("mnv2search.latency")
# Shorter pauses are not logged, because they would be shown as 0 s.
LOGGED_S = 0.5


@dataclass(slots=True, kw_only=True)
class Cooler:
    """A throttling monitor that pauses while the reference stays slow.

    Attributes:
        name: name of the device, for messages.
        slowdown: relative slow-down of the reference that counts as throttling.
        bursts: number of consecutive slow reference bursts that count; a passing disturbance is shorter.
        pause_s: length of the first pause; each consecutive pause is twice as long, up to `longest_s`.
        total_s: total of the pauses in one call; after that, measuring continues and the results are noisy.
        paused_s: time spent in pauses.
    """

    name: str
    slowdown: float = 0.12
    bursts: int = 30
    pause_s: float = 10.0
    longest_s: float = 60.0
    total_s: float = 300.0
    sleep: Callable[[float], None] = time.sleep
    paused_s: float = field(default=0.0, init=False)
    _in_a_row: int = field(default=0, init=False)
    _seen: int = field(default=0, init=False)

    def watch(self, levels_ms: Sequence[float], *, undisturbed_ms: float, left_s: float | None) -> None:
        """Pause if the latest levels of the reference, given oldest first, are all far above the undisturbed level.

        A pause takes at most a quarter of the remaining time for measuring.
        """
        fresh = levels_ms[self._seen :][-self.bursts :]
        if len(fresh) < self.bursts:
            return
        slowdown = quantile(fresh, 0.0) / undisturbed_ms - 1
        if slowdown <= self.slowdown:
            self._in_a_row = 0
            return
        pause_s = min(self.pause_s * 2**self._in_a_row, self.longest_s, self.total_s - self.paused_s)
        pause_s = pause_s if left_s is None else min(pause_s, left_s / 4)
        if pause_s <= 0:
            return
        if pause_s >= LOGGED_S:
            LOG.warning(
                "%s is %.0f %% slower than before: pausing %.0f s to cool", self.name, 100 * slowdown, pause_s
            )
        self.sleep(pause_s)
        self._seen = len(levels_ms)
        self.paused_s += pause_s
        self._in_a_row += 1
