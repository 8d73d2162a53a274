"""A graphics processor with a clock of its own, on which each network takes the time that a test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from mnv2search.latency.types import Runner

FLUSH_NS = 30_000
STREAM = 77


@dataclass
class FakeGpu:
    """Runs what is captured on this processor, and says that the n-th launch of all took `launch_ns(n)`."""

    launch_ns: Callable[[int], int] = lambda n: 1_000_000
    name: str = "fake"
    capability: tuple[int, int] = (9, 0)
    version: str = "1"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    did: list[str] = field(default_factory=list)
    launched: int = 0
    time_ns: int = 0

    def stream(self) -> int:
        return STREAM

    def captured(self, run: Runner) -> Runner:
        self.did.append("capture")
        run()

        def launch() -> None:
            self.did.append("launch")
            self.time_ns += self.launch_ns(self.launched)
            self.launched += 1

        return launch

    def flush(self) -> None:
        self.did.append("flush")
        self.time_ns += FLUSH_NS

    def timed(self, run: Runner) -> Callable[[], int]:
        start_ns = self.time_ns
        self.did.append("mark")
        run()
        self.did.append("mark")
        time_ns = self.time_ns - start_ns
        return lambda: time_ns

    def wait(self) -> None:
        self.did.append("wait")

    def now_ns(self) -> int:
        return self.time_ns
