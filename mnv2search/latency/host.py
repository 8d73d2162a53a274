"""The machine this process runs on."""

from __future__ import annotations

import os
import platform
import time
from functools import lru_cache
from pathlib import Path

__all__ = ["SystemClock", "processor", "processors"]


class SystemClock:
    """The wall clock, and the time that the calling thread spent on a processor.

    One inference at one thread runs in the thread that asks for it, so its CPU time leaves out whatever other
    threads of this process do meanwhile.
    """

    def wall_ns(self) -> int:
        """Time that passed, in ns."""
        return time.perf_counter_ns()

    def cpu_ns(self) -> int:
        """Time that this thread spent on a processor, in ns."""
        return time.thread_time_ns()


@lru_cache(maxsize=1)
def processors() -> int:
    """How many of the machine's processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The model of the processor, as exactly as the system tells it."""
    table = Path("/proc/cpuinfo")
    fields: dict[str, str] = {}
    if table.exists():
        for line in table.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or fields.get("Model") or platform.processor() or platform.machine()
    family = [fields[key] for key in ("cpu family", "model", "stepping") if key in fields]
    return f"{name} ({'/'.join(family)})" if family else name
