"""Heartbeats: which processes count as silent."""

from __future__ import annotations

import pytest

from mnv2search.errors import StorageError
from mnv2search.study.workers.heartbeat import BEAT_S, GRACE_S, Pulse, beating


def is_silent_after(readings: list[tuple[float, int]]) -> bool:
    """Whether a process is silent at the last of some readings of its count, given as (time in s, count)."""
    times = iter([at for at, _ in readings])
    pulse = Pulse(clock=lambda: next(times))
    return [pulse.is_silent("one", count) for _, count in readings][-1]


def every_beat(seconds: float) -> list[tuple[float, int]]:
    return [(BEAT_S * number, 0) for number in range(int(seconds / BEAT_S) + 1)]


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        (every_beat(GRACE_S), False),
        (every_beat(GRACE_S + BEAT_S), True),
        ([*every_beat(GRACE_S), (GRACE_S + 2 * BEAT_S, 1)], False),
        ([(0.0, 0), (3 * GRACE_S, 0)], False),
    ],
    ids=["within the grace period", "after it", "with a new count", "after an outage"],
)
def test_a_process_is_silent_if_its_count_has_not_changed_for_the_grace_period(
    readings: list[tuple[float, int]], expected: bool
) -> None:
    assert is_silent_after(readings) == expected


def test_a_storage_that_cannot_be_reached_ends_no_process() -> None:
    beats: list[int] = []

    def beat(count: int) -> None:
        beats.append(count)
        raise StorageError("gone")

    with beating(beat):
        pass
    assert beats == [0]
