"""Charts of a search: the right numbers, and none without enough networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from run_requests import simulated_report

from mnv2search.accuracy.types import Accuracy
from mnv2search.evaluation import Evaluation
from mnv2search.report.html.page import Chart
from mnv2search.report.search.charts import charts
from mnv2search.results.run_report import Importance, RunReport
from mnv2search.study.results import median_ms_of


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    made = simulated_report(tmp_path_factory.mktemp("runs"))
    importance = Importance("width", 0.7, ("0.5", "1.0"), (("0.5", 0.6), ("1.0", 0.7)))
    return replace(made, importances=(importance, importance._replace(at="resolution", share=0.3)))


def chart(report: RunReport, title: str) -> Chart:
    return next(one for one in charts(report) if one.title == title)


def trace(found: Chart, number: int) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", found.traces[number])


def test_the_hypervolume_never_falls_and_ends_at_the_number_of_networks(report: RunReport) -> None:
    line = trace(chart(report, "Progress of the search"), 0)
    known = [i for i in report.items if i.stage in ("calibration", "search") and i.evaluation.is_feasible]
    assert list(line["y"]) == sorted(line["y"])
    assert line["y"][-1] > 0
    assert line["x"][-1] == len(known)


@pytest.mark.parametrize("created_at", ["yesterday", "2026-01-01T00:00:00"], ids=["no time", "no time zone"])
def test_a_damaged_time_leaves_out_the_time_alone(report: RunReport, created_at: str) -> None:
    found = chart(replace(report, manifest=replace(report.manifest, created_at=created_at)), "Progress of the search")
    assert [one.get("xaxis") for one in found.traces] == [None, None]
    assert "xaxis2" not in found.layout


def test_predictions_are_of_networks_that_were_left_out(report: RunReport) -> None:
    found = chart(report, "Predicted and measured latency")
    points = trace(found, 1)
    assert points["x"] == pytest.approx([median_ms_of(e) for e in report.result.measured], rel=1e-4)
    errors = [abs(p / m - 1) for p, m in zip(points["y"], points["x"], strict=True)]
    assert f"error {100 * sum(errors) / len(errors):.1f} %" in found.notes[0]
    assert max(errors) > 0.001


def test_options_are_in_the_order_of_the_space(report: RunReport) -> None:
    found = chart(report, "Accuracy by choice")
    axis = cast("Mapping[str, object]", found.layout["xaxis"])
    assert axis["categoryarray"] == ["0.5", "1.0"]
    assert trace(found, 0)["y"] == [60.0, 70.0]
    assert [one["xaxis"] for one in map(dict, found.traces)] == ["x", "x2"]


def with_scores(evaluations: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
    score = Accuracy(value=7.0, low=7.0, high=7.0, metric="naswot score", kind="proxy", dataset="none")
    return tuple(replace(e, accuracy=score) for e in evaluations)


def test_a_score_has_no_percent(report: RunReport) -> None:
    front = with_scores(report.result.front)
    scored = replace(report, result=replace(report.result, front=front, ship=front[-1], baseline=()))
    axis = cast("Mapping[str, Mapping[str, str]]", chart(scored, "Accuracy by choice").layout["yaxis"])
    assert axis["title"]["text"] == "proxy naswot score (no accuracy)"
    axis = cast("Mapping[str, Mapping[str, str]]", chart(scored, "Progress of the search").layout["yaxis"])
    assert axis["title"]["text"] == "hypervolume"


def test_few_networks_have_no_charts(report: RunReport) -> None:
    few = replace(report.result, dominated=(), baseline=(), front=report.result.front[:2])
    assert list(charts(replace(report, result=few, items=report.items[:3], importances=()))) == []
