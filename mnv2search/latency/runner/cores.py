"""Selection and pinning of the processors for an inference."""

from __future__ import annotations

import os
import re
from typing import Dict, List, Optional, Set

SYS = "/sys"
# Files with the speed of a processor, best first. Source: Linux, Documentation/ABI/testing/sysfs-devices-system-cpu.
SPEEDS = ("cpu_capacity", "cpufreq/cpuinfo_max_freq")


class CoresError(ValueError):
    """The text does not name processors of this machine."""


def chosen(text: str, sys: str = SYS, allowed: Optional[Set[int]] = None) -> Optional[Set[int]]:
    """The processors named by a text: ``big`` for the fastest kind, or numbers such as ``0+2-3``; None if empty.

    They are a subset of `allowed`; None takes the processors allowed to this process. `sys` is the folder of sysfs.

    Raises:
        CoresError: the text has neither form, or a processor is not allowed.
    """
    if not text:
        return None
    allowed = set(os.sched_getaffinity(0)) if allowed is None else allowed
    if text == "big":
        return _fastest(allowed, sys)
    cores: Set[int] = set()
    for part in text.split("+"):
        match = re.match(r"^(\d{1,4})(?:-(\d{1,4}))?$", part)
        if match is None:
            raise CoresError(f"cores is {text!r}: write big, or numbers such as 4-7 or 0+2")
        first = int(match.group(1))
        cores.update(range(first, int(match.group(2) or first) + 1))
    if not cores or not cores <= allowed:
        raise CoresError(f"cores is {text!r}, but the allowed processors are {named(allowed)}")
    return cores


def pin(text: str, sys: str = SYS) -> str:
    """Pin this thread, and threads it will start, to the processors named by a text; returns the processors as text.

    Raises:
        CoresError: see `chosen`.
    """
    cores = chosen(text, sys)
    if cores is None:
        return ""
    os.sched_setaffinity(0, cores)
    return named(cores)


def named(cores: Set[int]) -> str:
    """Processors as text: ``0+2-3``.

    >>> named({0, 2, 3})
    '0+2-3'
    """
    runs: List[List[int]] = []
    for core in sorted(cores):
        if runs and core == runs[-1][-1] + 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    return "+".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def _fastest(allowed: Set[int], sys: str) -> Set[int]:
    for speed in SPEEDS:
        speeds: Dict[int, int] = {}
        for core in allowed:
            path = os.path.join(sys, "devices", "system", "cpu", f"cpu{core}", speed)
            try:
                with open(path, encoding="ascii") as file:
                    speeds[core] = int(file.read())
            except (OSError, ValueError):
                continue
        if len(speeds) == len(allowed):
            best = max(speeds.values())
            return {core for core, value in speeds.items() if value == best}
    return allowed
