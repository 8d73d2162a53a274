"""Several equal devices as one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from fake_device import INFO, FakeDevice, net

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.device import Device
from mnv2search.latency.measuring import pool as module
from mnv2search.latency.measuring.pool import ANCHORS, Pool, PoolMeasurer
from mnv2search.latency.measuring.timing import Measurer, Settings
from mnv2search.latency.registry import open_device
from mnv2search.latency.runtimes.simulated import SimulatedDevice
from mnv2search.latency.types import Latency, Runner
from mnv2search.spec.model_spec import ModelSpec

MS = {"reference": 2.0, "anchor-small": 1.0, "anchor-large": 9.0, "a": 3.0, "b": 4.0, "c": 5.0, "d": 6.0}
SPECS = [net(name) for name in "abcd"]
SETTINGS = Settings(min_visits=5, max_visits=5)


def board(name: str, factor: float = 1.0) -> FakeDevice:
    return FakeDevice(ms={n: factor * ms for n, ms in MS.items()}, info=replace(INFO, name=name, host=name))


def pool_of(*boards: FakeDevice) -> PoolMeasurer:
    return PoolMeasurer([Measurer(b, SETTINGS) for b in boards])


class Breaks(FakeDevice):
    """Works for the anchors and fails from then on."""

    def prepare(self, spec: ModelSpec) -> Runner:
        if spec not in ANCHORS:
            raise DeviceError(f"{self.info.name} is gone")
        return super().prepare(spec)


def test_networks_are_spread_over_the_members() -> None:
    one, two = board("one"), board("two")
    latencies = pool_of(one, two).measure(SPECS)
    assert [latency.device.name for latency in latencies] == ["one", "two", "one", "two"]
    assert [latency.median_ms for latency in latencies] == pytest.approx([3.0, 4.0, 5.0, 6.0])
    assert set(one.prepared) - {a.name for a in ANCHORS} == {"a", "c"}


def test_the_anchors_are_measured_once_by_all() -> None:
    one, two = board("one"), board("two")
    measurer = pool_of(one, two)
    measurer.measure(SPECS[:1])
    measurer.measure(SPECS[1:2])
    assert one.prepared.count("anchor-large") == two.prepared.count("anchor-large") == 1


def test_of_three_the_one_that_disagrees_is_reported_and_not_used(caplog: pytest.LogCaptureFixture) -> None:
    measurer = pool_of(board("one"), board("odd", 1.3), board("three"))
    with caplog.at_level(logging.WARNING, "mnv2search.latency"):
        latencies = measurer.measure(SPECS)
    assert {latency.device.name for latency in latencies} == {"one", "three"}
    ((name, ratio, used),) = measurer.disagreements
    assert (name, round(ratio, 3), used) == ("odd", 1.3, False)
    assert "odd disagrees with its siblings: it takes 1.300 times as long; it is not used" in caplog.text


def test_of_two_that_disagree_the_slower_is_used() -> None:
    measurer = pool_of(board("fast"), board("slow", 1.2))
    assert {latency.device.name for latency in measurer.measure(SPECS)} == {"slow"}
    assert {(d.name, d.used) for d in measurer.disagreements} == {("fast", False), ("slow", True)}


def test_where_two_stand_against_two_the_slower_are_used() -> None:
    measurer = pool_of(board("fast"), board("quick"), board("slow", 1.3), board("late", 1.3))
    assert {latency.device.name for latency in measurer.measure(SPECS)} == {"slow", "late"}
    assert len(measurer.disagreements) == 4


def test_members_that_agree_within_their_intervals_are_not_reported() -> None:
    measurer = pool_of(board("one"), board("two", 1.03), board("three"))
    measurer.measure(SPECS)
    assert measurer.disagreements == ()


def test_the_work_of_a_member_that_fails_goes_to_the_others(caplog: pytest.LogCaptureFixture) -> None:
    broken = Breaks(ms=MS, info=replace(INFO, name="broken"))
    with caplog.at_level(logging.WARNING, "mnv2search.latency"):
        latencies = pool_of(board("one"), broken).measure(SPECS)
    assert {latency.device.name for latency in latencies} == {"one"}
    assert "no longer used: broken is gone" in caplog.text


def test_when_all_fail_the_error_comes_through() -> None:
    broken = [Breaks(ms=MS, info=replace(INFO, name=name)) for name in ("one", "two")]
    with pytest.raises(DeviceError, match="is gone"):
        pool_of(*broken).measure(SPECS)


def test_progress_counts_the_networks_of_all_members() -> None:
    told: list[int] = []
    pool_of(board("one"), board("two")).measure(SPECS, on_progress=told.append)
    assert told[-1] == max(told) == 4


def test_the_reference_is_the_median_over_members() -> None:
    measurer = pool_of(board("one"), board("two", 1.02), board("three", 1.04))
    assert measurer.reference_ms is None
    measurer.measure(SPECS)
    assert measurer.reference_ms == pytest.approx(2.04)


def test_nothing_takes_no_time() -> None:
    one = board("one")
    assert pool_of(one, board("two")).measure([]) == ()
    assert one.prepared == []


def test_unequal_devices_cannot_share_work() -> None:
    one, two = SimulatedDevice(), SimulatedDevice(seed=1)
    two._info = replace(two.info, threads=4)
    with pytest.raises(OptionError, match="threads is 1 and 4"):
        Pool([one, two])


def test_the_text_of_a_pool_opens_it_again() -> None:
    with open_device("simulated:seed=1 + simulated:seed=2") as pool:
        assert pool.info.name == "simulated:seed=1,noise=0 + simulated:seed=2,noise=0"
        with open_device(pool.info.name) as again:
            assert again.info == pool.info
        assert pool.measure(SPECS[0]).median_ms > 0


def test_a_device_twice_is_refused() -> None:
    with pytest.raises(OptionError, match="is given twice"):
        open_device("simulated + simulated")


def test_a_member_that_cannot_be_opened_closes_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[object] = []
    monkeypatch.setattr(Device, "__exit__", lambda self, *_: closed.append(self))
    with pytest.raises(OptionError):
        open_device("simulated + simulated:noise=-1")
    assert len(closed) == 1


class Refuses(FakeDevice):
    """Runs everything but one network."""

    def prepare(self, spec: ModelSpec) -> Runner:
        if spec.name == "b":
            raise DeviceError("b has an operator that is not there")
        return super().prepare(spec)


def test_a_network_that_the_runtime_refuses_costs_no_member() -> None:
    measurer = pool_of(*(Refuses(ms=MS, info=replace(INFO, name=name)) for name in ("one", "two", "three")))
    with pytest.raises(DeviceError, match="an operator that is not there"):
        measurer.measure(SPECS[1:2])
    latencies = measurer.measure([SPECS[0], SPECS[2], SPECS[3]])
    assert {latency.device.name for latency in latencies} == {"one", "two", "three"}


def test_members_are_compared_again_where_that_failed() -> None:
    boards = [board("one"), board("odd", 1.3), board("three")]
    whole = [dict(b.ms) for b in boards]
    measurer = pool_of(*boards)
    for b in boards:
        b.ms.clear()
    with pytest.raises(KeyError):
        measurer.measure(SPECS)
    for b, ms in zip(boards, whole, strict=True):
        b.ms.update(ms)
    assert {latency.device.name for latency in measurer.measure(SPECS)} == {"one", "three"}


class Held(FakeDevice):
    """Stands still at its third run of a network that is no anchor until it is released."""

    def __init__(self, name: str) -> None:
        super().__init__(ms=MS, info=replace(INFO, name=name, host=name))
        self.reached, self.released = threading.Event(), threading.Event()

    def prepare(self, spec: ModelSpec) -> Runner:
        run = super().prepare(spec)

        def held() -> None:
            run()
            if spec not in ANCHORS and self.ran.count(spec.name) == 3:
                self.reached.set()
                self.released.wait(600)

        return held


class Releasing(Measurer):
    def __init__(self, device: Held) -> None:
        super().__init__(device, SETTINGS)
        self.device = device

    def stop(self) -> None:
        super().stop()
        self.device.released.set()


@pytest.mark.parametrize("moment", ["start", "join"])
def test_no_member_goes_on_after_an_interrupt(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C comes while members are started or waited for, when the first of them has begun to measure."""
    first, second = Held("first"), Held("second")
    measurer = PoolMeasurer([Releasing(first), Releasing(second)])
    measurer.measure([ANCHORS[0]])  # they are compared before
    before = set(threading.enumerate())

    class Started(threading.Thread):
        def start(self) -> None:
            super().start()
            first.reached.wait(600)
            raise KeyboardInterrupt

    class Joined(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            if timeout is None:
                first.reached.wait(600)
                raise KeyboardInterrupt
            super().join(timeout)

    thread_class = {"start": Started, "join": Joined}[moment]
    monkeypatch.setattr(module, "threading", SimpleNamespace(Thread=thread_class, Lock=threading.Lock))
    with pytest.raises(KeyboardInterrupt):
        measurer.measure(SPECS)
    for thread in set(threading.enumerate()) - before:
        threading.Thread.join(thread)
    anchors = {anchor.name for anchor in ANCHORS}
    assert set(first.prepared) - anchors == {"a"}
    assert set(second.prepared) - anchors <= {"b"}


def test_the_comparison_is_part_of_the_time() -> None:
    times: list[float | None] = []

    class Noting(Measurer):
        def measure(self, specs: Sequence[ModelSpec], **options: Any) -> tuple[Latency, ...]:
            times.append(options.get("time_s"))
            return super().measure(specs, **options)

    PoolMeasurer([Noting(board(name), SETTINGS) for name in ("one", "two")]).measure(SPECS, time_s=8.0)
    assert times[:2] == [4.0, 4.0]
    assert all(left is not None and left <= 8.0 for left in times[2:])
