"""The profile of a device, and predictions held against measurements."""

from __future__ import annotations

import pytest
from clocks import CountingClock

from mnv2search.errors import OptionError
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.prediction.predictor import LatencyPredictor
from mnv2search.latency.registry import open_device
from mnv2search.report.devices import audit_lines, profile_lines
from mnv2search.report.plot import audit_png
from mnv2search.spec.plan import plan
from mnv2search.spec.yaml.codec import load_space
from mnv2search.workflows.devices.profile import audit, build_profile, candidates_of, profile_device, unseen

DEVICE = "simulated:noise=0.01"


def test_a_profile_predicts_networks_that_it_has_not_seen() -> None:
    profile = profile_device(device=DEVICE, spaces=["mnv2"], time_s=6.0, clock=CountingClock(0.25))
    found = audit(device=DEVICE, space="mnv2", count=40)
    assert found.learned_from == profile.measured >= 24
    assert found.within(0.05) >= 0.9
    assert found.within(0.10) >= 0.97
    assert (found.spearman or 0) > 0.99


def test_a_profile_goes_on_where_the_last_one_ended() -> None:
    first = profile_device(device=DEVICE, spaces=["tiny32"], time_s=1.5, clock=CountingClock(0.1))
    second = profile_device(device=DEVICE, spaces=["tiny32"], time_s=1.5, seed=1, clock=CountingClock(0.1))
    assert (second.kept > 0, second.dropped_earlier) == (True, False)
    assert second.kept <= first.measured


def test_a_fresh_profile_forgets_the_last_one() -> None:
    profile_device(device=DEVICE, spaces=["tiny32"], time_s=1.5, clock=CountingClock(0.1))
    assert (
        profile_device(device=DEVICE, spaces=["tiny32"], time_s=1.5, refresh=True, clock=CountingClock(0.1)).kept == 0
    )


def test_time_ends_a_profile() -> None:
    told: list[float] = []
    with open_device("simulated") as device:
        measured, elapsed_s, _ = build_profile(
            device,
            LatencyPredictor(device.info),
            [load_space("tiny32")],
            cache=LatencyCache(),
            time_s=20.0,
            on_progress=lambda share, _: told.append(share),
            clock=CountingClock(2.0),
        )
    assert len(measured) == 12 * len(told)
    assert told == sorted(told)
    assert elapsed_s >= 0.97 * 20


def test_no_space_is_a_mistake() -> None:
    with pytest.raises(OptionError, match="no space to profile"):
        profile_device(device="simulated", spaces=[], time_s=1.0)


def test_candidates_come_from_every_space_and_once() -> None:
    spaces = [load_space("mnv2"), load_space("tiny32")]
    found = candidates_of(spaces, seed=0)
    assert len(found) == len(set(found))
    assert {spec.size.height <= 32 for spec in found} == {True, False}


def test_an_audit_takes_networks_that_were_not_learned_from() -> None:
    space = load_space("mnv2")
    with open_device("simulated") as device:
        predictor = LatencyPredictor(device.info)
        known = unseen(space, predictor, count=30, seed=0)
        predictor.fit([(spec, device.measure(spec).median_ms) for spec in known])
        fresh = unseen(space, predictor, count=30, seed=0)
    assert not set(known) & set(fresh)
    assert [predictor.has_seen(plan(spec)) for spec in (known[0], fresh[0])] == [True, False]


def test_a_space_that_was_learned_whole_cannot_be_audited() -> None:
    space = load_space("mnv2-multipliers")
    with open_device("simulated") as device:
        predictor = LatencyPredictor(device.info)
        everything = candidates_of([space] * 10, seed=0)
        predictor.fit([(spec, 1.0 + i) for i, spec in enumerate(everything)])
        with pytest.raises(OptionError, match="already fitted to every network of mnv2-multipliers"):
            unseen(space, predictor, count=3, seed=0)


def test_an_audit_says_when_nothing_was_learned() -> None:
    found = audit(device=DEVICE, space="mnv2", count=3)
    assert any("build its profile with mnv2search device-profile" in line for line in audit_lines(found))


def test_the_lines_of_an_audit_name_device_figures_and_counts() -> None:
    found = audit(device=DEVICE, space="mnv2", count=3)
    lines = "\n".join(audit_lines(found))
    assert "simulated 1 on none (local), 1 thread, fp32" in lines
    assert "3 networks of mnv2, not among the 0 that the predictor was fitted to" in lines
    assert f"mean prediction error {100 * found.mean_error:.1f} %" in lines


def test_the_plot_of_an_audit_is_a_png() -> None:
    assert audit_png(audit(device=DEVICE, space="mnv2", count=2)).startswith(b"\x89PNG")


def test_the_lines_of_a_profile_say_what_was_dropped() -> None:
    profile = profile_device(device="simulated", spaces=["tiny32"], time_s=1.0, clock=CountingClock(0.1))
    assert any(
        line.startswith(f"{profile.measured} networks of tiny32 measured in") for line in profile_lines(profile)
    )
