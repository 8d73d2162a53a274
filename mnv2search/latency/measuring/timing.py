"""The measuring loop: short visits to every candidate in turn, between bursts of a reference network."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeAlias

from mnv2search.errors import DeviceError, LatencyError, Mnv2SearchError, OptionError
from mnv2search.latency.measuring.estimate import Estimate, Visit, estimate, level_ms, reference_level_ms, visit_of
from mnv2search.latency.measuring.exclusive import exclusive
from mnv2search.latency.measuring.throttling import Cooler
from mnv2search.latency.types import BurstDevice, BurstRequest, Latency, LatencyDevice, RunnerDevice, Runs
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.rows import MOBILENET_V2_BLOCKS

# MobileNetV2 0.5 at 160 px: fast, but its weights exceed the inner caches, so load affects it like other networks.
REFERENCE = ModelSpec(name="reference", width=0.5, resolution=160, blocks=MOBILENET_V2_BLOCKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Length and precision of a measurement.

    Attributes:
        half_width: stop when the reducible part of the interval's relative half-width is below this.
        min_visits: minimum visits to every network, unless it clearly exceeds the budget or time is up.
        max_visits: maximum visits to a network in one call.
        burst_ms: length of a network's burst in one visit.
        reference_burst_ms: length of a reference burst before and after the visit.
        warm_ms: length of the untimed runs before every burst, of which there are at least two.
        min_runs: minimum number of timed runs in a burst.
        loaded: number of networks that stay loaded, at up to 100 MB each. More networks are loaded again in every
            round and visited `visits_a_load` times in a row.
    """

    half_width: float = 0.02
    min_visits: int = 20
    max_visits: int = 120
    burst_ms: float = 25.0
    reference_burst_ms: float = 12.0
    warm_ms: float = 5.0
    min_runs: int = 3
    loaded: int = 12
    visits_a_load: int = 3

    def __post_init__(self) -> None:
        if self.half_width <= 0 or self.min_visits < 1 or self.max_visits < self.min_visits or self.loaded < 1:
            raise OptionError(
                f"measuring with {self}", hint="half_width above 0, 1 <= min_visits <= max_visits, loaded 1 or more"
            )


OnProgress: TypeAlias = Callable[[int], None]
"""Callback after every visit, with the number of finished networks."""


class Measurer:
    """A measurer of networks on one device, side by side; measuring a network again refines its latency.

    `earlier_reference_ms` are the levels of the reference in earlier processes, from `reference_ms`; they show
    whether the machine is quiet now. Without a cooler there are no pauses: a shared machine is slowed down by its
    other users, not by heat.
    """

    def __init__(
        self,
        device: LatencyDevice,
        settings: Settings | None = None,
        *,
        earlier_reference_ms: Sequence[float] = (),
        cooler: Cooler | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings or Settings()
        self._device: BurstDevice | _InThisProcess
        if isinstance(device, RunnerDevice):
            self._device = _InThisProcess(device, loaded=self._settings.loaded)
            self._wall_ns = device.clock.wall_ns
        else:
            self._device, self._wall_ns = device, time.perf_counter_ns
        # other processes cannot disturb a device with a simulated clock
        self._is_real = self._wall_ns is time.perf_counter_ns
        self._earlier = tuple(earlier_reference_ms)
        self._cooler = cooler
        self._now = now
        self._by_cpu = device.info.threads == 1
        self._visits: dict[ModelSpec, list[Visit]] = {}
        self._reference_levels: list[float] = []
        self._before_ms: float | None = None
        self._stops = False

    @property
    def reference_ms(self) -> float | None:
        """The undisturbed level of the reference in this process; None before the first measurement."""
        return reference_level_ms(self._reference_levels) if self._reference_levels else None

    def measure(
        self,
        specs: Sequence[ModelSpec],
        *,
        time_s: float | None = None,
        budget_ms: float | None = None,
        fresh: bool = False,
        on_progress: OnProgress | None = None,
    ) -> tuple[Latency, ...]:
        """The latency of every network, in the order given.

        A network is finished when its interval is narrow enough. With a budget, it is finished as soon as the
        interval is above the budget, and continues until the budget is outside of the interval. After `time_s`, no
        new visit begins once every network has been visited. With `fresh`, earlier visits to these networks are
        discarded.

        Raises:
            DeviceError: the device refuses a network, or `stop` was called.
        """
        for done in self.rounds(specs, time_s=time_s, budget_ms=budget_ms, fresh=fresh):
            if on_progress is not None:
                on_progress(done)
        return tuple(self.latency_of(spec) for spec in specs)

    def rounds(
        self,
        specs: Sequence[ModelSpec],
        *,
        time_s: float | None = None,
        budget_ms: float | None = None,
        fresh: bool = False,
    ) -> Iterator[int]:
        """Measure as `measure` does, and yield the number of finished networks after every visit.

        Between visits, the caller may measure on another device if it calls `pause`.
        """
        waiting = list(dict.fromkeys(specs))
        visits = dict.fromkeys(waiting, 0)
        self._before_ms = None
        for spec in waiting:
            self._visits[spec] = [] if fresh else self._visits.get(spec, [])
        ends_ns = None if time_s is None else self._wall_ns() + round(time_s * 1e9)
        together = self._device.round_trip
        while waiting:
            in_a_row = 1 if len(waiting) <= self._settings.loaded else self._settings.visits_a_load
            for group in [waiting[i : i + together] for i in range(0, len(waiting), together)]:
                self._visit_group(group, visits, in_a_row=in_a_row, ends_ns=ends_ns, budget_ms=budget_ms)
                is_late = self._is_late(ends_ns)
                done = {spec for spec in group if is_late or self._is_done(spec, visits[spec], budget_ms)}
                waiting = [spec for spec in waiting if spec not in done]
                yield len(visits) - len(waiting)

    def pause(self) -> None:
        """Time the reference again before the next visit, since the last burst is no longer recent."""
        self._before_ms = None

    def _visit_group(
        self,
        group: Sequence[ModelSpec],
        visits: dict[ModelSpec, int],
        *,
        in_a_row: int,
        ends_ns: int | None,
        budget_ms: float | None,
    ) -> None:
        """Visit unfinished networks together up to `in_a_row` times; `visits` counts them."""
        going = list(group)
        for _ in range(in_a_row):
            if self._is_late(ends_ns):
                going = [spec for spec in going if not self._visits[spec]]
            if not going:
                return
            self._visit(going)
            self._cool(ends_ns)
            for spec in going:
                visits[spec] += 1
            going = [spec for spec in going if not self._is_done(spec, visits[spec], budget_ms)]

    def stop(self) -> None:
        """Make a `measure` that runs in another thread end with an error."""
        self._stops = True

    def _cool(self, ends_ns: int | None) -> None:
        if self._cooler is not None:
            left_s = None if ends_ns is None else (ends_ns - self._wall_ns()) / 1e9
            undisturbed_ms = reference_level_ms(self._reference_levels, self._earlier)
            self._cooler.watch(self._reference_levels, undisturbed_ms=undisturbed_ms, left_s=left_s)

    def _is_late(self, ends_ns: int | None) -> bool:
        return ends_ns is not None and self._wall_ns() >= ends_ns

    def _is_done(self, spec: ModelSpec, visits: int, budget_ms: float | None) -> bool:
        return visits >= self._settings.max_visits or self._is_settled(spec, budget_ms)

    def forget(self, spec: ModelSpec) -> None:
        """Discard the visits to a network."""
        self._visits.pop(spec, None)

    def _visit(self, specs: Sequence[ModelSpec]) -> None:
        """Visit each network once, with a burst of the reference between any two visits and at both ends.

        No other process of this machine measures on the device at the same time.

        The last burst of one call is also the first burst of the next call if that follows immediately.
        """
        if self._stops:
            raise DeviceError("measuring was stopped")
        settings = self._settings
        reference = BurstRequest(REFERENCE, settings.reference_burst_ms, settings.warm_ms, settings.min_runs)
        requests = []
        for spec in specs:
            requests += [BurstRequest(spec, settings.burst_ms, settings.warm_ms, settings.min_runs), reference]
        opens = self._before_ms is None
        with exclusive(self._device.info) if self._is_real else nullcontext():
            bursts = [*self._device.bursts([reference, *requests] if opens else requests)]
        before_ms = self._reference_level(bursts.pop(0)) if opens else self._before_ms
        for spec, runs, after in zip(specs, bursts[::2], bursts[1::2], strict=True):
            after_ms = self._reference_level(after)
            assert before_ms is not None
            visit = visit_of(runs, (before_ms + after_ms) / 2, by_cpu=self._by_cpu)
            times_ms = (visit.level_ms, visit.median_ms, visit.p90_ms, visit.reference_ms)
            if not all(0 < ms < math.inf for ms in times_ms):
                raise LatencyError(
                    f"{self._device.info.name} reports {times_ms} ms for {spec.name}, which are not times above 0"
                )
            self._visits[spec].append(visit)
            before_ms = after_ms
        self._before_ms = before_ms

    def _reference_level(self, runs: Runs) -> float:
        self._reference_levels.append(level_ms(runs, by_cpu=self._by_cpu))
        return self._reference_levels[-1]

    def _estimate(self, spec: ModelSpec) -> Estimate:
        undisturbed_ms = reference_level_ms(self._reference_levels, self._earlier)
        return estimate(self._visits[spec], undisturbed_ms, earlier=len(self._earlier))

    def _is_settled(self, spec: ModelSpec, budget_ms: float | None) -> bool:
        now = self._estimate(spec)
        if budget_ms is not None and now.ci_low_ms > budget_ms:
            return True
        if len(self._visits[spec]) < self._settings.min_visits or now.scatter > self._settings.half_width:
            return False
        return budget_ms is None or now.ci_high_ms <= budget_ms

    def latency_of(self, spec: ModelSpec) -> Latency:
        """The latency of a network from all visits so far."""
        now = self._estimate(spec)
        return Latency(
            median_ms=now.median_ms,
            ci_low_ms=now.ci_low_ms,
            ci_high_ms=now.ci_high_ms,
            p90_ms=now.p90_ms,
            samples=now.samples,
            dropped=now.dropped,
            kind="measured",
            device=self._device.info,
            taken_at=self._now().isoformat(timespec="seconds"),
            noisy=now.noisy,
            visits=len(self._visits[spec]),
        )


class _InThisProcess:
    """A timer of bursts on a `RunnerDevice`; the most recent networks and the reference stay loaded."""

    round_trip = 1

    def __init__(self, device: RunnerDevice, *, loaded: int) -> None:
        self.info, self._clock = device.info, device.clock
        self._runner = lru_cache(maxsize=loaded + 1)(device.prepare)

    def bursts(self, requests: Sequence[BurstRequest]) -> list[list[tuple[int, int]]]:
        return [self._burst(request) for request in requests]

    def _burst(self, request: BurstRequest) -> list[tuple[int, int]]:
        try:
            return request.timed(self._runner(request.spec), self._clock)
        except Mnv2SearchError:
            raise
        except (OSError, RuntimeError) as error:  # from the driver of a lost device
            raise DeviceError(
                f"{self.info.name} failed with {request.spec.name}: {type(error).__name__}: {error}",
                hint="check that the device still works, and run the same command again",
            ) from error
