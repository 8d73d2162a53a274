"""A device on a graphics processor, which times its runs by events of its own."""

from __future__ import annotations

import statistics
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mnv2search.errors import DeviceError
from mnv2search.latency.device import MeasuredDevice
from mnv2search.latency.measuring.timing import Measurer
from mnv2search.latency.types import BurstRequest, DeviceInfo, Runner
from mnv2search.spec.model_spec import ModelSpec

# Networks that stay loaded.
LOADED = 13
# Runs that are queued before the processor is waited for: enough to hide that each has to be launched.
MOST_QUEUED = 16
# Clocks have settled when the last of these windows agree, after this much work, or at the latest after that much.
WINDOW, WINDOWS, AGREE = 10, 3, 0.01
SETTLE_NS, SETTLED_NS = 300_000_000, 3_000_000_000
# An idle processor lowers its clocks.
IDLE_NS = 1_000_000_000


class Gpu(Protocol):
    """A graphics processor with timing events. All but `wait` queue work and return at once."""

    def captured(self, run: Runner) -> Runner:
        """The work that `run` queues, recorded as a graph that is launched as a whole.

        Raises:
            RuntimeError: it cannot be recorded.
        """
        ...

    def flush(self) -> None:
        """Write more than the second-level cache holds."""
        ...

    def timed(self, run: Runner) -> Callable[[], int]:
        """Queue a run between two events; returns a function that gives the time in ns between them after `wait`."""
        ...

    def wait(self) -> None:
        """Return when everything queued is finished."""
        ...

    def now_ns(self) -> int:
        """A clock of the host that never goes backwards."""
        ...


class Queued(NamedTuple):
    """A network in the memory of the processor with the fixed image bound to its input.

    Attributes:
        run: queues one inference and returns at once.
        output: returns the output of the last run, a float32 array (N, classes) or (N, C, H, W).
        memory: the owners of the memory that the runs read, which a graph knows by address only.
    """

    run: Runner
    output: Callable[[], NDArray[np.float32]]
    memory: object


class GpuDevice(MeasuredDevice):
    """Networks as graphs that are launched as a whole, each run with a cold second-level cache.

    Between any two runs a buffer is written that fills the cache, outside of what is timed, so that the weights come
    from memory as they do in a program that does other things between two inferences. Before the first run, and after
    a pause, a network runs until its time no longer changes, because clocks rise under load.

    """

    round_trip = 1

    def __init__(self, info: DeviceInfo, gpu: Gpu) -> None:
        self._info = info
        self._gpu = gpu
        self._queued = lru_cache(maxsize=LOADED)(self.load)
        self._last_ns: int | None = None

    @abstractmethod
    def load(self, spec: ModelSpec) -> Queued:
        """The network in the memory of the processor.

        Raises:
            DeviceError: the runtime refuses the network.
        """

    def _new_measurer(self) -> Measurer:
        return Measurer(self)

    def bursts(self, requests: Sequence[BurstRequest]) -> list[list[tuple[int, int]]]:
        """The time of each run of each request, twice, since the processor of the host only waits.

        Raises:
            DeviceError: the runtime refuses a network, or a run failed.
        """
        return [self._burst(request) for request in requests]

    def output(self, spec: ModelSpec) -> NDArray[np.float32]:
        """The output of the network for the fixed image.

        Raises:
            DeviceError: the runtime refuses the network, or the run failed.
        """
        queued = self._queued(spec)
        self._timed(spec, queued.run, 1)
        return queued.output()

    def _close(self) -> None:
        self._queued.cache_clear()

    def _burst(self, request: BurstRequest) -> list[tuple[int, int]]:
        run = self._queued(request.spec).run
        if self._last_ns is None or self._gpu.now_ns() - self._last_ns > IDLE_NS:
            self._settle(request.spec, run)
        self._runs(request.spec, run, count=2, time_ns=request.warm_ms * 1e6)
        times_ns = self._runs(request.spec, run, count=request.min_runs, time_ns=request.burst_ms * 1e6)
        self._last_ns = self._gpu.now_ns()
        return [(time_ns, time_ns) for time_ns in times_ns]

    def _settle(self, spec: ModelSpec, run: Runner) -> None:
        medians: list[float] = []
        spent = 0
        while spent < SETTLED_NS:
            window = self._timed(spec, run, WINDOW)
            spent += max(sum(window), 1)
            medians.append(statistics.median(window))
            last = medians[-WINDOWS:]
            if spent >= SETTLE_NS and max(last) <= min(last) * (1 + AGREE):
                return

    def _runs(self, spec: ModelSpec, run: Runner, *, count: int, time_ns: float) -> list[int]:
        """The times of `count` runs or more, and of as many as fill the time."""
        times_ns = self._timed(spec, run, max(1, min(count, MOST_QUEUED)))
        while len(times_ns) < count or sum(times_ns) < time_ns:
            missing = (time_ns - sum(times_ns)) / max(statistics.median(times_ns), 1)
            times_ns += self._timed(spec, run, max(1, min(round(missing), MOST_QUEUED)))
        return times_ns

    def _timed(self, spec: ModelSpec, run: Runner, count: int) -> list[int]:
        """The times of runs that are queued together, each after the cache was filled with something else."""
        times: list[Callable[[], int]] = []
        try:
            for _ in range(count):
                self._gpu.flush()
                times.append(self._gpu.timed(run))
            self._gpu.wait()
        except RuntimeError as error:
            raise DeviceError(f"{self._info.runtime} cannot run the network {spec.name}: {error}") from error
        return [time_ns() for time_ns in times]
