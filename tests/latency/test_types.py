"""A latency against a budget, and the identity of a device."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from mnv2search.errors import LatencyError
from mnv2search.latency.types import PASSING, DeviceInfo, Latency, Verdict
from mnv2search.report.rows import device_text

INFO = DeviceInfo(name="fake", hardware="none", runtime="fake", runtime_version="1")
TEN = Latency(
    median_ms=10.0,
    ci_low_ms=9.8,
    ci_high_ms=10.2,
    p90_ms=11.0,
    samples=50,
    dropped=0,
    kind="measured",
    device=INFO,
    taken_at="2026-01-01T00:00:00+00:00",
)


@pytest.mark.parametrize(
    ("budget_ms", "verdict"),
    [(10.2, "fits"), (10.19, "undecided"), (9.8, "undecided"), (9.79, "does not fit")],
)
def test_the_whole_interval_decides(budget_ms: float, verdict: Verdict) -> None:
    assert TEN.verdict(budget_ms) == verdict


@pytest.mark.parametrize("name", [f.name for f in fields(DeviceInfo) if f.name not in PASSING])
def test_any_difference_between_devices_changes_the_fingerprint(name: str) -> None:
    other = 7 if isinstance(getattr(INFO, name), int) else "other"
    changes: dict[str, object] = {name: other}
    assert replace(INFO, **changes).fingerprint != INFO.fingerprint  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"system": "Linux 7"}, {"temperature_c": 50.0}], ids=["system", "temperature"])
def test_what_changes_from_day_to_day_leaves_the_fingerprint(change: dict[str, object]) -> None:
    assert replace(INFO, **change).fingerprint == INFO.fingerprint  # type: ignore[arg-type]


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    assert INFO.fingerprint == "ed5c9d981e08"


def test_ranges_of_random_images_are_called_so() -> None:
    shown = device_text([replace(TEN, device=replace(INFO, dtype="int8"))])
    assert "int8 with ranges from random images, batch 1" in shown


@pytest.mark.parametrize("name", ["median_ms", "ci_low_ms", "ci_high_ms", "p90_ms"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(name: str, value: float) -> None:
    with pytest.raises(LatencyError, match="is not a time"):
        replace(TEN, **{name: value})  # type: ignore[arg-type]


def test_a_median_outside_of_its_interval_is_refused() -> None:
    with pytest.raises(LatencyError, match="not within its interval"):
        replace(TEN, median_ms=10.3)
