"""The time limit of a search, and its division into phases."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple

from mnv2search.errors import OptionError


class Shares(NamedTuple):
    """Shares of the whole time at which each phase ends; the rest is for the final side-by-side measurement.

    A training that takes longer than expected ends at `stop`.
    """

    baseline: float
    calibration: float
    preparation: float
    search: float
    stop: float = 1.0


PLAIN = Shares(baseline=0.2, calibration=0.3, preparation=0.3, search=0.7)
# Shares of a search whose evaluator needs preparation, such as training weights that all networks share.
PREPARED = Shares(baseline=0.12, calibration=0.17, preparation=0.62, search=0.9)


class Deadline:
    """The time limit of one search, `time_s` seconds (None: no limit), of which `spent_s` are already used."""

    def __init__(self, time_s: float | None, *, clock: Callable[[], float], spent_s: float = 0.0) -> None:
        self.clock = clock
        self._start = clock() - spent_s
        self.time_s = time_s

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self.clock() - self._start

    @property
    def left_s(self) -> float | None:
        """Seconds to the end; None without a limit."""
        return None if self.time_s is None else max(0.0, self.time_s - self.elapsed_s)

    def until(self, share: float) -> float | None:
        """Seconds until a share of the whole time has passed; None without a limit."""
        return None if self.time_s is None else max(0.0, share * self.time_s - self.elapsed_s)

    def passed(self, share: float) -> bool:
        """Whether a share of the whole time has passed."""
        return self.until(share) == 0.0


def seconds_of(time: float | str | None) -> float | None:
    """A time in seconds from seconds, or from text such as ``90s``, ``2m`` or ``1h30m``.

    >>> seconds_of("1h30m"), seconds_of("90"), seconds_of(2), seconds_of(None)
    (5400.0, 90.0, 2.0, None)

    Raises:
        OptionError: the time cannot be parsed, or is not above 0.
    """
    if time is None or (isinstance(time, int | float) and time > 0):
        return None if time is None else float(time)
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", str(time).strip().lower())
    if match is None or not any(match.groups()):
        raise OptionError(f"{time!r} is not a time", hint="write 90s, 2m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    if (total := 3600 * hours + 60 * minutes + seconds) <= 0:
        raise OptionError(f"{time!r} is not above 0", hint="write 90s, 2m or 1h30m")
    return total


def time_text(seconds: float) -> str:
    """Format a time for the command line, rounded up to 10 s or, above 110 s, to minutes.

    >>> time_text(72), time_text(90.5), time_text(130), time_text(4000)
    ('80s', '100s', '3m', '1h7m')
    """
    if seconds <= 110:
        return f"{10 * max(1, math.ceil(seconds / 10))}s"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours}h" * bool(hours) + f"{minutes}m" * bool(minutes)
