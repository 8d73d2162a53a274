"""The processors, clocks, load and GPUs of this machine, read from system files."""

from __future__ import annotations

import glob
import os

from mnv2search.latency.measuring.frequency_scaling import frequency_scaling
from mnv2search.latency.runner import identity
from mnv2search.latency.runner.identity import PROC, SYS, read_text
from mnv2search.results.diagnosis import Machine


def machine(sys: str = SYS, proc: str = PROC, dev: str = "/dev") -> Machine:
    """The state of this machine; `sys`, `proc` and `dev` are the folders of system files."""
    cores = os.cpu_count() or 1
    return Machine(
        processor=identity.processor(proc),
        name=identity.machine(proc, sys),
        system=identity.system(),
        cores=cores,
        usable_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores,
        cpu_limit=cpu_limit(sys),
        load=_load(),
        temperature_c=identity.temperature_c(sys),
        scaling=frequency_scaling(sys),
        gpus=gpus(proc, dev),
    )


def cpu_limit(sys: str = SYS) -> float | None:
    """The CPU limit of a container, in processors; None if unlimited. Source: Linux, cgroup-v2.rst, cpu.max."""
    quota, _, period = read_text(os.path.join(sys, "fs", "cgroup", "cpu.max")).strip().partition(" ")
    if not (quota.isdecimal() and period.isdecimal() and int(period)):
        return None
    return int(quota) / int(period)


def gpus(proc: str = PROC, dev: str = "/dev") -> tuple[str, ...]:
    """The models of NVIDIA GPUs that the driver lists; if there are none, as in a container, its device files."""
    pattern = os.path.join(proc, "driver", "nvidia", "gpus", "*", "information")
    models = [_model(read_text(path)) for path in sorted(glob.glob(pattern))]
    return tuple(filter(None, models)) or tuple(
        f"NVIDIA GPU {path[-1]}" for path in sorted(glob.glob(os.path.join(dev, "nvidia[0-9]")))
    )


def _model(text: str) -> str:
    lines = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == "Model"), "")


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None
