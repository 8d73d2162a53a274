"""Learning curves of trainings as interactive charts, and the log that they are read from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mnv2search.evaluation import Evaluation
from mnv2search.report.html.page import Chart, rounded
from mnv2search.results.run_report import evenly
from mnv2search.untrusted import json_value, read_bytes

# Labels of metrics by their names in records; all metrics are ratios, shown in percent.
FIGURES = {
    "top1": "top-1",
    "map": "mAP, IoU 0.5 to 0.95",
    "miou": "mean IoU",
    "ap50": "AP at IoU 0.5",
    "ap75": "AP at IoU 0.75",
    "pixels": "pixels right",
}
# Names of metrics that are accepted from a file and shown in a legend.
NAME = re.compile(r"\w[\w .-]{0,63}")
BESIDE = ("ap50", "pixels")
MAX_HISTORY_BYTES = 256 * 2**20
# Maximum number of evaluations in a chart, and from how many on their points are not marked.
MOST_POINTS, MOST_MARKERS = 2000, 100
# A history line with a larger number counts as damaged.
LARGEST = 1e15


class Evaluated(NamedTuple):
    """One evaluation during a training.

    Attributes:
        loss: running mean of the training loss.
        figures: metrics on validation images by name; the first metric selects the best weights.
    """

    step: int
    loss: float
    figures: Mapping[str, float]


class History(NamedTuple):
    """The evaluations of a training.

    Attributes:
        evaluations: evaluations sorted by step; if a step was evaluated again, only the last evaluation.
        damaged: numbers of the lines that are not evaluations.
    """

    evaluations: tuple[Evaluated, ...]
    damaged: tuple[int, ...]


def history_of(path: Path) -> History:
    """Read the evaluations that a training wrote as JSON lines; an incomplete last line, left by a kill, is ignored.

    Raises:
        UnsafeFileError: the path is not a regular file, or the file is too large.
        OSError: the file is missing or cannot be read.
    """
    by_step: dict[int, Evaluated] = {}
    damaged = []
    lines = read_bytes(path, max_bytes=MAX_HISTORY_BYTES).split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            evaluation = _evaluation(line)
        except (ValueError, TypeError, LookupError, ArithmeticError):
            damaged.append(number)
        else:
            by_step[evaluation.step] = evaluation
    return History(tuple(by_step[step] for step in sorted(by_step)), tuple(damaged))


def _evaluation(line: bytes) -> Evaluated:
    """Parse the evaluation on a line; raises an exception of any type if the line is not an evaluation."""
    written = json_value(line.decode("utf-8"))
    step, loss, figures = int(written["step"]), float(written["loss"]), written["evaluated"]
    if "metric" in figures:
        shares = {figures["metric"]: figures["value"], **{n: v for n, v in figures["details"] if n in BESIDE}}
    else:
        shares = {"top1": figures["top1"]}
    if not (
        all(NAME.fullmatch(name) for name in shares)
        and all(abs(value) < LARGEST for value in (step, loss, *shares.values()))
    ):
        raise ValueError("not the metrics of a training")
    return Evaluated(step, loss, shares)


def figures_of(history: Sequence[Evaluated]) -> dict[str, list[float]]:
    """The values of every metric, one for each evaluation."""
    names = dict.fromkeys(name for one in history for name in one.figures)
    return {name: [one.figures.get(name, 0.0) for one in history] for name in names}


def training_charts(history: Sequence[Evaluated], *, batch: int, best_step: int | None) -> Iterator[Chart]:
    """The metrics on validation images, and the training loss, over the steps; `best_step` is marked."""
    shown = evenly(history, MOST_POINTS)
    steps = [one.step for one in shown]
    metrics = [
        _curve(FIGURES.get(name, name), steps, [100 * value for value in values], beside=name in BESIDE)
        for name, values in figures_of(shown).items()
    ]
    yield Chart(
        title="Metrics on validation images",
        traces=tuple(metrics),
        layout={**_axes(batch, "validation images, %"), **_mark(best_step)},
        shows="metrics on validation images over the steps of the training",
    )
    yield Chart(
        title="Training loss",
        traces=(_curve("training loss", steps, [one.loss for one in shown]),),
        layout={**_axes(batch, "training loss, running mean"), **_mark(best_step), "showlegend": False},
        shows="training loss over the steps of the training",
    )


def candidates_chart(front: Sequence[Evaluation], others: Sequence[Evaluation], *, metric: str) -> Chart | None:
    """The metric of each candidate of a search after each epoch; None if there are no such values."""
    sets = {
        "front": [e for e in front if e.curve],
        "other": [e for e in others if e.curve and not e.is_stopped],
        "stopped early": [e for e in others if e.curve and e.is_stopped],
    }
    if not any(sets.values()):
        return None
    return Chart(
        title="Trainings of candidates",
        traces=tuple(
            _candidate(e, kind, is_first=number == 0) for kind, own in sets.items() for number, e in enumerate(own)
        ),
        layout={
            "xaxis": {"title": {"text": "epoch"}, "rangemode": "tozero"},
            "yaxis": {"title": {"text": f"validation: {FIGURES.get(metric, metric)}, %"}, "rangemode": "tozero"},
        },
        shows=f"{metric} of each candidate on validation images after each epoch",
        notes=("A click on an entry of the legend hides or shows its networks.",),
    )


def _candidate(evaluation: Evaluation, kind: str, *, is_first: bool) -> Mapping[str, object]:
    epochs, values = zip(*evaluation.curve, strict=True)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": kind,
        "legendgroup": kind,
        "showlegend": is_first,
        "x": list(epochs),
        "y": [rounded(100 * value) for value in values],
        "line": {
            "color": "--front" if kind == "front" else "--other",
            "dash": "dot" if kind == "stopped early" else "solid",
        },
        "marker": {"size": 5},
        "text": [evaluation.spec.name] * len(epochs),
        "hovertemplate": "%{text}<br>epoch %{x}: %{y} %<extra></extra>",
    }


def _curve(name: str, steps: Sequence[int], values: Sequence[float], *, beside: bool = False) -> Mapping[str, object]:
    color = "--baseline" if beside else "--front"
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(steps) < MOST_MARKERS else "lines",
        "name": name,
        "x": list(steps),
        "y": [rounded(value) for value in values],
        "line": {"color": color, "dash": "dash" if beside else "solid"},
        "marker": {"size": 5},
        "hovertemplate": "step %{x}: %{y}<extra>%{fullData.name}</extra>",
    }


def _axes(batch: int, title: str) -> dict[str, object]:
    return {
        "xaxis": {"title": {"text": f"step of {batch} images"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": title}, "rangemode": "tozero"},
        "hovermode": "x",
    }


def _mark(step: int | None) -> dict[str, object]:
    """A vertical line at the step whose weights were kept."""
    if step is None:
        return {}
    line = {"type": "line", "x0": step, "x1": step, "y0": 0, "y1": 1, "yref": "paper"}
    text = {"x": step, "y": 0, "yref": "paper", "text": "best.pt", "showarrow": False, "xanchor": "right"}
    return {
        "shapes": [{**line, "line": {"color": "--trained", "width": 1.5, "dash": "dot"}}],
        "annotations": [{**text, "yanchor": "bottom", "font": {"color": "--trained"}}],
    }
