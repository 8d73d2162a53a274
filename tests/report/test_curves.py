"""Learning curves: the log of a training, and the charts that are drawn from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from mnv2search.accuracy.types import Accuracy
from mnv2search.cost import cost_of
from mnv2search.evaluation import Budget, Evaluation, completed
from mnv2search.report.curves import MOST_POINTS, Evaluated, candidates_chart, history_of, training_charts
from mnv2search.report.plot import from_zero, training_png
from mnv2search.spec.yaml.codec import load_spec

PNG = b"\x89PNG\r\n\x1a\n"


def line(step: int, loss: float, evaluated: dict[str, object]) -> bytes:
    """A line of a history."""
    return json.dumps({"step": step, "loss": loss, "evaluated": evaluated}).encode() + b"\n"


def curved(name: str, curve: tuple[tuple[int, float], ...], *, stopped: bool = False) -> Evaluation:
    spec = load_spec(name)
    made = completed(spec, cost=cost_of(spec), latency=None, budget=Budget(latency_ms=5.0), seed=0)
    accuracy = Accuracy(value=0.5, low=0.4, high=0.6, metric="map", kind="trained", dataset="mine")
    return replace(made, accuracy=None if stopped else accuracy, expected=0.1 if stopped else None, curve=curve)


@pytest.mark.parametrize(
    "evaluated",
    [
        {"metric": "map", "value": 0.3, "details": [["ap50", 0.5], ["cat", 0.3]], "count": 9},
        {"metric": "miou", "value": 0.3, "details": [["pixels", 0.5]], "count": 9},
        {"top1": 0.5, "loss": 1.0, "count": 9},
    ],
    ids=["detector", "segmenter", "classifier"],
)
def test_curves_are_drawn_of_every_kind_of_training(evaluated: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "h.jsonl").write_bytes(b"".join(line(step, 1.0, evaluated) for step in (5, 10)))
    history = history_of(tmp_path / "h.jsonl")
    assert len(history.evaluations) == 2
    assert training_png(history.evaluations, batch=8).startswith(PNG)
    metrics, loss = training_charts(history.evaluations, batch=8, best_step=10)
    assert [trace["x"] for trace in (*metrics.traces, *loss.traces)] == [[5, 10]] * (len(metrics.traces) + 1)
    assert (
        metrics.traces[0]["y"]
        == [100 * history.evaluations[0].figures[next(iter(history.evaluations[0].figures))]] * 2
    )


def test_axes_leave_a_margin_above_what_they_show() -> None:
    axes = Figure().subplots()
    axes.plot([0, 200], [1.5, 4.0])
    from_zero(axes)
    assert axes.get_xlim() == pytest.approx((0, 212))
    assert axes.get_ylim() == pytest.approx((0, 4.24))


def test_of_a_repeated_evaluation_the_last_counts(tmp_path: Path) -> None:
    lines = [line(step, loss, {"top1": 0.5}) for step, loss in ((10, 1.0), (5, 2.0), (10, 0.5))]
    (tmp_path / "h.jsonl").write_bytes(b"".join(lines))
    history = history_of(tmp_path / "h.jsonl")
    assert [(one.step, one.loss) for one in history.evaluations] == [(5, 2.0), (10, 0.5)]


def test_a_torn_last_line_of_a_history_is_passed_over(tmp_path: Path) -> None:
    whole = line(5, 1.0, {"top1": 0.5})
    (tmp_path / "h.jsonl").write_bytes(whole + whole[:-20])
    history = history_of(tmp_path / "h.jsonl")
    assert [one.step for one in history.evaluations] == [5]
    assert history.damaged == ()


@pytest.mark.parametrize(
    "damaged",
    [
        b"\n",
        b"torn\n",
        b"\xff\n",
        b"[5]\n",
        b"{}\n",
        b"[" * 100_000 + b"\n",
        b'{"step": 5, "loss": 1.0, "evaluated": null}\n',
        b'{"step": [], "loss": 1.0, "evaluated": {"top1": 0.5}}\n',
        b'{"step": 5, "loss": NaN, "evaluated": {"top1": 0.5}}\n',
        b'{"step": 5, "loss": 1.0, "evaluated": {"top1": 1e300}}\n',
        b'{"step": 1' + b"0" * 400 + b', "loss": 1.0, "evaluated": {"top1": 0.5}}\n',
        b'{"step": 5, "loss": 1' + b"0" * 400 + b', "evaluated": {"top1": 0.5}}\n',
        b'{"step": 5, "loss": 1.0, "evaluated": {"metric": "$_$", "value": 0.5, "details": []}}\n',
        b'{"step": 5, "loss": 1.0, "evaluated": {"metric": [], "value": 0.5, "details": []}}\n',
        b'{"step": 5, "loss": 1.0, "evaluated": {"metric": "map", "value": "high", "details": []}}\n',
    ],
    ids=[
        "empty",
        "no JSON",
        "no UTF-8",
        "a list",
        "no step",
        "deep",
        "no figures",
        "a list as step",
        "NaN",
        "a huge share",
        "a huge step",
        "a huge loss",
        "another metric",
        "a list as metric",
        "text as value",
    ],
)
def test_damaged_lines_of_a_history_are_left_out_and_counted(damaged: bytes, tmp_path: Path) -> None:
    (tmp_path / "h.jsonl").write_bytes(line(5, 1.0, {"top1": 0.5}) + damaged + line(10, 0.5, {"top1": 0.6}))
    history = history_of(tmp_path / "h.jsonl")
    assert [one.step for one in history.evaluations] == [5, 10]
    assert history.damaged == (2,)


def test_the_step_of_the_kept_weights_is_marked() -> None:
    history = [Evaluated(step, 1.0, {"top1": 0.5}) for step in (5, 10)]
    metrics, loss = training_charts(history, batch=8, best_step=5)
    assert [chart.layout["shapes"][0]["x0"] for chart in (metrics, loss)] == [5, 5]  # type: ignore[index]
    assert [chart.layout["xaxis"]["title"]["text"] for chart in (metrics, loss)] == ["step of 8 images"] * 2  # type: ignore[index]
    unmarked, _ = training_charts(history, batch=8, best_step=None)
    assert "shapes" not in unmarked.layout


def test_of_a_long_history_an_even_choice_is_drawn() -> None:
    history = [Evaluated(step, 1.0, {"top1": 0.5}) for step in range(3 * MOST_POINTS)]
    metrics, _ = training_charts(history, batch=8, best_step=None)
    steps = metrics.traces[0]["x"]
    assert steps == list(range(0, 3 * MOST_POINTS, 3))


def test_candidates_without_curves_have_no_chart() -> None:
    alone = curved("mobilenet_v2_0.35_96", ())
    assert candidates_chart([alone], [], metric="map") is None


def test_candidates_are_told_apart_by_what_became_of_them() -> None:
    front = curved("mobilenet_v2_0.5_96", ((1, 0.2), (2, 0.3)))
    other, stopped = (
        curved("mobilenet_v2_0.75_96", ((1, 0.1),)),
        curved("mobilenet_v2_1.0_96", ((1, 0.1),), stopped=True),
    )
    chart = candidates_chart([front], [other, stopped], metric="map")
    assert chart is not None
    assert [trace["name"] for trace in chart.traces] == ["front", "other", "stopped early"]
    assert (chart.traces[0]["x"], chart.traces[0]["y"]) == ([1, 2], [20.0, 30.0])
