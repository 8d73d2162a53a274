"""Bases of devices, and the machine that this process runs on."""

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


def check_options(
    device: str, precisions: Iterable[str], *, precision: str, threads: int = 1, batch: int = 1
) -> None:
    """Refuse `threads` or `batch` below 1 and an unknown precision, by an OptionError."""
    if threads < 1 or batch < 1:
        raise OptionError(f"device {device}: threads is {threads}, batch is {batch}", hint="use 1 or more of each")
    if precision not in precisions:
        raise OptionError(f"device {device}: precision is {precision!r}", hint=f"it has {', '.join(precisions)}")


def check_threads(device: str, threads: int, cores: int, machine: str = "this machine") -> None:
    """Refuse more threads than the machine has processors, by an OptionError."""
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
    """A `Measurer`, or that of a pool."""

    def measure(self, specs: Sequence[ModelSpec], *, fresh: bool = False) -> tuple[Latency, ...]:
        """The latency of every network."""


class MeasuredDevice:
    """A base for every device: it has a measurer, which it frees when it is closed."""

    _info: DeviceInfo
    _measurer: NetworkMeasurer | None = None

    @property
    def info(self) -> DeviceInfo:
        """The description of this device."""
        return self._info

    def _new_measurer(self) -> NetworkMeasurer:
        return Measurer(cast("LatencyDevice", self))

    def measure(self, spec: ModelSpec) -> Latency:
        """The latency of the network, measured now; a DeviceError if it is refused, or the device is lost."""
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
        """Free what the device holds."""


class Device(MeasuredDevice, ABC):
    """A base for devices that run networks in this process; a subclass describes itself and loads networks."""

    def __init__(self, info: DeviceInfo) -> None:
        self._info = info
        self._clock = SystemClock()

    @property
    def clock(self) -> Clock:
        """The clocks to time its runners with."""
        return self._clock

    @abstractmethod
    def prepare(self, spec: ModelSpec) -> Runner:
        """The network loaded with arbitrary weights, ready to run."""
