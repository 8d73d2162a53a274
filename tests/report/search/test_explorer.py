"""The data of the chart of all networks: every value stands on the axis of its kind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from run_requests import simulated_report

from mnv2search.accuracy.types import Accuracy
from mnv2search.evaluation import Evaluation
from mnv2search.report.html.page import page
from mnv2search.report.search.charts import charts
from mnv2search.report.search.explorer import MOST_OTHERS, explorer
from mnv2search.report.search.run import effort_text, run_json
from mnv2search.results.finetuning import Finetuned
from mnv2search.results.run_report import RunReport
from mnv2search.results.stages.block_times import BlockTimes
from mnv2search.spec.plan import plan
from mnv2search.study.results import result_of
from mnv2search.tasks.metrics import Metrics, share
from mnv2search.workflows.search.log import recall, recorded, space_of_run
from mnv2search.workflows.search.report.write import run_report_of

Network = Mapping[str, Any]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    return simulated_report(tmp_path_factory.mktemp("runs"))


def data_of(*runs: RunReport) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", json.loads(json.dumps(explorer(runs).data)))


def networks_of(data: Mapping[str, Any], group: str) -> Sequence[Network]:
    titles = [one["title"] for one in data["groups"]]
    return [one for one in data["networks"] if titles[one["group"]] == group]


def with_front(report: RunReport, front: Sequence[Evaluation]) -> RunReport:
    return replace(report, result=replace(report.result, front=tuple(front), ship=front[-1]))


def test_every_evaluated_network_is_shown_once(report: RunReport) -> None:
    data, result = data_of(report), report.result
    assert [one["name"] for one in networks_of(data, "front")] == [e.spec.name for e in result.front]
    assert len(networks_of(data, "other measured networks")) == len(result.dominated)
    assert len(networks_of(data, "MobileNetV2, width x resolution")) == len(result.baseline)


def test_values_have_the_intervals_of_both_axes(report: RunReport) -> None:
    first, shown = report.result.front[0], networks_of(data_of(report), "front")[0]
    assert first.latency is not None
    assert first.accuracy is not None
    latency = (first.latency.median_ms, first.latency.ci_low_ms, first.latency.ci_high_ms)
    accuracy = (100 * first.accuracy.value, 100 * first.accuracy.low, 100 * first.accuracy.high)
    assert shown["at"]["latency"] == pytest.approx(latency, rel=1e-4)
    assert shown["at"]["estimated top1 (imagenet-1k)"] == pytest.approx(accuracy, rel=1e-4)


def test_the_network_to_ship_is_selected_and_compared_with_the_best_mobilenet(report: RunReport) -> None:
    data = data_of(report)
    assert report.result.ship is not None
    assert data["networks"][data["selected"]]["name"] == report.result.ship.spec.name
    assert data["networks"][data["other"]]["name"].startswith("mobilenet_v2_")


def test_published_networks_have_no_latency(report: RunReport) -> None:
    published = networks_of(data_of(report), "published results, each with its own recipe")
    assert len(published) == 3
    assert all("latency" not in one["at"] for one in published)
    assert all("latency unknown" in one["said"][0] for one in published)


def test_times_of_stages_are_called_predicted_and_add_up_to_the_latency(report: RunReport) -> None:
    data = data_of(report)
    one = networks_of(data, "front")[0]
    assert "predicted" in data["runNotes"][0]["predicted"]
    assert sum(stage[-2] for stage in one["stages"]) == pytest.approx(one["at"]["latency"][0], rel=0.1)
    assert {stage[-1] for stage in one["stages"]} == {None}


def test_measured_times_of_stages_are_added_up_from_units_and_called_measured(report: RunReport) -> None:
    first = report.result.front[0].spec
    units = len(plan(first).units)
    times = BlockTimes(
        network=first.name, units_ms=(0.5,) * units, other_ms=0.25, runs=20, runtime="onnxruntime 1.32.0"
    )
    measured, other = networks_of(data_of(replace(report, block_times=(times,))), "front")[:2]
    assert sum(stage[-1] for stage in measured["stages"]) == pytest.approx(0.5 * units)
    assert "measured by the profiler of onnxruntime 1.32.0" in measured["timed"]
    assert f"All steps take {0.5 * units + 0.25:.2f} ms" in measured["timed"]
    assert other["timed"] == ""


def test_times_that_do_not_fit_the_network_are_left_out(report: RunReport) -> None:
    name = report.result.front[0].spec.name
    times = BlockTimes(network=name, units_ms=(0.5,), other_ms=0.0, runs=20, runtime="onnxruntime 1.32.0")
    one = networks_of(data_of(replace(report, block_times=(times,))), "front")[0]
    assert one["timed"] == ""


def test_every_evaluated_network_has_its_diagram(report: RunReport) -> None:
    data = data_of(report)
    assert all(f"Block diagram of {one['name']}<" in one["diagram"] for one in networks_of(data, "front"))
    published = networks_of(data, "published results, each with its own recipe")
    assert {one["diagram"] for one in published} == {""}


def test_scales_are_powers_of_two_at_every_resolution(report: RunReport) -> None:
    data = data_of(report)
    scales = {data["lines"][stage[3]] for one in data["networks"] for stage in one["stages"]}
    assert scales == {"stem", "1/2", "1/4", "1/8", "1/16", "1/32", "last", "head"}


def test_accuracies_of_different_kinds_are_on_different_axes(report: RunReport) -> None:
    trained = Accuracy(value=0.7, low=0.6, high=0.8, metric="top1", kind="trained", dataset="mine")
    own = [replace(report.result.front[0], accuracy=trained)]
    data = data_of(with_front(report, own))
    assert data["y"] == "trained top1 (mine)"
    assert [one["name"] for one in data["networks"] if data["y"] in one["at"]] == [own[0].spec.name]


def test_a_score_is_not_called_an_accuracy(report: RunReport) -> None:
    score = Accuracy(value=31.5, low=31.5, high=31.5, metric="naswot score", kind="proxy", dataset="none")
    data = data_of(with_front(report, [replace(report.result.front[0], accuracy=score)]))
    assert data["y"] == "proxy naswot score (no accuracy)"
    assert networks_of(data, "front")[0]["at"][data["y"]] == [31.5, 31.5, 31.5]


def test_commands_take_the_file_of_a_network_quoted(report: RunReport) -> None:
    data = data_of(report)
    first = networks_of(data, "front")[0]
    assert Path(first["file"]).is_file()
    assert networks_of(data, "other measured networks")[0]["file"] is None
    assert first["output"] == f"{first['name']}.onnx"


def test_of_many_networks_an_even_choice_is_shown_and_said(report: RunReport) -> None:
    many = replace(report.result, dominated=report.result.dominated[:1] * (2 * MOST_OTHERS))
    shown = explorer([replace(report, result=many)])
    assert f"1,500 of the {2 * MOST_OTHERS:,} other measured networks are shown" in shown.notes[1]


def test_runs_with_accuracies_of_different_kinds_are_told_apart(report: RunReport) -> None:
    trained = Accuracy(value=0.7, low=0.6, high=0.8, metric="top1", kind="trained", dataset="mine")
    own = with_front(report, [replace(report.result.front[0], accuracy=trained)])
    other = replace(own, folder=Path("other"))
    assert (
        "other has trained top1 (mine), not estimated top1 (imagenet-1k): these are not compared with one another; "
        "to see the networks of other, choose its accuracy as the vertical axis."
    ) in explorer([report, other]).notes
    assert not [
        note for note in explorer([report, replace(report, folder=Path("other"))]).notes if "compared" in note
    ]


def test_the_error_of_predictions_is_the_same_everywhere(report: RunReport) -> None:
    error = report.result.predictor_error
    assert error is not None
    text = f"mean prediction error {100 * error:.1f} %"
    predictions = next(chart for chart in charts(report) if chart.title == "Predicted and measured latency")
    result = replace(report.result, predicted=5)
    assert text in data_of(report)["runNotes"][0]["predicted"]
    assert text in predictions.notes[0]
    assert text in effort_text(result)
    assert run_json(result, folder=Path("x"), status="finished")["predictor_error"] == error


def test_texts_of_a_run_cannot_end_the_block_of_data(report: RunReport) -> None:
    first = report.result.front[0]
    named = replace(first.spec, name="<script>alert(1)")
    accuracy = Accuracy(
        value=0.7, low=0.6, high=0.8, metric="top1", kind="trained", dataset="</script><script>alert(2)\x1b[2J"
    )
    hostile = replace(first, spec=named, accuracy=accuracy)
    text = page("a", [explorer([with_front(report, [hostile])])])
    assert "<script>alert" not in text
    assert "\x1b" not in text


def test_a_run_that_is_read_again_has_the_same_data(report: RunReport) -> None:
    manifest, result = recall(report.folder)
    assert result == replace(result_of(report.items, elapsed_s=result.elapsed_s), has_whole_baseline=True)
    assert data_of(run_report_of(report.folder, manifest, result, None)) == data_of(report)
    assert recorded(report.folder, space_of_run(report.folder, manifest)) == report.items


def test_a_network_that_was_trained_separately_has_both_accuracies(report: RunReport) -> None:
    """Before: estimated for all networks. After: trained, on an axis of its own."""
    trained = Metrics(main=share("top1", 0.8, 100), count=100)
    networks = report.result.front[:2]
    finetuned = Finetuned(
        recipe="modern",
        networks=networks,
        held_out=(trained, trained),
        steps=(9, 9),
        images=100,
        best=0,
        test=trained,
        weights=Path("ship.pt"),
    )
    data = data_of(replace(report, finetuned=finetuned))
    axis = next(one["key"] for one in data["axes"] if one["key"].startswith("trained top1 after a separate training"))
    known = [one["name"] for one in data["networks"] if axis in one["at"]]
    assert known == [e.spec.name for e in networks]
    assert data["networks"][data["selected"]]["name"] == networks[0].spec.name
    assert data["y"] == "estimated top1 (imagenet-1k)"
    first = networks_of(data, "front")[0]
    assert first["at"][axis][0] == pytest.approx(80.0)
    assert first["said"][0].startswith("trained top1 80.0")
    assert first["said"][0].endswith("after a separate training")
    assert first["said"][1].startswith("estimated top1")
    assert first["file"].endswith("ship.yaml")
