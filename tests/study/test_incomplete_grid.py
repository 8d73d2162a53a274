"""A baseline of which only some networks were measured, as on a machine that was never measured on before."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from searches import run_search

from mnv2search.accuracy.registry import open_evaluator
from mnv2search.evaluation import Budget, Evaluation, evaluate_spec
from mnv2search.latency.registry import open_device
from mnv2search.report.search.run import run_json, run_rows, ship_lines
from mnv2search.spec.yaml.codec import load_space, load_spec
from mnv2search.study.baseline import baseline_grid
from mnv2search.study.latency_model import FEW
from mnv2search.study.results import result_of
from mnv2search.study.types import NEAR, Evaluated, SearchResult, Settings

BUDGET_MS = 5.0


def evaluated(name: str) -> Evaluation:
    """A published network on the simulated device: 0.35_96 takes 0.7 ms, 0.5_160 takes 2.3 ms, 1.0_160 5.3 ms."""
    with open_device("simulated") as device:
        return evaluate_spec(
            load_spec(f"mobilenet_v2_{name}"),
            device=device,
            evaluator=open_evaluator("imagenet"),
            budget=Budget(latency_ms=10.0),
        )


def result(*, measured: tuple[str, ...], grid: int = 30, final: tuple[str, ...] = ("1.0_160",)) -> SearchResult:
    """The result of a run that ships the first of `final`, with some networks of the grid."""
    baseline = [Evaluated(trial=-1, stage="baseline", pick=(), evaluation=evaluated(name)) for name in measured]
    front = [Evaluated(trial=-1, stage="final", pick=(), evaluation=evaluated(name)) for name in final]
    known = [item.evaluation.spec for item in baseline]
    others = [spec for spec in baseline_grid(load_space("mnv2")) if spec not in known]
    return result_of([*baseline, *front], grid=[*known, *others[: grid - len(known)]], elapsed_s=1.0)


def gains(found: SearchResult) -> list[bool]:
    """Whether the document of a run has a gain for each member of the front."""
    document = json.loads(json.dumps(run_json(found, folder=Path("results/mine"), status="finished")))
    return [member["gain"] is not None for member in document["front"]]


def test_no_gain_is_claimed_where_the_rival_near_the_budget_was_not_measured() -> None:
    found = result(measured=("0.35_96", "0.5_160", "1.4_224"))
    assert found.ship is not None
    assert found.rivals_of(found.ship) == ()
    said = "\n".join(ship_lines(found, folder=Path("results/mine")))
    assert "not compared with MobileNetV2: none of 3 measured networks of its grid is near this latency" in said
    assert "points" not in said
    assert gains(found) == [False]
    assert not any("gain" in column.title for column in run_rows(found).columns)


@pytest.mark.parametrize(("grid", "has_gains"), [(30, [True, False]), (2, [True, True])], ids=["part", "whole"])
def test_no_gain_is_claimed_for_a_member_far_from_the_measured_part(grid: int, has_gains: list[bool]) -> None:
    """1.0_160 has 0.75_160 near it; 0.5_160 at 2.3 ms has only 0.35_96 at 0.7 ms below it."""
    found = result(measured=("0.35_96", "0.75_160"), grid=grid, final=("1.0_160", "0.5_160"))
    rows = run_rows(found)
    place = next(i for i, column in enumerate(rows.columns) if "gain" in column.title)
    assert [bool(row[place]) for row in rows.rows] == has_gains
    assert gains(found) == has_gains[::-1]  # fastest first


@pytest.mark.parametrize(
    ("measured", "grid"), [(("0.35_96", "0.75_160"), 30), (("0.35_96", "0.5_160"), 2)], ids=["near", "whole"]
)
def test_a_gain_is_claimed_over_a_near_rival_or_the_whole_grid(measured: tuple[str, ...], grid: int) -> None:
    found = result(measured=measured, grid=grid)
    assert found.ship is not None
    assert len(found.rivals_of(found.ship)) == 2
    said = "\n".join(ship_lines(found, folder=Path("results/mine")))
    assert "points" in said
    assert "not compared" not in said


def test_where_time_is_over_at_once_the_networks_nearest_to_the_budget_are_measured() -> None:
    budget, clock = Budget(latency_ms=BUDGET_MS), itertools.count().__next__  # a second passes at every look
    found = run_search(load_space("mnv2"), budget=budget, settings=Settings(time_s=1.0), clock=clock)
    near = [e for e in found.baseline if e.latency and NEAR * BUDGET_MS <= e.latency.median_ms <= BUDGET_MS]
    assert len(found.baseline) == FEW
    assert near
