"""From visits to a latency."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2search.latency.measuring.estimate import Visit, estimate, quantile, reference_level_ms, visit_of

MS = 1_000_000


def visit(level_ms: float, reference_ms: float = 2.0) -> Visit:
    return Visit(
        level_ms=level_ms,
        median_ms=1.01 * level_ms,
        p90_ms=1.1 * level_ms,
        reference_ms=reference_ms,
        samples=10,
        dropped=1,
        preempted=1,
    )


@given(st.lists(st.floats(0.1, 1e3), min_size=1, max_size=30), st.floats(0, 1))
def test_a_quantile_lies_among_the_values(values: list[float], share: float) -> None:
    assert min(values) <= quantile(values, share) <= max(values)


def test_the_median_is_the_undisturbed_level_times_what_quiet_bursts_show() -> None:
    found = estimate([visit(5.0)] * 8, 2.0)
    assert found.median_ms == pytest.approx(5.05)
    assert found.p90_ms == pytest.approx(5.5)
    assert (found.samples, found.dropped) == (80, 8)


def test_one_visit_says_less_than_many() -> None:
    widths = [estimate([visit(5.0)] * n, 2.0, earlier=32).half_width for n in (1, 2, 4, 8, 30)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 0.03
    assert widths[-1] < 0.025


def test_the_first_processes_on_a_device_are_less_sure_than_later_ones() -> None:
    found = [estimate([visit(5.0)] * 30, 2.0, earlier=n) for n in (0, 1, 5, 32)]
    assert [one.half_width for one in found] == sorted((one.half_width for one in found), reverse=True)
    assert found[0].half_width > 0.03
    assert len({one.scatter for one in found}) == 1


def test_visits_that_scatter_widen_the_interval() -> None:
    steady, scattered = [visit(5.0)] * 10, [visit(5.0 + 0.2 * i) for i in range(10)]
    assert estimate(scattered, 2.0).scatter > 2 * estimate(steady, 2.0).scatter


def test_an_outlier_does_not_move_the_median() -> None:
    assert estimate([visit(5.0)] * 9 + [visit(9.0)], 2.0).median_ms == pytest.approx(5.05)


def test_slow_spells_are_taken_off() -> None:
    quiet, slow = [visit(5.0)] * 6, [visit(6.0, reference_ms=3.0)] * 9
    assert estimate(quiet + slow, 2.0).median_ms == pytest.approx(5.05, rel=0.01)


def test_a_machine_that_is_always_slow_is_noisy_and_its_interval_wide() -> None:
    found = estimate([visit(6.0, reference_ms=3.0)] * 20, 2.0)
    assert found.noisy
    assert found.half_width > 0.08


def test_a_network_that_slows_down_with_the_reference_is_brought_back_nearly_all_the_way() -> None:
    shared = [visit(5.0 * slow, reference_ms=2.0 * slow) for slow in (1.05, 1.6, 1.1, 1.8, 1.3, 1.05, 1.7) * 20]
    assert estimate(shared, 2.0).median_ms == pytest.approx(5.05, rel=0.04)


def test_a_network_that_does_not_feel_what_the_reference_feels_is_left_nearly_as_it_is() -> None:
    deaf = [visit(5.0, reference_ms=2.0 * slow) for slow in (1.05, 1.6, 1.1, 1.8, 1.3, 1.05, 1.7) * 20]
    assert estimate(deaf, 2.0).median_ms == pytest.approx(5.05, rel=0.04)


@given(st.floats(0.01, 100), st.lists(st.floats(1.0, 1.3), min_size=1, max_size=12))
def test_the_estimate_scales_with_the_unit(scale: float, levels: list[float]) -> None:
    small = estimate([visit(level) for level in levels], 2.0)
    large = estimate([visit(level * scale) for level in levels], 2.0)
    assert large.median_ms == pytest.approx(small.median_ms * scale)
    assert large.half_width == pytest.approx(small.half_width)


def test_runs_whose_wall_time_exceeds_their_cpu_time_are_dropped() -> None:
    runs = [(5 * MS, 5 * MS)] * 6 + [(9 * MS, 6 * MS)] * 2
    found = visit_of(runs, 2.0, by_cpu=True)
    assert (found.samples, found.dropped, found.median_ms) == (6, 2, 5.0)


def test_short_runs_may_exceed_it_by_the_clocks_own_time() -> None:
    runs = [(MS // 10 + 20_000, MS // 10)] * 6
    assert visit_of(runs, 2.0, by_cpu=True).dropped == 0


def test_one_quiet_process_does_not_settle_what_the_reference_can_do() -> None:
    assert reference_level_ms([2.5, 2.6, 2.7], [2.0] * 10) == pytest.approx(2.0)
    assert reference_level_ms([2.5] * 3) == pytest.approx(2.5)


def test_a_few_quiet_visits_outweigh_many_disturbed_ones() -> None:
    # what disturbed them slowed this network by twice what it slowed the reference: no slope takes that off
    disturbed = [visit(5.0 * 1.44, reference_ms=2.0 * 1.2)] * 15
    quiet = [visit(5.0)] * 5
    assert estimate([*disturbed, *quiet], 2.0).median_ms == pytest.approx(5.05, rel=0.01)


def test_runs_that_are_used_for_want_of_better_ones_count_as_samples() -> None:
    found = visit_of([(2 * MS, MS)] * 4, 2.0, by_cpu=True)
    assert (found.samples, found.dropped, found.preempted) == (4, 0, 4)
    assert estimate([found] * 9, 2.0).noisy
