"""A device that runs nothing: its latency is a fixed function of the plan, on a simulated clock."""

from __future__ import annotations

import math
import random

from mnv2search.errors import OptionError
from mnv2search.latency.device import Device
from mnv2search.latency.types import Clock, DeviceInfo, Runner
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Layer, Plan, plan

MADDS_PER_MS = 75e6
BYTES_PER_MS = 25e6
LAYER_MS = 0.004
# At this noise, half of the runs are off by a factor of 2 or more; at much higher noise, times overflow.
MOST_NOISE = 1.0


class SimulatedClock:
    """A clock that only moves by `advance`."""

    def __init__(self) -> None:
        self._wall_ns = 0
        self._cpu_ns = 0

    def wall_ns(self) -> int:
        """Elapsed time in ns."""
        return self._wall_ns

    def cpu_ns(self) -> int:
        """CPU time in ns."""
        return self._cpu_ns

    def advance(self, *, wall_ns: int, cpu_ns: int) -> None:
        """Advance the clock."""
        self._wall_ns += wall_ns
        self._cpu_ns += cpu_ns


class SimulatedDevice(Device):
    """A device with simulated latency, which is exact, reproducible and takes no time to measure.

    `noise` is the standard deviation of the logarithm of a single run's latency, from 0 to `MOST_NOISE`.
    """

    def __init__(self, *, seed: int = 0, noise: float = 0.0) -> None:
        if not 0 <= noise <= MOST_NOISE:
            raise OptionError(f"device simulated: noise is {noise:g}", hint=f"use 0 to {MOST_NOISE:g}, such as 0.02")
        super().__init__(
            DeviceInfo(
                name=f"simulated:seed={seed},noise={noise:g}",
                hardware="none",
                runtime="simulated",
                runtime_version="1",
            )
        )
        self._time = SimulatedClock()
        self._noise = noise
        self._random = random.Random(seed)

    @property
    def clock(self) -> Clock:
        """The simulated clock, which moves only while a network runs."""
        return self._time

    def prepare(self, spec: ModelSpec) -> Runner:
        """A runner that only advances the clock."""
        exact_ns = simulated_ms(plan(spec)) * 1e6

        def run() -> None:
            spent = round(exact_ns * math.exp(self._random.gauss(0.0, self._noise)))
            self._time.advance(wall_ns=spent, cpu_ns=spent)

        return run


def simulated_ms(network: Plan) -> float:
    """The simulated latency of a network: the sum of work, memory traffic and a constant for every layer.

    >>> from mnv2search.spec.model_spec import BlockSpec, ModelSpec
    >>> round(simulated_ms(plan(ModelSpec(name="one", blocks=(BlockSpec(channels=24, stride=2),)))), 3)
    5.263
    """
    return sum(_layer_ms(layer) for unit in network.units for layer in unit.layers)


def _layer_ms(layer: Layer) -> float:
    rate = MADDS_PER_MS / (1 if layer.kernel == 1 else 1 + 3 / layer.kernel) / (1 if layer.groups == 1 else 3)
    moved = 4 * (layer.c_in * layer.size_in.area + layer.c_out * layer.size_out.area + layer.weights)
    return layer.weights * layer.size_out.area / rate + moved / BYTES_PER_MS + LAYER_MS
