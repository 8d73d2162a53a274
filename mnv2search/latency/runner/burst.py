"""A burst: runs of one network in a row, each timed by two clocks."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["burst"]


def burst(
    run: Callable[[], None],
    *,
    burst_ms: float,
    warm_ms: float,
    min_runs: int,
    wall_ns: Callable[[], int] = time.perf_counter_ns,
    cpu_ns: Callable[[], int] = time.thread_time_ns,
) -> list[tuple[int, int]]:
    """(wall, CPU) time in ns of runs in a row, after enough of them to fill the caches.

    Args:
        run: runs one inference.
        burst_ms: for how long.
        warm_ms: of untimed runs before, and never fewer than two runs.
        min_runs: timed, however slow.
        wall_ns: a clock of the time that passed.
        cpu_ns: a clock of the time that this thread spent on a processor.
    """
    begin = wall_ns()
    run()
    run()
    while wall_ns() - begin < warm_ms * 1e6:
        run()
    runs: list[tuple[int, int]] = []
    begin = wall_ns()
    while len(runs) < min_runs or wall_ns() - begin < burst_ms * 1e6:
        wall, cpu = wall_ns(), cpu_ns()
        run()
        spent = cpu_ns() - cpu
        runs.append((wall_ns() - wall, spent))
    return runs
