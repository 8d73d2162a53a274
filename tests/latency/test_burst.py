"""One burst of runs on a clock that moves only while they run."""

from __future__ import annotations

import pytest

from mnv2search.latency.runner.burst import burst
from mnv2search.latency.runtimes.simulated import SimulatedClock


@pytest.mark.parametrize(("warm_ms", "untimed"), [(0.0, 2), (1.0, 2), (10.0, 10), (10.5, 11)])
def test_untimed_runs_last_as_long_as_asked_and_are_two_at_least(warm_ms: float, untimed: int) -> None:
    clock, done = SimulatedClock(), list[int]()

    def run() -> None:
        clock.advance(wall_ns=1_000_000, cpu_ns=900_000)
        done.append(1)

    timed = burst(run, burst_ms=4.0, warm_ms=warm_ms, min_runs=1, wall_ns=clock.wall_ns, cpu_ns=clock.cpu_ns)
    assert timed == [(1_000_000, 900_000)] * 4
    assert len(done) - len(timed) == untimed
