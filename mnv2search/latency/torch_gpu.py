"""The first NVIDIA processor of this machine, through PyTorch."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import torch

from mnv2search.errors import DeviceError
from mnv2search.latency.types import Runner

WARM_RUNS = 3
# Where PyTorch does not tell the size of the cache: more than any has.
LARGE_CACHE = 256 * 2**20
DRIVER_S = 10


class TorchGpu:
    """Events, graphs and memory of the processor that PyTorch calls ``cuda:0``; see `NvidiaGpu`.

    Raises:
        DeviceError: PyTorch sees none; says why.
    """

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
        """Of PyTorch, CUDA, cuDNN and the driver."""
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        return f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {cudnn}, driver {_driver()}"

    def stream(self) -> int:
        """The address of the stream that work is queued on now, while a graph is recorded that of the recording."""
        return int(torch.cuda.current_stream(self.device).cuda_stream)

    def captured(self, run: Runner) -> Runner:
        """What `run` queues, as a graph; before, it runs a few times to choose algorithms and to get memory.

        Raises:
            RuntimeError: it cannot be recorded.
        """
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
        """Write twice what the second-level cache holds."""
        self._other.zero_()

    def timed(self, run: Runner) -> Callable[[], int]:
        """Queue a run between two events, which the processor times to about 0.5 µs."""
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
    """The version of the driver, as its own program tells it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DRIVER_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.split("\n", maxsplit=1)[0].strip()
