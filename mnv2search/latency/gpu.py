"""A device on a graphics processor, which times its runs by events of its own."""

from __future__ import annotations

import statistics
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mnv2search.errors import DeviceError
from mnv2search.latency.device import MeasuredDevice
from mnv2search.latency.measuring.timing import Measurer
from mnv2search.latency.types import BurstRequest, DeviceInfo, Runner
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["Gpu", "GpuDevice", "Queued"]

KEPT = 13
# Runs that are queued before the processor is waited for: enough to hide that each has to be launched.
MOST_QUEUED = 16
# Clocks have settled when the last of these windows agree, after this much work, or at the latest after that much.
WINDOW, WINDOWS, AGREE = 10, 3, 0.01
SETTLE_NS, SETTLED_NS = 300_000_000, 3_000_000_000
# An idle processor lowers its clocks.
IDLE_NS = 1_000_000_000


class Gpu(Protocol):
    """What timing needs of a graphics processor. All but `wait` queues work and returns at once."""

    def captured(self, run: Runner) -> Runner:
        """What `run` queues, recorded as a graph that is launched as a whole.

        Raises:
            RuntimeError: it cannot be recorded.
        """
        ...

    def flush(self) -> None:
        """Write more than the second-level cache holds."""
        ...

    def mark(self) -> Any:
        """An event that notes the time when everything before it is finished."""
        ...

    def between_ns(self, start: Any, end: Any) -> int:
        """Time from one event to another, both of them over."""
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
        output: what the last run wrote, a float32 array (N, classes) or (N, C, H, W).
        keeps: whatever holds the memory that the runs read: a graph knows it by its address only.
    """

    run: Runner
    output: Callable[[], NDArray[np.float32]]
    keeps: object


class GpuDevice(MeasuredDevice):
    """Networks as graphs that are launched as a whole, each run with a cold second-level cache.

    Between any two runs a buffer is written that fills the cache, outside of what is timed, so that the weights come
    from memory as they do in a program that does other things between two inferences. Before the first run, and after
    a pause, a network runs until its time no longer changes, because clocks rise under load.

    Args:
        info: what the device is.
        gpu: the processor.
    """

    def __init__(self, info: DeviceInfo, gpu: Gpu) -> None:
        self._info = info
        self._gpu = gpu
        self._loaded: OrderedDict[ModelSpec, Queued] = OrderedDict()
        self._last_ns: int | None = None

    @abstractmethod
    def load(self, spec: ModelSpec) -> Queued:
        """The network in the memory of the processor.

        Raises:
            DeviceError: the runtime refuses the network.
        """

    @property
    def round_trip(self) -> int:
        """One network: asking costs nothing here."""
        return 1

    def _new_measurer(self) -> Measurer:
        return Measurer(self)

    def bursts(self, requests: Sequence[BurstRequest]) -> list[list[tuple[int, int]]]:
        """The time of each run of each request, twice, since the processor of the host only waits.

        Raises:
            DeviceError: the runtime refuses a network, or a run failed.
        """
        return [self._burst(request) for request in requests]

    def output(self, spec: ModelSpec) -> NDArray[np.float32]:
        """What the network answers to the fixed image.

        Raises:
            DeviceError: the runtime refuses the network, or the run failed.
        """
        found = self._queued(spec)
        self._timed(spec, found.run, 1)
        return found.output()

    def _close(self) -> None:
        self._loaded.clear()

    def _burst(self, request: BurstRequest) -> list[tuple[int, int]]:
        run = self._queued(request.spec).run
        if self._last_ns is None or self._gpu.now_ns() - self._last_ns > IDLE_NS:
            self._settle(request.spec, run)
        self._runs(request.spec, run, count=2, time_ns=request.warm_ms * 1e6)
        found = self._runs(request.spec, run, count=request.min_runs, time_ns=request.burst_ms * 1e6)
        self._last_ns = self._gpu.now_ns()
        return [(spent, spent) for spent in found]

    def _queued(self, spec: ModelSpec) -> Queued:
        if spec not in self._loaded:
            while len(self._loaded) >= KEPT:
                self._loaded.popitem(last=False)
            self._loaded[spec] = self.load(spec)
        self._loaded.move_to_end(spec)
        return self._loaded[spec]

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
        found = self._timed(spec, run, max(1, min(count, MOST_QUEUED)))
        while len(found) < count or sum(found) < time_ns:
            missing = (time_ns - sum(found)) / max(statistics.median(found), 1)
            found += self._timed(spec, run, max(1, min(round(missing), MOST_QUEUED)))
        return found

    def _timed(self, spec: ModelSpec, run: Runner, count: int) -> list[int]:
        """The times of runs that are queued together, each after the cache was filled with something else."""
        marks = []
        try:
            for _ in range(count):
                self._gpu.flush()
                start = self._gpu.mark()
                run()
                marks.append((start, self._gpu.mark()))
            self._gpu.wait()
        except RuntimeError as error:
            raise DeviceError(f"{self._info.runtime} cannot run the network {spec.name}: {error}") from error
        return [self._gpu.between_ns(start, end) for start, end in marks]
