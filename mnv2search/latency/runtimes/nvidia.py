"""The base class of runtimes on an NVIDIA GPU of this machine, with runs timed by CUDA events."""

from __future__ import annotations

import statistics
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.device import MeasuredDevice, check_options, options_text
from mnv2search.latency.types import BurstRequest, DeviceInfo, Runner
from mnv2search.spec.model_spec import ModelSpec

# Minimum compute capability of each precision.
# Source: CUDA C++ Programming Guide, "Compute Capabilities".
SINCE = {"fp32": (0, 0), "fp16": (5, 3), "bf16": (8, 0), "tf32": (8, 0)}
# Number of networks that stay loaded.
LOADED = 13
# Number of runs that are queued before waiting for the GPU: enough to hide the launch of each run.
MOST_QUEUED = 16
# Clocks have settled when the last of these windows agree, after a minimum and at most a maximum of work.
WINDOW, WINDOWS, AGREE = 10, 3, 0.01
SETTLE_NS, SETTLED_NS = 300_000_000, 3_000_000_000
# An idle GPU lowers its clocks.
IDLE_NS = 1_000_000_000
WARM_RUNS = 3
# Larger than any cache, for the case that PyTorch does not report the size of the cache.
LARGE_CACHE = 256 * 2**20
DRIVER_S = 10


class NvidiaGpu(Protocol):
    """The interface of `TorchGpu` for `NvidiaDevice`; all methods except `wait` queue work and return immediately."""

    device: torch.device
    name: str
    capability: tuple[int, int]

    @property
    def version(self) -> str:
        """The versions of the runtime, CUDA and the driver."""

    def stream(self) -> int:
        """The address of the current stream."""

    def captured(self, run: Runner) -> Runner:
        """The work that a run queues, as a graph that is launched as a whole."""

    def flush(self) -> None:
        """Overwrite the second-level cache."""

    def timed(self, run: Runner) -> Callable[[], int]:
        """Queue a run between two events; returns a function for the ns between them, to be called after `wait`."""

    def wait(self) -> None:
        """Return when everything queued is finished."""

    def now_ns(self) -> int:
        """A clock of the host that never goes backwards."""


class Queued(NamedTuple):
    """A network in GPU memory with the fixed image bound to its input.

    `run` queues one inference and returns immediately; `output` returns the output of the last run, a float32 array
    (N, classes) or (N, C, H, W); `memory` owns the memory that a graph accesses by address.
    """

    run: Runner
    output: Callable[[], NDArray[np.float32]]
    memory: object


class NvidiaDevice(MeasuredDevice, ABC):
    """A GPU that runs networks as CUDA graphs, each launched as a whole, with a cold second-level cache.

    Between any two runs, outside of the timing, the cache is overwritten, so that weights are read from memory, as in
    a program that does other work between inferences. Before the first run, and after a pause, a network runs until
    its time no longer changes, because clocks rise under load.

    If `gpu` is None, the device uses the first GPU that PyTorch sees. A latency is for all images of a batch;
    `precision` is one of `dtypes`; `tf32` rounds factors in fp32 to ten bits of mantissa, for tensor cores.

    Raises:
        DeviceError: there is no GPU, or the GPU does not support the precision.
        OptionError: `batch` below 1, an unknown precision, or `tf32` with another precision than `fp32`.
    """

    name: ClassVar[str]
    dtypes: ClassVar[Mapping[str, torch.dtype]]
    round_trip = 1

    def __init__(
        self, gpu: NvidiaGpu | None = None, /, *, batch: int = 1, precision: str = "fp32", tf32: bool = False
    ) -> None:
        check_options(self.name, self.dtypes, precision=precision, batch=batch)
        if tf32 and precision != "fp32":
            raise OptionError(
                f"device {self.name}: tf32 is yes with precision={precision}", hint="leave one of them out"
            )
        options = [*options_text(batch=batch, precision=precision), *(["tf32=yes"] if tf32 else [])]
        self._check_installed()
        self._gpu = gpu or TorchGpu()
        self._check_capability("tf32" if tf32 else precision)
        self._info = DeviceInfo(
            name=f"{self.name}{':' * bool(options)}{','.join(options)}",
            hardware=self._gpu.name,
            runtime=self.name,
            runtime_version=self._version(),
            dtype=precision,
            batch=batch,
            delegate="cuda graph, tf32" if tf32 else "cuda graph",
        )
        self._tf32 = tf32
        self._queued = lru_cache(maxsize=LOADED)(self.load)
        self._last_ns: int | None = None

    @abstractmethod
    def load(self, spec: ModelSpec) -> Queued:
        """The network in GPU memory; a DeviceError if the GPU or the runtime refuses it."""

    def bursts(self, requests: Sequence[BurstRequest]) -> list[list[tuple[int, int]]]:
        """The time of each run of each request, as both wall and CPU time, since the host only waits."""
        return [self._burst(request) for request in requests]

    def output(self, spec: ModelSpec) -> NDArray[np.float32]:
        """The output of the network for the fixed image."""
        queued = self._queued(spec)
        self._timed(spec, queued.run, 1)
        return queued.output()

    def _check_installed(self) -> None:
        """Raise an error if the runtime is missing; called after the check of options and before that of the GPU."""

    def _version(self) -> str:
        return self._gpu.version

    def _check_capability(self, precision: str) -> None:
        """Refuse a precision that the GPU would only emulate."""
        if self._gpu.capability < SINCE[precision]:
            has, needs = (".".join(map(str, pair)) for pair in (self._gpu.capability, SINCE[precision]))
            raise DeviceError(
                f"device {self.name}: {self._gpu.name} (compute capability {has}) does not compute in {precision}",
                hint=f"it takes {needs} or more: use precision=fp32",
            )

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
        """The times of at least `count` runs, and of more until `time_ns` is reached."""
        times_ns = self._timed(spec, run, max(1, min(count, MOST_QUEUED)))
        while len(times_ns) < count or sum(times_ns) < time_ns:
            missing = (time_ns - sum(times_ns)) / max(statistics.median(times_ns), 1)
            times_ns += self._timed(spec, run, max(1, min(round(missing), MOST_QUEUED)))
        return times_ns

    def _timed(self, spec: ModelSpec, run: Runner, count: int) -> list[int]:
        """The times of runs that are queued together, each with a cold cache."""
        times: list[Callable[[], int]] = []
        try:
            for _ in range(count):
                self._gpu.flush()
                times.append(self._gpu.timed(run))
            self._gpu.wait()
        except RuntimeError as error:
            raise DeviceError(f"{self._info.runtime} cannot run the network {spec.name}: {error}") from error
        return [time_ns() for time_ns in times]


class TorchGpu:
    """Events, graphs and memory of the GPU that PyTorch calls ``cuda:0``."""

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise DeviceError(_why_none(), hint="on a machine with one, install torch for its version of CUDA")
        self.device = torch.device("cuda", 0)
        properties = torch.cuda.get_device_properties(self.device)
        cache = getattr(properties, "L2_cache_size", 0) or LARGE_CACHE
        self.name = str(properties.name)
        self.capability: tuple[int, int] = (properties.major, properties.minor)
        self._other = torch.empty(2 * cache, dtype=torch.uint8, device=self.device)

    @property
    def version(self) -> str:
        """The versions of PyTorch, CUDA, cuDNN and the driver."""
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        return f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {cudnn}, driver {_driver()}"

    def stream(self) -> int:
        """The address of the current stream; during graph capture, the capturing stream."""
        return int(torch.cuda.current_stream(self.device).cuda_stream)

    def captured(self, run: Runner) -> Runner:
        """The work that `run` queues, as a graph; warm-up calls of `run` first choose algorithms and memory."""
        aside = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(aside):
            for _ in range(WARM_RUNS):
                run()
        torch.cuda.current_stream(self.device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return graph.replay

    def flush(self) -> None:
        """Write twice the size of the second-level cache."""
        self._other.zero_()

    def timed(self, run: Runner) -> Callable[[], int]:
        """Queue a run between two events, which the GPU times to about 0.5 µs."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        run()
        end.record()
        return lambda: round(float(start.elapsed_time(end)) * 1e6)

    def wait(self) -> None:
        """Return when everything queued is finished."""
        torch.cuda.synchronize(self.device)

    def now_ns(self) -> int:
        """A clock of the host that never goes backwards."""
        return time.perf_counter_ns()


def _why_none() -> str:
    if torch.version.cuda is None:
        return f"torch sees no GPU: {torch.__version__} is built without CUDA"
    return (
        f"torch sees no GPU: {torch.__version__} is built for CUDA {torch.version.cuda}, but finds no driver or card"
    )


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DRIVER_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.split("\n", maxsplit=1)[0].strip()
