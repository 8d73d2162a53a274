"""Latencies, descriptions of devices, and the protocols of devices."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, NamedTuple, Protocol, Self, TypeAlias, runtime_checkable

from mnv2search.cost import check_counts
from mnv2search.display import Displayed
from mnv2search.errors import LatencyError
from mnv2search.latency.runner.engine import burst
from mnv2search.spec.model_spec import ModelSpec

Kind: TypeAlias = Literal["measured", "predicted"]
Verdict: TypeAlias = Literal["fits", "does not fit", "undecided"]

# Fields that may change from day to day while latencies remain comparable.
PASSING = frozenset({"system", "temperature_c"})

# Minimum number of visits for judging the noise of a machine.
FEW_VISITS = 5

Runner: TypeAlias = Callable[[], None]
"""Runs one inference and returns when it is finished."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DeviceInfo(Displayed):
    """The device that a latency was measured on.

    Attributes:
        name: text that opens the same device by `open_device`, such as ``onnxruntime:threads=1``.
        hardware: model of the processor.
        host: machine, ``local`` for this one.
        dtype: data type of weights and activations, such as ``fp32``.
        batch: images per inference.
        delegate: execution provider, backend or delegate of the runtime.
        system: operating system and its version.
        machine: model of the board or phone, if known.
        cores: number of processors of the machine.
        pinned: processors that the inference is pinned to, such as ``4-7``; empty if it is not pinned.
        governor: policy for the clock rate of the processors, such as ``performance``.
        temperature_c: temperature of the machine when the device was opened, if it can be read.
    """

    name: str
    hardware: str
    runtime: str
    runtime_version: str
    host: str = "local"
    threads: int = 1
    dtype: str = "fp32"
    batch: int = 1
    delegate: str = ""
    system: str = ""
    machine: str = ""
    cores: int = 0
    pinned: str = ""
    governor: str = ""
    temperature_c: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        check_counts(threads=self.threads, batch=self.batch, cores=self.cores)

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits, equal for devices whose latencies are comparable.

        >>> from dataclasses import replace
        >>> info = DeviceInfo(name="simulated", hardware="none", runtime="simulated", runtime_version="1")
        >>> info.fingerprint == replace(info, threads=2).fingerprint
        False
        """
        values = [str(getattr(self, f.name)) for f in fields(self) if f.name not in PASSING]
        return hashlib.sha256("\x1f".join(values).encode("utf-8", "surrogatepass")).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Latency(Displayed):
    """The latency of one network on one device.

    Attributes:
        median_ms: median of one inference, undisturbed by other work on the machine.
        ci_low_ms: lower end of the median's 95 % interval.
        p90_ms: 90th percentile of the inferences of a typical burst.
        samples: number of inferences used; 0 for a prediction.
        dropped: number of inferences discarded because other work interrupted them.
        taken_at: end of the measurement, ISO 8601 in UTC.
        noisy: whether the interval is unreliable, mostly because the machine was noisy.
        visits: number of bursts at different times; None for a prediction, and in records of earlier versions.

    Raises:
        LatencyError: a time is not finite or not above 0, or the median is outside of its interval.
    """

    median_ms: float
    ci_low_ms: float
    ci_high_ms: float
    p90_ms: float
    samples: int
    dropped: int
    kind: Kind
    device: DeviceInfo
    taken_at: str
    noisy: bool = False
    visits: int | None = None

    def __post_init__(self) -> None:
        ends = (self.ci_low_ms, self.ci_high_ms, self.p90_ms)
        if not (0 < self.median_ms < math.inf and all(map(math.isfinite, ends))):
            raise LatencyError(f"latency of {self.median_ms} ms with interval {ends} is not a time above 0")
        if not self.ci_low_ms <= self.median_ms <= self.ci_high_ms:
            raise LatencyError(f"latency {self.median_ms} is not within its interval {ends[0]}, {ends[1]}")
        check_counts(samples=self.samples, dropped=self.dropped, visits=self.visits or 0)

    @property
    def is_hasty(self) -> bool:
        """Whether the latency is unreliable because of too few visits, regardless of noise."""
        return self.noisy and self.visits is not None and self.visits < FEW_VISITS

    def verdict(self, budget_ms: float) -> Verdict:
        """The verdict on a budget: the whole interval fits, the whole interval does not fit, or undecided.

        >>> info = DeviceInfo(name="simulated", hardware="none", runtime="simulated", runtime_version="1")
        >>> ten = Latency(median_ms=10, ci_low_ms=9.8, ci_high_ms=10.3, p90_ms=11, samples=50, dropped=0,
        ...               kind="measured", device=info, taken_at="2026-01-01T00:00:00+00:00")
        >>> ten.verdict(15), ten.verdict(10), ten.verdict(9)
        ('fits', 'undecided', 'does not fit')
        """
        if self.ci_high_ms <= budget_ms:
            return "fits"
        return "does not fit" if self.ci_low_ms > budget_ms else "undecided"


class Clock(Protocol):
    """Two clocks that never go backwards."""

    def wall_ns(self) -> int:
        """Elapsed time in ns."""

    def cpu_ns(self) -> int:
        """CPU time of this thread in ns."""


class BurstRequest(NamedTuple):
    """A request to time runs of one network in a row; see `burst`."""

    spec: ModelSpec
    burst_ms: float
    warm_ms: float
    min_runs: int

    def timed(self, run: Runner, clock: Clock) -> list[tuple[int, int]]:
        """(wall, CPU) time in ns of the runs of the loaded network in this process."""
        lengths = (self.burst_ms, self.warm_ms, self.min_runs)
        return burst(run, *lengths, wall_ns=clock.wall_ns, cpu_ns=clock.cpu_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The statistics of a burst that a benchmark program timed itself, by the wall clock.

    They are the minimum or a low quantile; the median, or else the mean; and a high quantile or the maximum.
    """

    count: int
    low_ms: float
    median_ms: float
    p90_ms: float

    def __len__(self) -> int:
        return self.count


Runs: TypeAlias = Sequence[tuple[int, int]] | RunSummary
"""(wall, CPU) time in ns of the runs of a burst, or their summary."""


class Device(Protocol):
    """A runtime on a machine; a context manager that frees its resources at the end."""

    @property
    def info(self) -> DeviceInfo:
        """The description of this device."""

    def measure(self, spec: ModelSpec) -> Latency:
        """The latency of the network, measured now."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


@runtime_checkable
class RunnerDevice(Device, Protocol):
    """A device that loads networks into this process.

    It has the properties `info` and `clock`, the methods ``prepare(spec)`` and ``measure(spec)``, and is a context
    manager. The base class `mnv2search.latency.device.Device` leaves only `prepare` to write.
    """

    @property
    def clock(self) -> Clock:
        """The clocks that time its runners."""

    def prepare(self, spec: ModelSpec) -> Runner:
        """The network loaded with arbitrary weights, ready to run.

        Raises:
            DeviceError: the runtime refuses the network.
        """


@runtime_checkable
class BurstDevice(Device, Protocol):
    """A device that times bursts itself, because it is on another machine or has its own clocks.

    It has the properties `info` and `round_trip`, the methods ``bursts(requests)`` and ``measure(spec)``, and is a
    context manager.
    """

    @property
    def round_trip(self) -> int:
        """The best number of networks for one call of `bursts`."""

    def bursts(self, requests: Sequence[BurstRequest]) -> Sequence[Runs]:
        """(wall, CPU) time in ns of the runs of each request, timed in the order given, or their summary.

        The two times are equal if CPU time is not meaningful.

        Raises:
            DeviceError: the runtime refuses a network, or the device is permanently unreachable.
        """


@runtime_checkable
class StepTimer(Protocol):
    """A device that may have a profiler for the steps of a network."""

    def step_times(self, spec: ModelSpec, *, runs: int) -> Mapping[str, float]:
        """Median time in ms of every step over `runs` inferences, by its name; empty if there is no profiler.

        The part of a name before the last ``/`` is the name of a unit, as in `mnv2search.lowering.emit`.

        Raises:
            DeviceError: the runtime refuses the network, or the device is permanently unreachable.
        """


LatencyDevice: TypeAlias = RunnerDevice | BurstDevice
"""A device that networks can be measured on."""
