"""A device whose every run takes the time a test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mnv2search.latency.runtimes.simulated import SimulatedClock
from mnv2search.latency.types import DeviceInfo, Runner
from mnv2search.spec.model_spec import BlockSpec, ModelSpec

INFO = DeviceInfo(name="fake", hardware="none", runtime="fake", runtime_version="1")


def net(name: str) -> ModelSpec:
    return ModelSpec(name=name, blocks=(BlockSpec(channels=16),), resolution=32)


@dataclass
class FakeDevice:
    """Runs by name take `ms[name]`, plus what `disturb(name, time in s)` adds to the CPU and to the wall clock."""

    ms: dict[str, float]
    disturb: Callable[[str, float], tuple[float, float]] = lambda name, at: (0.0, 0.0)
    info: DeviceInfo = INFO
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    prepared: list[str] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)

    def prepare(self, spec: ModelSpec) -> Runner:
        self.prepared.append(spec.name)

        def run() -> None:
            self.ran.append(spec.name)
            on_cpu, waiting = self.disturb(spec.name, self.clock.wall_ns() / 1e9)
            cpu = round((self.ms[spec.name] + on_cpu) * 1e6)
            self.clock.advance(wall_ns=cpu + round(waiting * 1e6), cpu_ns=cpu)

        return run
