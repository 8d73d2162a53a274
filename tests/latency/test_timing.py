"""The measuring loop, on a clock of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count, groupby

import pytest
from fake_device import INFO, FakeDevice, net

from mnv2search.errors import DeviceError, LatencyError, OptionError
from mnv2search.latency.device import MeasuredDevice
from mnv2search.latency.measuring.timing import Measurer, Settings
from mnv2search.latency.types import BurstRequest, DeviceInfo, RunSummary

REFERENCE_MS = 2.0
# How many runs of 5 ms fill one burst.
RUNS_OF_5_MS = 5


def device(*, info: DeviceInfo = INFO, **ms: float) -> FakeDevice:
    return FakeDevice({"reference": REFERENCE_MS} | ms, info=info)


def test_a_steady_network_is_measured_exactly() -> None:
    latency = Measurer(device(a=5.0)).measure([net("a")])[0]
    assert latency.median_ms == pytest.approx(5.0)
    assert latency.p90_ms == pytest.approx(5.0)
    assert latency.ci_low_ms < 5.0 < latency.ci_high_ms
    assert (latency.kind, latency.dropped, latency.noisy) == ("measured", 0, False)


def test_a_steady_network_needs_only_few_visits() -> None:
    fake = device(a=5.0)
    latency = Measurer(fake, Settings(min_visits=5), earlier_reference_ms=[REFERENCE_MS] * 32).measure([net("a")])[0]
    assert latency.samples <= 8 * RUNS_OF_5_MS
    assert latency.ci_high_ms <= 5.0 * 1.035


def test_candidates_take_turns_with_the_reference_between_them() -> None:
    fake = device(a=5.0, b=7.0)
    Measurer(fake, Settings(min_visits=2, max_visits=2)).measure([net("a"), net("b")])
    bursts = [name for name, _ in groupby(fake.ran)]
    assert bursts == ["reference", "a", "reference", "b", "reference", "a", "reference", "b", "reference"]


def test_every_burst_begins_with_untimed_runs() -> None:
    fake = device(a=5.0)
    latency = Measurer(fake, Settings(min_visits=1, max_visits=1)).measure([net("a")])[0]
    assert fake.ran.count("a") == latency.samples + 2


def test_untimed_runs_last_as_long_as_the_settings_say() -> None:
    fake = device(a=5.0)
    latency = Measurer(fake, Settings(min_visits=1, max_visits=1, warm_ms=20.0)).measure([net("a")])[0]
    assert fake.ran.count("a") == latency.samples + 4


def test_preempted_runs_are_dropped_and_counted() -> None:
    fake = device(a=5.0)
    every_fourth = count()
    fake.disturb = lambda name, at: (0.0, 4.0 if name == "a" and next(every_fourth) % 4 == 0 else 0.0)
    latency = Measurer(fake).measure([net("a")])[0]
    assert latency.median_ms == pytest.approx(5.0)
    assert 0.15 < latency.dropped / (latency.samples + latency.dropped) < 0.35
    assert latency.p90_ms == pytest.approx(5.0)


def test_a_network_that_is_always_preempted_is_measured_by_its_cpu_time_and_called_noisy() -> None:
    fake = device(a=20.0)
    fake.disturb = lambda name, at: (0.0, 30.0 if name == "a" else 0.0)
    latency = Measurer(fake).measure([net("a")])[0]
    assert latency.median_ms == pytest.approx(20.0)
    assert latency.noisy


def test_with_several_threads_the_wall_clock_counts() -> None:
    threaded = DeviceInfo(name="fake", hardware="none", runtime="fake", runtime_version="1", threads=2)
    fake = device(info=threaded, a=5.0)
    fake.disturb = lambda name, at: (0.0, 1.0 if name == "a" else 0.0)
    latency = Measurer(fake).measure([net("a")])[0]
    assert latency.median_ms == pytest.approx(6.0)
    assert latency.dropped == 0


def test_slow_spells_are_told_by_the_reference_and_hardly_count() -> None:
    fake = device(a=5.0)
    fake.disturb = lambda name, at: ((0.8 if name == "reference" else 1.0) if at % 1.0 < 0.4 else 0.0, 0.0)
    assert Measurer(fake).measure([net("a")])[0].median_ms == pytest.approx(5.0, rel=0.01)


def test_what_earlier_processes_knew_of_the_reference_reveals_a_machine_that_was_never_quiet() -> None:
    fake = device(a=5.0)
    fake.disturb = lambda name, at: (0.6 if name == "reference" else 0.4, 0.0)
    alone = Measurer(fake).measure([net("a")])[0]
    warned = Measurer(fake, earlier_reference_ms=[REFERENCE_MS] * 5).measure([net("a")])[0]
    assert (alone.noisy, warned.noisy) == (False, True)
    assert warned.ci_low_ms < 5.0 < alone.ci_low_ms


def test_a_network_beyond_the_budget_is_left_at_once() -> None:
    fake = device(a=5.0, b=20.0)
    fits, misses = Measurer(fake, Settings(min_visits=6)).measure([net("a"), net("b")], budget_ms=10.0)
    assert fits.verdict(10.0) == "fits"
    assert misses.verdict(10.0) == "does not fit"
    assert fits.samples >= 6 * RUNS_OF_5_MS
    assert misses.samples == 3


def test_an_undecided_network_is_measured_as_long_as_allowed() -> None:
    fake = device(a=10.0)
    latency = Measurer(fake, Settings(min_visits=10, max_visits=19)).measure([net("a")], budget_ms=10.0)[0]
    assert latency.verdict(10.0) == "undecided"
    assert latency.samples == 19 * 3


def test_time_ends_measuring_but_every_network_has_been_visited() -> None:
    fake = device(a=5.0, b=5.0, c=5.0)
    latencies = Measurer(fake).measure([net(n) for n in "abc"], time_s=0.01)
    assert [m.samples for m in latencies] == [RUNS_OF_5_MS] * 3


def test_measuring_again_refines() -> None:
    measurer = Measurer(device(a=5.0), Settings(min_visits=1, max_visits=1))
    first, second = measurer.measure([net("a")])[0], measurer.measure([net("a")])[0]
    assert (first.samples, second.samples) == (RUNS_OF_5_MS, 2 * RUNS_OF_5_MS)
    assert second.ci_high_ms < first.ci_high_ms


def test_a_fresh_measurement_forgets_the_earlier_one() -> None:
    fake = device(a=5.0)
    measurer = Measurer(fake)
    measurer.measure([net("a")])
    fake.ms["a"] = 6.0
    assert measurer.measure([net("a")], fresh=True)[0].median_ms == pytest.approx(6.0)


def test_the_same_network_twice_is_measured_once_and_reported_twice() -> None:
    fake = device(a=5.0)
    first, second = Measurer(fake).measure([net("a"), net("a")])
    assert first == second
    assert fake.prepared.count("a") == 1


def test_few_networks_are_kept_loaded_and_those_loaded_anew_are_visited_several_times() -> None:
    fake = device(a=5.0, b=5.0, c=5.0)
    settings = Settings(min_visits=4, max_visits=4, loaded=2, visits_a_load=2)
    latencies = Measurer(fake, settings).measure([net(n) for n in "abc"])
    assert fake.prepared == ["reference", "a", "b", "c", "a", "b", "c"]
    assert [m.samples for m in latencies] == [4 * RUNS_OF_5_MS] * 3


def test_progress_counts_networks_that_are_done_with() -> None:
    told: list[int] = []
    Measurer(device(a=5.0, b=5.0), Settings(min_visits=2, max_visits=2)).measure(
        [net("a"), net("b")], on_progress=told.append
    )
    assert told == [0, 0, 1, 2]


def test_a_measurement_says_when_it_was_taken() -> None:
    then = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    latency = Measurer(device(a=5.0), now=lambda: then).measure([net("a")])[0]
    assert latency.taken_at == "2026-01-02T03:04:05+00:00"


def test_nothing_to_measure_runs_nothing() -> None:
    fake = device()
    assert Measurer(fake).measure([]) == ()
    assert fake.ran == []


@pytest.mark.parametrize(
    "settings", [{"half_width": 0.0}, {"min_visits": 0}, {"max_visits": 3}, {"loaded": 0}], ids=str
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="measuring with"):
        Settings(**settings)


class NoTimes(MeasuredDevice):
    """Times its bursts itself, and reports what is no time."""

    _info = INFO
    round_trip = 1

    def __init__(self, low_ms: float) -> None:
        self._low_ms = low_ms

    def _new_measurer(self) -> Measurer:
        return Measurer(self)

    def bursts(self, requests: Sequence[BurstRequest]) -> list[RunSummary]:
        return [RunSummary(count=3, low_ms=self._low_ms, median_ms=1.0, p90_ms=1.0) for _ in requests]


@pytest.mark.parametrize("low_ms", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_device_that_reports_no_time_is_a_clear_error(low_ms: float) -> None:
    with pytest.raises(LatencyError, match=r"fake reports .* for a"):
        Measurer(NoTimes(low_ms)).measure([net("a")])


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: device lost"), OSError(19, "No such device")])
def test_a_driver_that_loses_its_device_is_a_clear_error(error: Exception) -> None:
    def lose(name: str, at: float) -> tuple[float, float]:
        if at > 0.05:
            raise error
        return 0.0, 0.0

    with pytest.raises(DeviceError, match=rf"fake failed with \w+: .*{error.args[-1]}"):
        Measurer(FakeDevice({"a": 1.0, "reference": 1.0}, lose)).measure([net("a")])
