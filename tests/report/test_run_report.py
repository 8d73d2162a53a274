"""The answer at the end of a run: what to ship, or what to give up."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mnv2search.accuracy.registry import open_evaluator
from mnv2search.evaluation import Budget, Evaluation, evaluate
from mnv2search.latency.registry import open_device
from mnv2search.report.rows import cost_rows, front_rows
from mnv2search.report.run import nothing_fits_lines
from mnv2search.report.table import draw
from mnv2search.spec.codec import load_spec
from mnv2search.study.results import result_of
from mnv2search.study.types import Evaluated


def weighed(budget: Budget) -> Evaluation:
    with open_device("simulated") as device:
        return evaluate(
            load_spec("mobilenet_v2_0.35_96"), device=device, evaluator=open_evaluator("imagenet"), budget=budget
        )


def told(budget: Budget, *, status: str = "nothing fits") -> str:
    item = Evaluated(trial=0, stage="search", pick=(0,), evaluation=weighed(budget))
    return "\n".join(nothing_fits_lines(result_of([item], elapsed_s=1.0), budget=budget, status=status))


def test_the_latency_that_would_do_really_would() -> None:
    words = told(Budget(latency_ms=0.1)).split("--latency-ms to ")[1]
    assert weighed(Budget(latency_ms=float(words.split()[0]))).is_feasible


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (Budget(latency_ms=5.0, latency_min_ms=4.5), "faster than 4.5 ms"),
        (Budget(latency_ms=0.1, latency_min_ms=0.05), "raise --latency-ms"),
        (Budget(latency_ms=5.0, params=10), "raise the limit of params from 10 to 1,678,409"),
        (Budget(latency_ms=5.0, params=10), "excluded the one network that the search looked at"),
    ],
)
def test_what_to_give_up_is_the_limit_that_is_broken(budget: Budget, said: str) -> None:
    assert said in told(budget)


def test_limits_that_exclude_everything_are_said_with_the_counts_that_come_nearest() -> None:
    near = weighed(Budget(latency_ms=5.0, params=10))
    assert f"{near.spec.name} with params {near.cost.params:,}" in told(Budget(latency_ms=5.0, params=10))


def test_time_that_ran_out_before_anything_was_looked_at_is_not_laid_to_the_budget() -> None:
    lines = [*nothing_fits_lines(result_of([], elapsed_s=1.0), budget=Budget(latency_ms=5.0), status="nothing fits")]
    assert len(lines) == 1
    assert lines[0].startswith("time ran out")


def test_a_run_without_its_final_measurement_is_not_said_to_fit_nothing() -> None:
    assert "nothing fits" not in told(Budget(latency_ms=5.0), status="interrupted")


@pytest.mark.parametrize("width", [40, 80, 100])
def test_no_number_is_broken_in_two_on_a_narrow_terminal(width: int) -> None:
    out = io.StringIO()
    draw(cost_rows([load_spec("mobilenet_v2_1.0_224")]), Console(file=out, width=width))
    assert "13,956" in out.getvalue()
    assert "300.8" in out.getvalue()


def test_an_estimate_is_called_one_and_a_measurement_too() -> None:
    rows = front_rows([weighed(Budget(latency_ms=5.0))])
    headings = " ".join(column.title for column in rows.columns)
    assert "estimated top1" in headings
    assert "measured latency" in headings
    assert any("not a training result" in note for note in rows.notes)
