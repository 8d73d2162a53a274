"""Pauses while a device throttles."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from fake_device import FakeDevice, net

from mnv2search.latency.measuring.throttling import Cooler
from mnv2search.latency.measuring.timing import REFERENCE, Measurer, Settings


def cooler_of(sleep: Callable[[float], None]) -> Cooler:
    return Cooler(name="phone", slowdown=0.12, bursts=4, pause_s=10.0, longest_s=15.0, total_s=40.0, sleep=sleep)


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def cooler(pauses: list[float]) -> Cooler:
    return cooler_of(pauses.append)


def test_a_cool_device_is_never_paused(cooler: Cooler, pauses: list[float]) -> None:
    cooler.watch([5.0, 5.2, 5.1, 5.0, 5.3], undisturbed_ms=5.0, left_s=None)
    assert pauses == []


def test_one_slow_burst_is_no_throttling(cooler: Cooler, pauses: list[float]) -> None:
    cooler.watch([7.0, 7.0, 5.0, 7.0], undisturbed_ms=5.0, left_s=None)
    assert pauses == []


def test_slow_bursts_in_a_row_pause_it_and_say_so(
    cooler: Cooler, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mnv2search.latency"):
        cooler.watch([5.0, 6.0, 6.5, 6.2, 6.1], undisturbed_ms=5.0, left_s=None)
    assert pauses == [10.0]
    assert "phone is 20 % slower than before: pausing 10 s to cool" in caplog.text


def test_a_pause_of_no_length_is_not_spoken_of(
    cooler: Cooler, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mnv2search.latency"):
        cooler.watch([6.0] * 4, undisturbed_ms=5.0, left_s=1.0)
    assert pauses == [0.25]
    assert caplog.text == ""


def test_what_was_seen_before_a_pause_does_not_count_again(cooler: Cooler, pauses: list[float]) -> None:
    levels = [6.0] * 4
    cooler.watch(levels, undisturbed_ms=5.0, left_s=None)
    cooler.watch([*levels, 5.0, 5.0], undisturbed_ms=5.0, left_s=None)
    assert pauses == [10.0]


def test_pauses_grow_and_end(cooler: Cooler, pauses: list[float]) -> None:
    cooler.watch([6.0] * 4, undisturbed_ms=5.0, left_s=None)
    cooler.watch([6.0] * 8, undisturbed_ms=5.0, left_s=None)
    cooler.watch([6.0] * 12, undisturbed_ms=5.0, left_s=None)
    cooler.watch([6.0] * 16, undisturbed_ms=5.0, left_s=None)
    cooler.watch([6.0] * 20, undisturbed_ms=5.0, left_s=None)
    assert pauses == [10.0, 15.0, 15.0]
    assert cooler.paused_s == 40.0


def test_a_pause_leaves_time_to_measure(cooler: Cooler, pauses: list[float]) -> None:
    cooler.watch([6.0] * 4, undisturbed_ms=5.0, left_s=8.0)
    assert pauses == [2.0]


def test_a_measurer_waits_for_a_hot_device_to_cool() -> None:
    hot = [True]
    slept: list[float] = []

    def disturb(name: str, at_s: float) -> tuple[float, float]:
        return (2.0 if hot[0] and at_s > 0.3 else 0.0), 0.0

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        hot[0] = False

    fake = FakeDevice(ms={"a": 5.0, REFERENCE.name: 5.0}, disturb=disturb)
    cooler = cooler_of(sleep)
    settings = Settings(min_visits=40, max_visits=40)
    latency = Measurer(fake, settings, cooler=cooler).measure([net("a")])[0]
    assert slept == [10.0]
    assert latency.median_ms == pytest.approx(5.0, rel=0.02)
