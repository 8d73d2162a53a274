"""The one measuring loop: short visits to every candidate in turn, each beside a reference network."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeAlias, runtime_checkable

from mnv2search.errors import DeviceError, LatencyError, OptionError
from mnv2search.latency.measuring.estimate import (
    Estimate,
    Visit,
    estimate,
    level_ms,
    reference_level_ms,
    visit_of,
)
from mnv2search.latency.measuring.throttling import Cooler
from mnv2search.latency.types import BurstRequest, Clock, DeviceInfo, Latency, Runner, Runs
from mnv2search.spec.mobilenet_v2 import MOBILENET_V2_BLOCKS
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["REFERENCE", "Measurable", "Measurer", "OnProgress", "Settings"]

# MobileNetV2 0.5 at 160 px: short, and its weights do not fit the inner caches, so that it feels what others do.
REFERENCE = ModelSpec(
    name="reference",
    width=0.5,
    resolution=160,
    blocks=MOBILENET_V2_BLOCKS,
)


class Measurable(Protocol):
    """The part of a device that the loop needs besides either of the following two."""

    @property
    def info(self) -> DeviceInfo:
        """What the device is."""
        ...


@runtime_checkable
class Loads(Measurable, Protocol):
    """The part of a `RunnerDevice` that the loop needs."""

    @property
    def clock(self) -> Clock:
        """The clocks to time its runners with."""
        ...

    def prepare(self, spec: ModelSpec) -> Runner:
        """The network loaded, ready to run."""
        ...


class Bursts(Measurable, Protocol):
    """The part of a `BurstDevice` that the loop needs."""

    @property
    def round_trip(self) -> int:
        """How many networks are best visited between two questions to the device."""
        ...

    def bursts(self, requests: Sequence[BurstRequest]) -> Sequence[Runs]:
        """(wall, CPU) time in ns of the runs of each request, or what is known of it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How long and how closely to look.

    Attributes:
        half_width: relative, at which a network is measured well enough: the part of the interval's that visits can
            bring down.
        min_visits: to every network, unless it clearly does not fit the budget or time is up.
        max_visits: to any network in one call.
        burst_ms: of a network in one visit.
        reference_burst_ms: of the reference before and after it.
        warm_ms: of untimed runs before every burst, and never fewer than two runs.
        min_runs: timed in a burst, however slow.
        loaded: networks that are kept loaded, at up to 100 MB each. Where there are more, they are loaded anew every
            round and visited `visits_a_load` times in a row.
        visits_a_load: see `loaded`.
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
"""Told after every visit how many networks are done with."""


class Measurer:
    """Measures networks on one device side by side, and remembers: measuring again refines.

    Args:
        device: what to measure on.
        settings: how closely.
        earlier_reference_ms: levels of the reference in earlier processes, from `reference_ms`; with them a
            process that never saw the machine quiet knows it.
        cooler: pauses while the device throttles; None never pauses, since on a machine that is shared the
            neighbours, and not heat, are what slows it down.
        now: the date, for `Latency.taken_at`.
    """

    def __init__(
        self,
        device: Loads | Bursts,
        settings: Settings | None = None,
        *,
        earlier_reference_ms: Sequence[float] = (),
        cooler: Cooler | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings or Settings()
        self._device: Bursts = _InThisProcess(device, self._settings) if isinstance(device, Loads) else device
        self._wall_ns = device.clock.wall_ns if isinstance(device, Loads) else time.perf_counter_ns
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
        """Undisturbed level of the reference as this process saw it; None before the first measurement."""
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

        A network is done with when its interval is narrow enough; against a budget it is done with at once when
        the interval lies beyond it, and not before the interval lies to one side of it.

        Args:
            specs: networks; the same one twice is measured once.
            time_s: after which no new visit begins, once every network has had one; None sets no limit.
            budget_ms: what the networks should stay within.
            fresh: forget earlier visits to these networks.
            on_progress: told after every visit how many networks are done with.

        Raises:
            DeviceError: the device refuses a network, or `stop` was called.
        """
        waiting = list(dict.fromkeys(specs))
        made = dict.fromkeys(waiting, 0)
        self._before_ms = None
        for spec in waiting:
            if fresh or spec not in self._visits:
                self._visits[spec] = []
        ends_ns = None if time_s is None else self._wall_ns() + round(time_s * 1e9)
        while waiting:
            in_a_row = 1 if len(waiting) <= self._settings.loaded else self._settings.visits_a_load
            together = self._device.round_trip
            for group in [waiting[i : i + together] for i in range(0, len(waiting), together)]:
                self._visit_group(group, made, in_a_row=in_a_row, ends_ns=ends_ns, budget_ms=budget_ms)
                for spec in group:
                    if self._is_late(ends_ns) or self._is_done(spec, made[spec], budget_ms):
                        waiting.remove(spec)
                if on_progress is not None:
                    on_progress(len(made) - len(waiting))
        return tuple(self._latency(spec) for spec in specs)

    def _visit_group(
        self,
        group: Sequence[ModelSpec],
        made: dict[ModelSpec, int],
        *,
        in_a_row: int,
        ends_ns: int | None,
        budget_ms: float | None,
    ) -> None:
        """Visit networks together up to `in_a_row` times, those that are done with left out; `made` counts visits."""
        going = list(group)
        for _ in range(in_a_row):
            if self._is_late(ends_ns):
                going = [spec for spec in going if not self._visits[spec]]
            if not going:
                return
            self._visit(going)
            self._cool(ends_ns)
            for spec in going:
                made[spec] += 1
            going = [spec for spec in going if not self._is_done(spec, made[spec], budget_ms)]

    def stop(self) -> None:
        """Visit nothing any more: `measure`, which another thread is in, ends with an error."""
        self._stops = True

    def _cool(self, ends_ns: int | None) -> None:
        if self._cooler is not None:
            left_s = None if ends_ns is None else (ends_ns - self._wall_ns()) / 1e9
            undisturbed_ms = reference_level_ms(self._reference_levels, self._earlier)
            self._cooler.watch(self._reference_levels, undisturbed_ms=undisturbed_ms, left_s=left_s)

    def _is_late(self, ends_ns: int | None) -> bool:
        return ends_ns is not None and self._wall_ns() >= ends_ns

    def _is_done(self, spec: ModelSpec, made: int, budget_ms: float | None) -> bool:
        return made >= self._settings.max_visits or self._is_settled(spec, budget_ms)

    def forget(self, spec: ModelSpec) -> None:
        """Drop what is known and loaded of a network."""
        self._visits.pop(spec, None)

    def _visit(self, specs: Sequence[ModelSpec]) -> None:
        """Visit each network once, with a burst of the reference between any two of them and at both ends.

        The burst at the end of one call opens the next one where that follows at once.
        """
        if self._stops:
            raise DeviceError("measuring was stopped")
        settings = self._settings
        reference = BurstRequest(REFERENCE, settings.reference_burst_ms, settings.warm_ms, settings.min_runs)
        requests = []
        for spec in specs:
            requests += [BurstRequest(spec, settings.burst_ms, settings.warm_ms, settings.min_runs), reference]
        opens = self._before_ms is None
        found = [*self._device.bursts([reference, *requests] if opens else requests)]
        before_ms = self._reference_level(found.pop(0)) if opens else self._before_ms
        for spec, runs, after in zip(specs, found[::2], found[1::2], strict=True):
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
        found = level_ms(runs, by_cpu=self._by_cpu)
        self._reference_levels.append(found)
        return found

    def _estimate(self, spec: ModelSpec) -> Estimate:
        undisturbed_ms = reference_level_ms(self._reference_levels, self._earlier)
        return estimate(self._visits[spec], undisturbed_ms, earlier=len(self._earlier))

    def _is_settled(self, spec: ModelSpec, budget_ms: float | None) -> bool:
        found = self._estimate(spec)
        low, high = found.median_ms * (1 - found.half_width), found.median_ms * (1 + found.half_width)
        if budget_ms is not None and low > budget_ms:
            return True
        if len(self._visits[spec]) < self._settings.min_visits or found.scatter > self._settings.half_width:
            return False
        return budget_ms is None or high <= budget_ms

    def _latency(self, spec: ModelSpec) -> Latency:
        found = self._estimate(spec)
        return Latency(
            median_ms=found.median_ms,
            ci_low_ms=found.median_ms * (1 - found.half_width),
            ci_high_ms=found.median_ms * (1 + found.half_width),
            p90_ms=found.p90_ms,
            samples=found.samples,
            dropped=found.dropped,
            kind="measured",
            device=self._device.info,
            taken_at=self._now().isoformat(timespec="seconds"),
            noisy=found.noisy,
            visits=len(self._visits[spec]),
        )


class _InThisProcess:
    """Bursts of networks that a `RunnerDevice` loads; the last few stay loaded, the reference always."""

    round_trip = 1

    def __init__(self, device: Loads, settings: Settings) -> None:
        self._device = device
        self._keep = settings.loaded
        self._loaded: OrderedDict[ModelSpec, Runner] = OrderedDict()
        self._reference: Runner | None = None

    @property
    def info(self) -> DeviceInfo:
        """What the device is."""
        return self._device.info

    def bursts(self, requests: Sequence[BurstRequest]) -> list[list[tuple[int, int]]]:
        """(wall, CPU) time in ns of the runs of each request."""
        return [request.timed(self._runner(request.spec), self._device.clock) for request in requests]

    def _runner(self, spec: ModelSpec) -> Runner:
        if spec == REFERENCE:
            if self._reference is None:
                self._reference = self._device.prepare(REFERENCE)
            return self._reference
        if spec in self._loaded:
            self._loaded.move_to_end(spec)
            return self._loaded[spec]
        while len(self._loaded) >= self._keep:
            self._loaded.popitem(last=False)
        self._loaded[spec] = self._device.prepare(spec)
        return self._loaded[spec]
