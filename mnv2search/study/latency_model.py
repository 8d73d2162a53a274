"""Latency in a search: measurements, the predictor fitted to them, and the cache of earlier runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mnv2search.latency.measuring.pool import Pool, PoolMeasurer
from mnv2search.latency.measuring.timing import Measurer
from mnv2search.latency.measuring.timing import Settings as Closeness
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.prediction.predictor import LatencyPredictor
from mnv2search.latency.types import Latency, LatencyDevice
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.study.candidates import by_halves

# Networks are measured less precisely during the search than at the end.
SEARCH_CLOSENESS = Closeness(half_width=0.05, min_visits=3, max_visits=12)
# Networks that are used to time a visit including loading; also the fewest networks of an initial design.
FEW = 4
# Number of these that are chosen far apart; the others are chosen near the budget.
SPREAD = 2
TINY_MS = 1e-6
# Preferred share of the budget of a baseline network; the margin is for the error of a prediction from few networks.
RIVAL_SHARE = 0.85


class LatencyModel:
    """Measures networks against a budget, loosely until `begin_anew` is called.

    Attributes:
        predictor: latency predictor fitted to the measurements.
        visit_s: time that the device takes to load and visit a network; 0 until `affordable` has determined it.
    """

    def __init__(
        self, device: LatencyDevice, *, budget_ms: float, cache: LatencyCache | None, clock: Callable[[], float]
    ) -> None:
        self._device, self._budget_ms, self._cache, self._clock = device, budget_ms, cache, clock
        self.visit_s = 0.0
        self._measurer = self._new(SEARCH_CLOSENESS)
        self.predictor = LatencyPredictor(device.info) if cache is None else cache.predictor(device)

    def measure(
        self, specs: Sequence[ModelSpec], *, time_s: float | None, on_progress: Callable[[int], None]
    ) -> tuple[Latency, ...]:
        """The latency of every network, measured side by side (see `latency.measuring.timing.Measurer.measure`).

        Raises:
            DeviceError: the device cannot run a network.
        """
        if not specs:
            return ()
        return self._measurer.measure(specs, time_s=time_s, budget_ms=self._budget_ms, on_progress=on_progress)

    def affordable(
        self, specs: Sequence[ModelSpec], *, time_s: float | None, on_progress: Callable[[int], None]
    ) -> tuple[ModelSpec, ...]:
        """Choose the networks that there is time to visit once, at least a few, and keep their order.

        A device may take seconds per network to record a graph or to build an engine. This is timed on a few: the
        last, one in the middle, and networks predicted to be slightly below the budget. The others are chosen by
        nearness to the budget, since the network to ship is compared with them.

        Raises:
            DeviceError: the device cannot run a network.
        """
        if time_s is None or len(specs) <= FEW:
            return tuple(specs)
        begin = self._clock()
        few = list(by_halves(specs)[:SPREAD])
        self.measure(few[:1], time_s=0.0, on_progress=on_progress)  # so that one-time work of the device is not timed
        middle = self._clock()
        while True:
            latencies = self.measure(few, time_s=0.0, on_progress=on_progress)
            self.predictor.fit([(spec, found.median_ms) for spec, found in zip(few, latencies, strict=True)])
            others = [spec for spec in specs if spec not in few]
            predicted, _ = self.predictor.predict_many([plan(spec) for spec in others])
            # sorted by distance from a little below the budget
            distances = np.abs(np.log(np.maximum(predicted, TINY_MS) / (RIVAL_SHARE * self._budget_ms)))
            others = [others[place] for place in np.argsort(distances, kind="stable")]
            if len(few) == FEW:
                break
            few.append(others[0])
        self.visit_s = (self._clock() - middle) / (FEW - 1)
        room = self.room(time_s - (self._clock() - begin), most=len(others))
        chosen = {*few, *others[:room]}
        return tuple(spec for spec in specs if spec in chosen)

    def room(self, time_s: float | None, *, most: int) -> int:
        """Number of networks that there is time to visit once, at most `most`."""
        if time_s is None or not self.visit_s or most * self.visit_s <= time_s:
            return most
        return max(0, int(time_s / self.visit_s))

    def begin_anew(self) -> None:
        """Forget all measurements, and measure closely from now on."""
        self._measurer = self._new(None)

    def save(self) -> None:
        """Save the measurements of the device for later processes; raises `OSError` if that fails."""
        if self._cache is not None and self._measurer.reference_ms is not None:
            self._cache.save(
                self._device.info, reference_ms=self._measurer.reference_ms, observations=self.predictor.observations
            )

    def _new(self, closeness: Closeness | None) -> Measurer | PoolMeasurer:
        if self._cache is not None:
            return self._cache.measurer(self._device, closeness)
        if isinstance(self._device, Pool):
            return PoolMeasurer([Measurer(member, closeness) for member in self._device.members])
        return Measurer(self._device, closeness)
