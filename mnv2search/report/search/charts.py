"""Charts of a search: its progress, the quality of its predictions, and the importance of choices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from mnv2search.evaluation import Evaluation
from mnv2search.latency.prediction.predictor import LatencyPredictor
from mnv2search.pareto import hypervolume
from mnv2search.report.html.page import Chart, rounded
from mnv2search.report.rows import counted, prediction_error_text
from mnv2search.results.run_report import Importance, RunReport
from mnv2search.spec.plan import plan
from mnv2search.study.results import front_of, median_ms_of, rank_of, reference_of
from mnv2search.study.types import Evaluated

# Minimum number of networks for a chart.
FEWEST = 10
# Number of axes in the chart of importances, and in the chart of accuracies by choice.
MOST_AXES, SLICES = 12, 3
# Gap between panels, as a share of the width.
GAP = 0.06


def charts(run: RunReport) -> Iterator[Chart]:
    """Those charts of a run for which there are enough networks."""
    evaluated = [i for i in run.items if i.stage in ("calibration", "search") and i.evaluation.is_feasible]
    if len(evaluated) >= FEWEST:
        yield _progress(run, evaluated)
    predictor = run.result.latency_predictor()
    if predictor is not None and len(predictor.observations) >= FEWEST:
        yield _predictions(run.result.measured, predictor)
    if run.importances:
        yield _importances(run.importances)
        yield _slices(run.importances[:SLICES], metric=_metric(run), scale=_scale(run)[0])


def _scale(run: RunReport) -> tuple[float, str]:
    """The factor and the unit in which accuracies are shown; scores have no unit."""
    accuracy = run.result.ship.accuracy if run.result.ship else None
    return (1.0, "") if accuracy is not None and accuracy.kind == "proxy" else (100.0, "%")


def _metric(run: RunReport) -> str:
    accuracy = run.result.ship.accuracy if run.result.ship else None
    name = "" if accuracy is None else f"{accuracy.kind} {accuracy.metric}"
    return f"{name}, %" if _scale(run)[1] else f"{name} (no accuracy)"


def _progress(run: RunReport, evaluated: Sequence[Evaluated]) -> Chart:
    """The hypervolume over the number of networks and over time, and the hypervolume of the baseline."""
    budget_ms = run.manifest.budget.latency_ms
    known = [item.evaluation for item in evaluated]
    floor = min(map(rank_of, known))
    reference = reference_of(run.result.baseline, budget_ms=budget_ms) or (floor, budget_ms)
    scale, unit = _scale(run)
    steps = [(count, rounded(scale * value)) for count, value in _improvements(known, reference)]
    minutes = [_minutes(run, known[count - 1]) for count, _ in steps]
    is_timed = None not in minutes
    values = [value for _, value in steps]
    line = {"type": "scatter", "mode": "lines", "line": {"color": "--front", "shape": "hv"}, "y": values}
    traces: list[Mapping[str, object]] = [{**line, "name": "this search", "x": [count for count, _ in steps]}]
    if is_timed:
        traces.append({**line, "showlegend": False, "x": minutes, "xaxis": "x2"})
    if baseline := [e for e in run.result.baseline if e.is_feasible and e.accuracy]:
        level = [rounded(scale * _hypervolume(baseline, reference))] * 2
        style = {"type": "scatter", "mode": "lines", "line": {"color": "--baseline", "dash": "dash"}, "y": level}
        traces.append({**style, "name": "whole MobileNetV2 grid", "x": [1, len(known)]})
        if is_timed:
            traces.append({**style, "showlegend": False, "x": [minutes[0], minutes[-1]], "xaxis": "x2"})
    return Chart(
        title="Progress of the search",
        traces=tuple(traces),
        layout={
            **_panels(["networks within the budget", *(["minutes"] if is_timed else [])]),
            "yaxis": {
                "title": {"text": f"hypervolume, {unit} x ms" if unit else "hypervolume"},
                "rangemode": "tozero",
            },
        },
        shows="hypervolume over evaluated networks and over time",
        notes=(
            "Hypervolume: the area that the front dominates, bounded by the accuracy of a small MobileNetV2 and the "
            "latency budget. Accuracies are the values that the search maximises: the lower ends of intervals, or "
            "likelihoods. If the line still rises at its end, more --time is likely to help.",
        ),
    )


def _improvements(evaluations: Sequence[Evaluation], reference: tuple[float, float]) -> Iterator[tuple[int, float]]:
    """Yield number of networks and hypervolume of their front for every network that changes it, and for the last."""
    front: tuple[Evaluation, ...] = ()
    value = -1.0
    for count, evaluation in enumerate(evaluations, 1):
        is_new = not any(
            rank_of(e) >= rank_of(evaluation) and median_ms_of(e) <= median_ms_of(evaluation) for e in front
        )
        if is_new:
            front = front_of((*front, evaluation))
            value = _hypervolume(front, reference)
        if is_new or count == len(evaluations):
            yield count, value


def _hypervolume(evaluations: Sequence[Evaluation], reference: tuple[float, float]) -> float:
    points = [(rank_of(e), median_ms_of(e)) for e in evaluations]
    return hypervolume(points, reference=reference)


def _minutes(run: RunReport, evaluation: Evaluation) -> float | None:
    """Minutes from the start of the run to the end of a measurement; None if a time in the records is invalid."""
    taken_at = evaluation.latency.taken_at if evaluation.latency else ""
    try:
        began, measured = map(datetime.fromisoformat, (run.manifest.created_at, taken_at))
        return round((measured - began).total_seconds() / 60, 3)
    except (ValueError, TypeError):  # not a time, or only one of the two has a time zone
        return None


def _predictions(networks: Sequence[Evaluation], predictor: LatencyPredictor) -> Chart:
    """Cross-validated predictions of latency over the measurements."""
    by_features = dict(zip(map(tuple, predictor.features([plan(e.spec) for e in networks])), networks, strict=True))
    networks = [by_features[one.features] for one in predictor.observations]
    measured = [one.ms for one in predictor.observations]
    predicted = list(map(float, predictor.cross_validated()))
    errors = [abs(p / m - 1) for p, m in zip(predicted, measured, strict=True)]
    highs = [e.latency.ci_high_ms - e.latency.median_ms for e in networks if e.latency]
    lows = [e.latency.median_ms - e.latency.ci_low_ms for e in networks if e.latency]
    ends = [0, 1.05 * max(*measured, *predicted)]
    bars = {
        "type": "data",
        "symmetric": False,
        "array": _all_rounded(highs),
        "arrayminus": _all_rounded(lows),
        "color": "--other",
        "thickness": 1,
    }
    return Chart(
        title="Predicted and measured latency",
        traces=(
            {
                "type": "scatter",
                "mode": "lines",
                "x": ends,
                "y": ends,
                "line": {"color": "--other", "width": 1},
                "hoverinfo": "skip",
                "showlegend": False,
            },
            {
                "type": "scatter",
                "mode": "markers",
                "x": _all_rounded(measured),
                "y": _all_rounded(predicted),
                "error_x": bars,
                "marker": {"color": "--front", "size": 6},
                "text": [e.spec.name for e in networks],
                "hovertemplate": "%{text}<br>measured %{x} ms<br>predicted %{y} ms<extra></extra>",
                "showlegend": False,
            },
        ),
        layout={
            "xaxis": {"title": {"text": "measured latency, ms (bars: 95 % interval)"}, "range": ends},
            "yaxis": {"title": {"text": "predicted latency, ms"}, "range": ends},
        },
        shows=f"predicted over measured latency of {len(networks)} networks",
        notes=(
            f"Each of the {counted(len(networks), 'network')} is predicted from four fifths of the others: "
            f"{prediction_error_text(sum(errors) / len(errors))}, largest {100 * max(errors):.1f} %. The search uses "
            "such predictions only to choose what to measure.",
        ),
    )


def _importances(importances: Sequence[Importance]) -> Chart:
    shown = list(reversed(importances[:MOST_AXES]))
    others = len(importances) - len(shown)
    less = f"; {others} less important choices are not shown" if others else ""
    return Chart(
        title="Importance of choices",
        traces=(
            {
                "type": "bar",
                "orientation": "h",
                "x": [rounded(100 * one.share) for one in shown],
                "y": [one.at for one in shown],
                "marker": {"color": "--front"},
                "hovertemplate": "%{y}: %{x} %<extra></extra>",
            },
        ),
        layout={"xaxis": {"title": {"text": "importance, %"}, "rangemode": "tozero"}},
        shows="importance of the axes of the search space for the accuracy",
        notes=(
            "Importance by PED-ANOVA (Optuna): how much the best networks differ from all others in a choice. "
            f"Importances add up to 100 %{less}. With few networks, they are uncertain.",
        ),
    )


def _slices(importances: Sequence[Importance], *, metric: str, scale: float) -> Chart:
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [option for option, _ in one.points],
            "y": [rounded(scale * value) for _, value in one.points],
            "xaxis": f"x{number + 1 if number else ''}",
            "marker": {"color": "--front", "size": 5, "opacity": 0.5},
            "hovertemplate": f"{one.at}: %{{x}}<br>%{{y}}<extra></extra>",
            "showlegend": False,
        }
        for number, one in enumerate(importances)
    ]
    return Chart(
        title="Accuracy by choice",
        traces=tuple(traces),
        layout={
            **_panels(
                [one.at.replace("].", "]<br>") for one in importances], options=[one.options for one in importances]
            ),
            "yaxis": {"title": {"text": metric}},
        },
        shows="accuracy of all networks by the options of the most important choices",
        notes=("The networks also differ in all other choices, so the charts show associations, not effects.",),
    )


def _panels(titles: Sequence[str], *, options: Sequence[Sequence[str]] = ()) -> dict[str, object]:
    """Layout of the horizontal axes of panels side by side; `options` are the categories of each axis."""
    width = (1 + GAP) / len(titles)
    axes: dict[str, object] = {}
    for number, title in enumerate(titles):
        categories = {"type": "category", "categoryarray": list(options[number])} if options else {}
        domain = [round(number * width, 4), round((number + 1) * width - GAP, 4)]
        axes[f"xaxis{number + 1 if number else ''}"] = {"title": {"text": title}, "domain": domain, **categories}
    return axes


def _all_rounded(values: Sequence[float]) -> list[float]:
    return [rounded(value) for value in values]
