"""Budgets, and the order in which a network is weighed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mnv2search.accuracy.evaluator import AccuracyEvaluator, Report
from mnv2search.accuracy.registry import open_evaluator
from mnv2search.accuracy.types import Accuracy, EvaluatorInfo
from mnv2search.cost import Cost, cost_of
from mnv2search.errors import OptionError
from mnv2search.evaluation import Budget, Evaluation, completed, evaluate_spec
from mnv2search.latency.registry import open_device
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.yaml.codec import load_spec

COST = Cost(params=100, params_no_bn=90, madds=1000, peak_activation_bytes=400, size_bytes=360)


class Refusing:
    """An evaluator that must not be asked."""

    info = EvaluatorInfo(name="refusing", version="1", kind="reported", dataset="none", metric="top1")

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        raise AssertionError("asked for the accuracy of a network that does not fit")


def weighed(evaluator: AccuracyEvaluator, budget: Budget) -> Evaluation:
    """A published network on the simulated device."""
    with open_device("simulated") as device:
        return evaluate_spec(load_spec("mobilenet_v2_0.5_160"), device=device, evaluator=evaluator, budget=budget)


@pytest.mark.parametrize(
    ("caps", "excess"),
    [
        ({}, 0.0),
        ({"params": 100}, 0.0),
        ({"params": 50}, 1.0),
        ({"params": 50, "madds": 500}, 2.0),
        ({"peak_activation_bytes": 200, "size_bytes": 360}, 1.0),
    ],
)
def test_excess_over_the_caps_adds_up(caps: dict[str, int], excess: float) -> None:
    assert Budget(latency_ms=1.0, **caps).cost_violation(COST) == pytest.approx(excess)


def test_the_upper_end_is_held_against_the_budget_and_the_median_against_the_band() -> None:
    budget = Budget(latency_ms=10.0, latency_min_ms=8.0)
    assert budget.latency_violation(9.9, high_ms=10.5) == pytest.approx(0.05)
    assert budget.latency_violation(9.9, high_ms=10.0) == 0
    assert budget.latency_violation(6.0) == pytest.approx(0.25)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_limit_that_is_no_positive_number_is_refused(value: float) -> None:
    with pytest.raises(OptionError, match="latency_ms is"):
        Budget(latency_ms=value)


def test_an_empty_band_is_refused() -> None:
    with pytest.raises(OptionError, match="band from 9 to 9 ms is empty"):
        Budget(latency_ms=9.0, latency_min_ms=9.0)


def test_a_network_that_fits_gets_an_accuracy() -> None:
    found = weighed(open_evaluator("imagenet"), Budget(latency_ms=100.0))
    assert found.is_feasible
    assert found.accuracy is not None
    assert found.accuracy.kind == "estimated"


def test_a_predicted_latency_is_never_feasible() -> None:
    with open_device("simulated") as device:
        spec, budget = load_spec("mobilenet_v2_0.5_160"), Budget(latency_ms=100.0)
        measured = device.measure(spec)
    found = completed(spec, cost=cost_of(spec), latency=measured, budget=budget, seed=0)
    assert found.is_feasible
    predicted = replace(measured, kind="predicted")
    asked = completed(spec, cost=cost_of(spec), latency=predicted, budget=budget, seed=0, evaluator=Refusing())
    assert asked.violation == 0
    assert not asked.is_feasible
    assert not replace(found, latency=None).is_feasible


def test_a_network_over_a_cap_is_neither_measured_nor_evaluated() -> None:
    found = weighed(Refusing(), Budget(latency_ms=100.0, params=1000))
    assert found.latency is None
    assert not found.is_feasible


def test_a_slow_network_is_measured_but_not_evaluated() -> None:
    found = weighed(Refusing(), Budget(latency_ms=0.01))
    assert found.latency is not None
    assert found.violation > 0
    assert found.accuracy is None
