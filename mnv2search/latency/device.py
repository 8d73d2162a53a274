"""What every device shares: measuring one network, and being closed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from mnv2search.latency.host import SystemClock
from mnv2search.latency.measuring.timing import Measurer
from mnv2search.latency.types import Clock, DeviceInfo, Latency, Runner
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["Device"]


class Device(ABC):
    """A base for devices that can run a network in this process: they say what they are and how to load one."""

    def __init__(self, info: DeviceInfo) -> None:
        self._info = info
        self._clock = SystemClock()
        self._measurer: Measurer | None = None

    @property
    def info(self) -> DeviceInfo:
        """What this device is."""
        return self._info

    @property
    def clock(self) -> Clock:
        """The clocks to time its runners with."""
        return self._clock

    @abstractmethod
    def prepare(self, spec: ModelSpec) -> Runner:
        """The network loaded with arbitrary weights, ready to run."""

    def measure(self, spec: ModelSpec) -> Latency:
        """The latency of the network, measured now.

        Raises:
            DeviceError: the runtime refuses the network.
        """
        if self._measurer is None:
            self._measurer = Measurer(self)
        return self._measurer.measure([spec], fresh=True)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the networks that were loaded."""
        self._measurer = None
