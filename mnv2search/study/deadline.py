"""How the time of a search is divided, and where it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["PLAIN", "PREPARED", "Deadline", "Shares"]


class Shares(NamedTuple):
    """Shares of the whole time at which a part has to end; the rest is for the final side-by-side measurement."""

    baseline: float
    calibration: float
    preparation: float
    search: float


PLAIN = Shares(baseline=0.2, calibration=0.3, preparation=0.3, search=0.7)
# Of a search whose evaluator has to prepare itself, such as to train weights that all networks share.
PREPARED = Shares(baseline=0.12, calibration=0.17, preparation=0.62, search=0.82)


class Deadline:
    """The clock of one search.

    Args:
        time_s: wall time for everything; None is without end.
        clock: seconds that never go backwards.
    """

    def __init__(self, time_s: float | None, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock()
        self.time_s = time_s

    @property
    def elapsed_s(self) -> float:
        """Since the start."""
        return self._clock() - self._start

    @property
    def left_s(self) -> float | None:
        """To the end; None without one."""
        return None if self.time_s is None else max(0.0, self.time_s - self.elapsed_s)

    def until(self, share: float) -> float | None:
        """Time left to that share of the whole; None without an end."""
        return None if self.time_s is None else max(0.0, share * self.time_s - self.elapsed_s)

    def passed(self, share: float) -> bool:
        """Whether that share of the whole is over."""
        return self.until(share) == 0.0
