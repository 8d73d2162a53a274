"""What orders the networks of a search."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mnv2search.accuracy.types import Accuracy
from mnv2search.cost import cost_of
from mnv2search.evaluation import Budget, Evaluation, completed
from mnv2search.latency.registry import open_device
from mnv2search.spec.codec import load_spec
from mnv2search.study.results import front_of, rank_of, result_of
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


def test_a_merit_decides_where_there_is_one(measured: list[Evaluation]) -> None:
    told = [(0.60, 0.2), (0.58, 0.5), (0.70, 0.4)]
    items = [
        replace(evaluation, accuracy=accuracy(value, merit=merit))
        for evaluation, (value, merit) in zip(measured, told, strict=True)
    ]
    assert front_of(items) == tuple(items[:2])
    result = result_of([Evaluated(trial=-1, stage="final", pick=(), evaluation=e) for e in items], elapsed_s=0.0)
    assert result.ship is items[1]


def test_a_merit_is_a_finite_number() -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        accuracy(0.5, merit=float("nan"))
