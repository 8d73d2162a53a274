"""What orders the networks of a search."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mnv2search.accuracy.types import Accuracy
from mnv2search.cost import cost_of
from mnv2search.evaluation import Budget, Evaluation, completed
from mnv2search.latency.registry import open_device
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.study.results import finalists_of, front_of, rank_of, result_of, slots_of
from mnv2search.study.types import Evaluated


def accuracy(value: float, *, merit: float | None = None) -> Accuracy:
    return Accuracy(
        value=value, low=value - 0.1, high=value + 0.1, metric="top1", kind="inherited", dataset="mine", merit=merit
    )


@pytest.fixture(scope="module")
def measured() -> list[Evaluation]:
    """Three networks, fastest first."""
    with open_device("simulated") as device:
        specs = [load_spec(f"mobilenet_v2_{name}") for name in ("0.35_96", "0.5_128", "0.75_160")]
        return [
            completed(spec, cost=cost_of(spec), latency=device.measure(spec), budget=Budget(latency_ms=100.0), seed=0)
            for spec in specs
        ]


def test_accuracies_are_ranked_by_the_lower_end_of_their_interval(measured: list[Evaluation]) -> None:
    one = replace(measured[0], accuracy=accuracy(0.5))
    assert rank_of(one) == pytest.approx(0.4)
    assert rank_of(measured[0]) == 0.0


def test_a_merit_ranks_the_networks_that_no_faster_one_beats_in_accuracy(measured: list[Evaluation]) -> None:
    told = [(0.60, 0.2), (0.58, 0.5), (0.70, 0.4)]
    items = [
        replace(evaluation, accuracy=accuracy(value, merit=merit))
        for evaluation, (value, merit) in zip(measured, told, strict=True)
    ]
    assert front_of(items) == tuple(items[:2])
    result = result_of([Evaluated(trial=-1, stage="final", pick=(), evaluation=e) for e in items], elapsed_s=0.0)
    assert result.front == (items[0], items[2])
    assert result.ship is items[2]


def test_what_does_not_beat_a_trivial_answer_is_left_out_while_others_do(measured: list[Evaluation]) -> None:
    items = [
        replace(evaluation, accuracy=replace(accuracy(value, merit=value), commonest=0.3))
        for evaluation, value in zip(measured, (0.2, 0.4, 0.5), strict=True)
    ]
    final = [Evaluated(trial=-1, stage="final", pick=(), evaluation=e) for e in items]
    assert result_of(final, elapsed_s=0.0).front == tuple(items[1:])
    assert result_of(final[:1], elapsed_s=0.0).front == (items[0],)


def test_rivals_are_those_of_the_last_final_measurement_that_fit(measured: list[Evaluation]) -> None:
    tight = replace(measured[1], budget=Budget(latency_ms=1e-6))
    items = [
        Evaluated(trial=-1, stage="final-baseline", pick=(), evaluation=measured[2]),
        Evaluated(trial=0, stage="search", pick=(0,), evaluation=measured[0]),
        Evaluated(trial=-1, stage="final-baseline", pick=(), evaluation=measured[0]),
        Evaluated(trial=-1, stage="final-baseline", pick=(), evaluation=tight),
    ]
    assert result_of(items, elapsed_s=0.0).rivals == (measured[0],)


def test_a_merit_is_a_finite_number() -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        accuracy(0.5, merit=float("nan"))


def at(measured: list[Evaluation], ms: float, merit: float) -> Evaluation:
    """A network of that latency and merit; named after both, so that no two are the same."""
    latency = measured[0].latency
    assert latency is not None
    return replace(
        measured[0],
        spec=replace(measured[0].spec, name=f"at{ms:g}with{merit:g}"),
        latency=replace(latency, median_ms=ms, ci_low_ms=ms, ci_high_ms=ms, p90_ms=ms),
        accuracy=accuracy(0.5, merit=merit),
    )


def test_slots_are_of_equal_ratios_and_begin_with_their_best(measured: list[Evaluation]) -> None:
    known = [
        at(measured, ms, merit) for ms, merit in ((30, 0.9), (36, 0.3), (40, 0.4), (58, 0.2), (99, 0.1), (101, 0.9))
    ]
    slots = slots_of(known, count=2)  # 35 to 59.2 ms, and to 100
    assert [[e.spec.name for e in slot] for slot in slots] == [
        ["at40with0.4", "at36with0.3", "at58with0.2"],
        ["at99with0.1"],
    ]


def test_finalists_of_the_region_hold_the_best_of_every_latency(measured: list[Evaluation]) -> None:
    small = [at(measured, 36, 0.5), at(measured, 37, 0.49), at(measured, 38, 0.48)]
    large = [at(measured, 80, 0.3), at(measured, 97, 0.4), at(measured, 98, 0.35), at(measured, 99, 0.2)]
    outside = at(measured, 20, 0.6)
    known = [*large, *small, outside]
    chosen = finalists_of(known, budget_ms=100.0, of_region=True)
    assert chosen == (small[0], small[1], large[0], large[1], large[2])
    assert finalists_of(known, budget_ms=100.0, of_region=False) == (outside,)


def test_finalists_are_no_more_than_can_be_measured(measured: list[Evaluation]) -> None:
    known = [at(measured, 36 + i, 0.3 + 0.001 * i) for i in range(60)]
    assert len(finalists_of(known, budget_ms=100.0, of_region=True)) == 14


def test_a_grid_is_whole_only_with_all_of_its_networks(measured: list[Evaluation]) -> None:
    items = [Evaluated(trial=-1, stage="baseline", pick=(), evaluation=e) for e in measured]
    grid = [measured[0].spec, load_spec("mobilenet_v2_1.4_224")]
    found = result_of(items, grid=grid, elapsed_s=0.0)
    assert not found.has_whole_baseline
    assert found.given == 2
    assert result_of(items, grid=grid[:1], elapsed_s=0.0).has_whole_baseline
