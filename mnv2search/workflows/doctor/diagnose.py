"""Collect the state of the installation and of this machine, and list problems with commands."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from mnv2search.caches import cache_folder
from mnv2search.latency.measuring.frequency_scaling import STEADY
from mnv2search.results.diagnosis import Diagnosis, Disk, Machine, Package, Place, Problem, Readiness
from mnv2search.workflows.doctor import packages, readiness, storage
from mnv2search.workflows.doctor.machine import machine

PROJECT = "mnv2search"
# The folder of the source checkout, if the package is in one.
ROOT = Path(__file__).resolve().parents[3]
# A larger share of busy processors disturbs measurements.
BUSY = 0.5
# Free space that decoded images and checkpoints need.
LEAST_FREE_BYTES = 2 << 30
HOT_C = 80.0
CLOCKS = "/sys/devices/system/cpu/cpu*/cpufreq"


def doctor() -> Diagnosis:
    """The state of the installation and of this machine.

    No slow import is made, no device is opened and nothing is sent. Values that the system does not report are empty.
    """
    present = packages.installed(sys.path)
    own = present.get(PROJECT)
    source = packages.source_requirements(ROOT / "pyproject.toml", PROJECT)
    required = packages.packages_of(source or (packages.requirements(own) if own else ()), present)
    extras = packages.extras_of(required, partial(_install_command, is_source=bool(source)))
    here = machine()
    devices = readiness.devices(present, extras, here.gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
    ours, working = cache_folder(os.environ), Path(os.curdir)
    caches = storage.caches(os.environ, working)
    free = storage.disks((ours, working))
    return Diagnosis(
        version=own.version if own else "",
        python=platform.python_version(),
        executable=sys.executable,
        machine=here,
        packages=required.get("", ()),
        extras=extras,
        devices=devices,
        hosts=readiness.hosts(extras),
        caches=caches,
        weights=storage.weights(),
        disks=free,
        problems=(
            *_of_packages(required.get("", ()), is_installed=own is not None),
            *_of_devices(devices),
            *_of_clocks(here),
            *_of_load(here),
            *_of_storage(ours, caches, free),
        ),
    )


def _install_command(extra: str, *, is_source: bool) -> str:
    return f"pip install -e {shlex.quote(f'{ROOT}[{extra}]')}" if is_source else f"pip install '{PROJECT}[{extra}]'"


def _of_packages(required: Sequence[Package], *, is_installed: bool) -> Iterator[Problem]:
    if not is_installed:
        yield Problem(problem="the package metadata of mnv2search is missing", command=f"pip install {PROJECT}")
    unmet = [package for package in required if not package.is_met]
    if unmet:
        wanted = ", ".join(
            f"{one.name}{one.required}, not {one.version}" if one.version else one.name for one in unmet
        )
        names = " ".join(shlex.quote(f"{package.name}{package.required}") for package in unmet)
        yield Problem(problem=f"required packages are missing or too old: {wanted}", command=f"pip install {names}")


def _of_devices(devices: Sequence[Readiness]) -> Iterator[Problem]:
    """Yield a problem if a GPU cannot be used; runtimes that are not installed are no problem."""
    for device in devices:
        if device.name == "torch-cuda" and device.command:
            yield Problem(problem=f"the GPU cannot be used: {device.detail}", command=device.command)


def _of_clocks(here: Machine) -> Iterator[Problem]:
    scaling = here.scaling
    if unsteady := ", ".join(name for name in scaling.governors if name != STEADY):
        yield Problem(
            problem=f"the clocks change with the load (governor {unsteady}), so latencies vary",
            command=f"echo {STEADY} | sudo tee {CLOCKS}/scaling_governor",
        )
    if scaling.capped:
        yield Problem(
            problem=f"the maximum clock of {scaling.capped} of {here.cores} processors is set below the hardware's "
            "limit",
            command=f"echo {scaling.max_khz} | sudo tee {CLOCKS}/scaling_max_freq",
        )
    if scaling.limits:
        yield Problem(
            problem=f"the board is slowed down by {', '.join(scaling.limits)}: cool it, or use a stronger power "
            "supply, then check again",
            command="vcgencmd get_throttled",
        )
    if here.temperature_c is not None and here.temperature_c >= HOT_C:
        yield Problem(
            problem=f"the machine is hot ({here.temperature_c:.0f} °C), so clocks may be reduced: let it cool",
            command="sleep 300",
        )
    if here.cpu_limit is not None and here.cpu_limit < here.usable_cores:
        yield Problem(
            problem=f"the container may use {here.cpu_limit:g} of {here.usable_cores} processors, and is paused when "
            "it needs more",
            command=f"docker update --cpus {here.usable_cores} CONTAINER",
        )


def _of_load(here: Machine) -> Iterator[Problem]:
    if here.load is not None and here.load > BUSY * here.cores:
        yield Problem(
            problem=f"other programs are running ({here.load:.1f} in the last minute on {here.cores} processors): "
            "wait for them, or end them",
            command="top -o %CPU",
        )


def _of_storage(ours: Path, caches: Sequence[Place], free: Sequence[Disk]) -> Iterator[Problem]:
    if not storage.is_writable(ours):
        yield Problem(
            problem=f"the cache folder {ours} is not writable, so latencies are measured again in each run",
            command="export MNV2SEARCH_CACHE=$HOME/mnv2search-cache",
        )
    images = next((place for place in caches if place.contents == "decoded images" and place.size_bytes), None)
    for disk in free:
        if disk.free_bytes < LEAST_FREE_BYTES:
            remove = "pip cache purge" if images is None else f"rm -r {shlex.quote(images.path)}"
            yield Problem(problem=f"only {disk.free_bytes / 1e9:.1f} GB are free for {disk.path}", command=remove)
