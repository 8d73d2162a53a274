"""What a search knows of latency: what it measured, the predictor that learns from it, what earlier runs learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mnv2search.latency.cache import LatencyCache
from mnv2search.latency.pool import Pool, PoolMeasurer
from mnv2search.latency.predictor import LatencyPredictor
from mnv2search.latency.timing import Measurer
from mnv2search.latency.timing import Settings as Closeness
from mnv2search.latency.types import Latency, LatencyDevice
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["Gauge"]

# While searching a network need not be measured as closely as at the end.
SEARCH_CLOSENESS = Closeness(half_width=0.05, min_visits=3, max_visits=12)


class Gauge:
    """Measures networks against a budget, loosely until `begin_anew` is called.

    Args:
        device: measures.
        budget_ms: that networks should stay within.
        cache: what earlier processes learned of the device; None begins with nothing.
    """

    def __init__(self, device: LatencyDevice, *, budget_ms: float, cache: LatencyCache | None) -> None:
        self._device, self._budget_ms, self._cache = device, budget_ms, cache
        self._measurer = self._new(SEARCH_CLOSENESS)
        self.predictor = LatencyPredictor(device.info) if cache is None else cache.predictor(device)

    def measure(
        self, specs: Sequence[ModelSpec], *, time_s: float | None, on_progress: Callable[[int], None]
    ) -> tuple[Latency, ...]:
        """The latency of every network, measured side by side; see `mnv2search.latency.timing.Measurer.measure`.

        Raises:
            DeviceError: the device cannot run a network.
        """
        if not specs:
            return ()
        return self._measurer.measure(specs, time_s=time_s, budget_ms=self._budget_ms, on_progress=on_progress)

    def begin_anew(self) -> None:
        """Forget what was measured, and measure closely from now on."""
        self._measurer = self._new(None)

    def save(self) -> None:
        """Keep for later processes what was learned of the device.

        Raises:
            OSError: the cache cannot be written.
        """
        if self._cache is not None and self._measurer.reference_ms is not None:
            self._cache.save(
                self._device.info,
                reference_ms=self._measurer.reference_ms,
                observations=self.predictor.observations,
            )

    def _new(self, closeness: Closeness | None) -> Measurer | PoolMeasurer:
        if self._cache is not None:
            return self._cache.measurer(self._device, closeness)
        members = self._device.members if isinstance(self._device, Pool) else (self._device,)
        measurers = [Measurer(member, closeness) for member in members]
        return PoolMeasurer(measurers) if len(measurers) > 1 else measurers[0]
