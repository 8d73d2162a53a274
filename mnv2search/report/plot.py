"""Accuracy over latency, drawn with matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mnv2search.accuracy.types import Accuracy, metric_text
from mnv2search.evaluation import Evaluation
from mnv2search.pareto import front as front_of
from mnv2search.report.rows import device_line
from mnv2search.report.search.front import LIKELIHOOD
from mnv2search.study.results import REGION_BEGINS, median_ms_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


INK, MUTED, FRONT, BASE, LIMIT = "#222222", "#9aa0a6", "#0b57d0", "#c2410c", "#b3261e"


def front_png(
    front: Sequence[Evaluation],
    *,
    dominated: Sequence[Evaluation],
    baseline: Sequence[Evaluation],
    budget_ms: float,
    title: str,
    label: str = "front",
    others: str = "measured during the search",
) -> bytes:
    """A PNG with the front, what it dominates, the budget and the MobileNetV2 grid, all measured on one device.

    The upper axis is what the front is made by: the likelihood, where accuracies are of shared weights.

    Args:
        front: in order of latency.
        dominated: the other networks.
        baseline: the grid, as far as it is to be shown.
        budget_ms: of latency.
        title: above the picture.
        label: what the front is called.
        others: what the dominated networks are called.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 5.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _scatter(axes, dominated, color=MUTED, marker="o", size=16, label=others)
    _grid(axes, baseline, budget_ms=budget_ms)
    _front(axes, front, label=label)
    axes.axvline(budget_ms, color=LIMIT, linestyle="--", linewidth=1.2, label=f"budget {budget_ms:g} ms")
    sample = next((e for e in (*front, *baseline) if e.accuracy and e.latency), None)
    if sample is not None and sample.accuracy is not None and sample.latency is not None:
        axes.set_ylabel(_axis(sample.accuracy))
        limit_ms = REGION_BEGINS * budget_ms
        if sample.accuracy.kind == "inherited" and all(median_ms_of(e) >= limit_ms for e in front):
            axes.axvspan(
                0,
                limit_ms,
                color=MUTED,
                alpha=0.15,
                linewidth=0,
                label=f"left out: below {100 * REGION_BEGINS:.0f} % of the budget",
            )
        hosts = [e.latency.device.host for e in front if e.latency]
        figure.supxlabel(device_line(sample.latency.device, hosts=hosts), fontsize=8, color=MUTED)
    axes.set_xlabel("measured latency, ms (bars: 95 % interval)")
    axes.set_xlim(0, budget_ms * 1.25)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=True, framealpha=1.0, edgecolor="none", fontsize=8, loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _axis(accuracy: Accuracy) -> str:
    if accuracy.kind == "proxy":
        return f"{accuracy.kind} {metric_text(accuracy.metric)} (no accuracy)"
    name = metric_text(accuracy.metric) if accuracy.merit is None else LIKELIHOOD
    return f"{accuracy.kind} {name} ({accuracy.dataset}), %"


def _height(accuracy: Accuracy) -> float:
    if accuracy.kind == "proxy":
        return accuracy.value
    return 100 * (accuracy.value if accuracy.merit is None else accuracy.merit)


def _points(evaluations: Sequence[Evaluation]) -> tuple[list[float], list[float]]:
    known = [(e.latency.median_ms, _height(e.accuracy)) for e in evaluations if e.latency and e.accuracy]
    return [x for x, _ in known], [y for _, y in known]


def _scatter(
    axes: Axes, evaluations: Sequence[Evaluation], *, color: str, marker: str, size: int, label: str
) -> None:
    xs, ys = _points(evaluations)
    if xs:
        axes.scatter(xs, ys, s=size, c=color, marker=marker, alpha=0.7, linewidths=0, label=label)


def _grid(axes: Axes, baseline: Sequence[Evaluation], *, budget_ms: float) -> None:
    known = [e for e in baseline if e.latency and e.accuracy]
    if not known:
        return
    _scatter(axes, known, color=BASE, marker="s", size=20, label="MobileNetV2, width x resolution")
    best = front_of(
        known,
        maximise=lambda e: _height(e.accuracy) if e.accuracy else 0.0,
        minimise=lambda e: e.latency.median_ms if e.latency else budget_ms,
    )
    axes.plot(*_points(best), color=BASE, linewidth=1.0, alpha=0.8)


def _front(axes: Axes, front: Sequence[Evaluation], *, label: str) -> None:
    xs, ys = _points(front)
    if not xs:
        return
    errors = [
        [e.latency.median_ms - e.latency.ci_low_ms for e in front if e.latency and e.accuracy],
        [e.latency.ci_high_ms - e.latency.median_ms for e in front if e.latency and e.accuracy],
    ]
    axes.errorbar(
        xs, ys, xerr=errors, color=FRONT, marker="o", markersize=6, linewidth=1.6, capsize=2, label=label, zorder=5
    )
