"""The machine this process runs on."""

from __future__ import annotations

import os
import time
from functools import lru_cache

from mnv2search.latency.runner import identity


class SystemClock:
    """The wall clock, and the time that the calling thread spent on a processor.

    One inference at one thread runs in the thread that asks for it, so its CPU time leaves out whatever other
    threads of this process do meanwhile.
    """

    wall_ns = staticmethod(time.perf_counter_ns)
    cpu_ns = staticmethod(time.thread_time_ns)


@lru_cache(maxsize=1)
def processors() -> int:
    """How many of the machine's processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def processor() -> str:
    """The model of the processor, as exactly as the system tells it."""
    return identity.processor()
