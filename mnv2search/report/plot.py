"""Plots with matplotlib: accuracy over latency, predictions over measurements, and training curves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mnv2search.accuracy.types import Accuracy, metric_text
from mnv2search.evaluation import Evaluation
from mnv2search.pareto import front as front_of
from mnv2search.report.curves import BESIDE, FIGURES, Evaluated, figures_of
from mnv2search.report.rows import counted, device_line, prediction_error_text
from mnv2search.report.search.front import LIKELIHOOD
from mnv2search.study.results import REGION_BEGINS, median_ms_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mnv2search.results.devices import Audit


INK, MUTED, FRONT, BASE, LIMIT, BAND = "#222222", "#9aa0a6", "#0b57d0", "#c2410c", "#b3261e", "#d7e3fc"


def figure_of(width: float, height: float, *, count: int = 1, dpi: int = 130) -> tuple[Figure, Sequence[Axes]]:
    """A figure of `width` x `height` inches with `count` axes side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # late: it is slow to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    every = figure.subplots(1, count, squeeze=False)[0]
    for axes in every:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, list(every)


def png_of(figure: Figure) -> bytes:
    """The content of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


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
    """A PNG with the front, the dominated networks, the budget and the MobileNetV2 grid, all measured on one device.

    The vertical axis is the value that ranks the front: the accuracy or, with shared weights, the likelihood. `front`
    is sorted by latency, `baseline` are the networks of the grid to show; `label` and `others` are the legend entries
    of the front and of the dominated networks.
    """
    figure, (axes,) = figure_of(9.0, 5.6)
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
    axes.legend(frameon=True, framealpha=1.0, edgecolor="none", fontsize=8, loc="lower right")
    return png_of(figure)


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


def audit_png(audit: Audit) -> bytes:
    """A PNG of predicted against measured latency, with the bands of 5 and 10 %."""
    figure, (axes,) = figure_of(6.4, 6.0)
    measured = [item.measured.median_ms for item in audit.items]
    predicted = [item.predicted.median_ms for item in audit.items]
    low, high = 0.8 * min(measured + predicted), 1.25 * max(measured + predicted)
    ends = [low, high]
    axes.fill_between(ends, [0.9 * e for e in ends], [1.1 * e for e in ends], color=BAND, alpha=0.5, label="±10 %")
    axes.fill_between(ends, [0.95 * e for e in ends], [1.05 * e for e in ends], color=BAND, label="±5 %")
    axes.plot(ends, ends, color=MUTED, linewidth=1)
    widths = [(i.measured.ci_high_ms - i.measured.ci_low_ms) / 2 for i in audit.items]
    colors = [LIMIT if item.extrapolates else FRONT for item in audit.items]
    axes.errorbar(measured, predicted, xerr=widths, fmt="none", ecolor=MUTED, linewidth=0.8)
    axes.scatter(measured, predicted, s=18, c=colors, zorder=3, label="network (red: unlike all measured before)")
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    axes.set_xlabel("measured latency, ms (bars: 95 % interval)")
    axes.set_ylabel("predicted latency, ms")
    axes.set_title(
        f"{counted(len(audit.items), 'network')} of {audit.space}: {prediction_error_text(audit.mean_error)}, "
        f"{100 * audit.within(0.05):.0f} % within 5 %",
        loc="left",
        fontsize=10,
        color=INK,
    )
    figure.supxlabel(device_line(audit.device), fontsize=8, color=MUTED)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    return png_of(figure)


# Ratio of the end of an axis to the largest value shown.
MARGIN = 1.06


def training_png(history: Sequence[Evaluated], *, batch: int) -> bytes:
    """A PNG with the training loss and the metrics on validation images over the steps."""
    figure, (left, right) = figure_of(8.4, 3.6, count=2, dpi=120)
    steps = [one.step for one in history]
    _line(left, steps, [one.loss for one in history], label="training loss")
    left.set(ylabel="training loss, running mean")
    for name, values in figures_of(history).items():
        style = "--" if name in BESIDE else "-"
        _line(right, steps, [100 * value for value in values], label=FIGURES.get(name, name), style=style)
    right.set(ylabel="validation images, %")
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.set(xlabel=f"step of {batch} images")
        from_zero(axes)
    return png_of(figure)


def from_zero(axes: Axes) -> None:
    """Let both axes begin at 0 and end beyond the largest value; call it after all lines are drawn."""
    right, top = axes.dataLim.x1, axes.dataLim.y1
    axes.set(xlim=(0, MARGIN * right if right > 0 else 1.0), ylim=(0, MARGIN * top if top > 0 else 1.0))


def _line(axes: Axes, xs: Sequence[float], ys: Sequence[float], *, label: str, style: str = "-") -> None:
    axes.plot(xs, ys, marker=".", linestyle=style, label=label)
