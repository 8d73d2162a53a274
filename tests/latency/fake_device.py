"""A device whose every run takes the time a test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mnv2search.latency.device import Device
from mnv2search.latency.runtimes.simulated import SimulatedClock
from mnv2search.latency.types import DeviceInfo, Runner
from mnv2search.spec.model_spec import BlockSpec, ModelSpec

INFO = DeviceInfo(name="fake", hardware="none", runtime="fake", runtime_version="1")


def net(name: str) -> ModelSpec:
    return ModelSpec(name=name, blocks=(BlockSpec(channels=16),), resolution=32)


class FakeDevice(Device):
    """Runs by name take `ms[name]`, plus what `disturb(name, time in s)` adds to the CPU and to the wall clock."""

    def __init__(
        self,
        ms: Mapping[str, float],
        disturb: Callable[[str, float], tuple[float, float]] = lambda name, at: (0.0, 0.0),
        info: DeviceInfo = INFO,
    ) -> None:
        super().__init__(info)
        self.ms, self.disturb = dict(ms), disturb
        self.time = SimulatedClock()
        self.prepared: list[str] = []
        self.ran: list[str] = []

    @property
    def clock(self) -> SimulatedClock:
        return self.time

    def prepare(self, spec: ModelSpec) -> Runner:
        self.prepared.append(spec.name)

        def run() -> None:
            self.ran.append(spec.name)
            on_cpu, waiting = self.disturb(spec.name, self.time.wall_ns() / 1e9)
            cpu = round((self.ms[spec.name] + on_cpu) * 1e6)
            self.time.advance(wall_ns=cpu + round(waiting * 1e6), cpu_ns=cpu)

        return run
