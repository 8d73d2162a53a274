"""Base classes of devices, and the machine of this process."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol, Self, cast

from mnv2search.errors import OptionError
from mnv2search.latency.measuring.timing import Measurer
from mnv2search.latency.runner import identity
from mnv2search.latency.types import Clock, DeviceInfo, Latency, LatencyDevice, Runner
from mnv2search.spec.model_spec import ModelSpec


class SystemClock:
    """The wall clock, and the CPU time of the calling thread.

    A single-threaded inference runs in the calling thread, so its CPU time excludes the other threads of this
    process.
    """

    wall_ns = staticmethod(time.perf_counter_ns)
    cpu_ns = staticmethod(time.thread_time_ns)


@lru_cache(maxsize=1)
def processors() -> int:
    """The number of the machine's processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def processor() -> str:
    """The model of the processor, as precisely as the system reports it."""
    return identity.processor()


def check_options(
    device: str, precisions: Iterable[str], *, precision: str, threads: int = 1, batch: int = 1
) -> None:
    """Raise an OptionError for `threads` or `batch` below 1 and for an unknown precision."""
    if threads < 1 or batch < 1:
        raise OptionError(f"device {device}: threads is {threads}, batch is {batch}", hint="use 1 or more of each")
    if precision not in precisions:
        raise OptionError(f"device {device}: precision is {precision!r}", hint=f"it has {', '.join(precisions)}")


def check_threads(device: str, threads: int, cores: int, machine: str = "this machine") -> None:
    """Raise an OptionError for more threads than the machine has processors."""
    if threads > cores:
        raise OptionError(
            f"device {device}: threads is {threads}, but {machine} has {cores} processors",
            hint=f"use {cores} or fewer",
        )


def options_text(*, batch: int, precision: str) -> list[str]:
    """The options that differ from their defaults, as ``key=value``."""
    options = [f"batch={batch}"] if batch > 1 else []
    return [*options, f"precision={precision}"] if precision != "fp32" else options


class NetworkMeasurer(Protocol):
    """A `Measurer` or a `PoolMeasurer`."""

    def measure(self, specs: Sequence[ModelSpec], *, fresh: bool = False) -> tuple[Latency, ...]:
        """The latency of every network."""


class MeasuredDevice:
    """The base of every device, with a measurer that is freed when the device is closed."""

    _info: DeviceInfo
    _measurer: NetworkMeasurer | None = None

    @property
    def info(self) -> DeviceInfo:
        """The description of this device."""
        return self._info

    def _new_measurer(self) -> NetworkMeasurer:
        return Measurer(cast("LatencyDevice", self))

    def measure(self, spec: ModelSpec) -> Latency:
        """The latency of the network, measured now.

        Raises:
            DeviceError: the runtime refuses the network, or the device is lost.
        """
        if self._measurer is None:
            self._measurer = self._new_measurer()
        return self._measurer.measure([spec], fresh=True)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the device and free the networks that were loaded."""
        self._measurer = None
        self._close()

    def _close(self) -> None:
        """Free the device's resources."""


class Device(MeasuredDevice, ABC):
    """The base of devices that run networks in this process; a subclass describes itself and loads networks."""

    def __init__(self, info: DeviceInfo) -> None:
        self._info = info
        self._clock = SystemClock()

    @property
    def clock(self) -> Clock:
        """The clocks that time its runners."""
        return self._clock

    @abstractmethod
    def prepare(self, spec: ModelSpec) -> Runner:
        """The network loaded with arbitrary weights, ready to run."""
