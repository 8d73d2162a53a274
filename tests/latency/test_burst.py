"""A burst of runs, on a clock that only a run moves."""

from __future__ import annotations

import pytest

from mnv2search.latency.runner.engine import burst

MS = 1_000_000


class Clock:
    """Each run takes one millisecond."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self) -> None:
        self.runs += 1

    def now_ns(self) -> int:
        return self.runs * MS


@pytest.mark.parametrize(("warm_ms", "warm_runs"), [(0.0, 2), (2.0, 2), (10.0, 10)])
@pytest.mark.parametrize(("burst_ms", "timed_runs"), [(0.0, 3), (5.0, 5)])
def test_runs_are_untimed_and_timed_for_as_long_as_asked(
    warm_ms: float, warm_runs: int, burst_ms: float, timed_runs: int
) -> None:
    clock = Clock()
    runs = burst(clock.run, burst_ms=burst_ms, warm_ms=warm_ms, min_runs=3, wall_ns=clock.now_ns, cpu_ns=clock.now_ns)
    assert runs == [(MS, MS)] * timed_runs
    assert clock.runs == warm_runs + timed_runs
