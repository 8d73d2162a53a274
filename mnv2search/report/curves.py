"""How trainings went: one over its steps, and the candidates of a search over their epochs."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnv2search.evaluation import Evaluation
from mnv2search.report.plot import FRONT, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "candidates_png", "from_zero", "history_of", "training_png"]

# Figures by the names that they are recorded under; all of them are shares, shown in percent.
FIGURES = {
    "top1": "top-1",
    "map": "mAP, IoU 0.5 to 0.95",
    "miou": "mean IoU",
    "ap50": "AP at IoU 0.5",
    "ap75": "AP at IoU 0.75",
    "pixels": "pixels right",
}
BESIDE = ("ap50", "pixels")
# End of an axis over the largest value that it shows.
MARGIN = 1.06


def history_of(path: Path) -> tuple[dict[str, Any], ...]:
    """The evaluations that a training wrote as JSON lines, by their steps; of one that was repeated, the last."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    by_step = {line["step"]: line for line in lines}
    return tuple(by_step[step] for step in sorted(by_step))


def training_png(history: Sequence[Mapping[str, Any]], *, batch: int) -> bytes:
    """A PNG with the training loss and the figures on held-out images over the steps.

    Args:
        history: one entry an evaluation, as `ProgressOf` has it.
        batch: images a step.
    """
    figure, (left, right) = _axes(2)
    steps = [line["step"] for line in history]
    _line(left, steps, [line["loss"] for line in history], label="training loss")
    left.set(ylabel="training loss, running mean")
    evaluated = [line["evaluated"] for line in history]
    for name, values in _figures(evaluated).items():
        style = "--" if name in BESIDE else "-"
        _line(right, steps, [100 * value for value in values], label=FIGURES[name], style=style)
    right.set(ylabel="held-out images, %")
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.set(xlabel=f"step of {batch} images")
        from_zero(axes)
    return _png(figure)


def candidates_png(front: Sequence[Evaluation], others: Sequence[Evaluation], *, metric: str) -> bytes | None:
    """A PNG with the figures that candidates of a search reached after each epoch; None where none was told of.

    Args:
        front: networks of the front.
        others: further ones, those that were stopped early among them.
        metric: of the figures.
    """
    if not any(e.curve for e in (*front, *others)):
        return None
    figure, (axes,) = _axes(1)
    shown: set[str] = set()
    for colour, evaluations in ((MUTED, others), (FRONT, front)):
        for evaluation in (e for e in evaluations if e.curve):
            epochs, values = zip(*evaluation.curve, strict=True)
            kind = "front" if colour == FRONT else "stopped early" if evaluation.is_stopped else "other"
            style = ":" if evaluation.is_stopped else "-"
            label = kind if kind not in shown else ""
            shown.add(kind)
            _line(axes, epochs, [100 * value for value in values], label=label, style=style, colour=colour)
    axes.set(xlabel="epoch", ylabel=f"held out: {FIGURES.get(metric, metric)}, %")
    from_zero(axes)
    axes.legend(fontsize=8)
    return _png(figure)


def _figures(evaluated: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """The figures of every evaluation by name, the one that decides first."""
    if not evaluated or "metric" not in evaluated[0]:
        return {"top1": [one["top1"] for one in evaluated]}
    found = {evaluated[0]["metric"]: [one["value"] for one in evaluated]}
    details = [dict(one["details"]) for one in evaluated]
    return found | {n: [one.get(n, 0.0) for one in details] for n in BESIDE if any(n in one for one in details)}


def _axes(count: int) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # late: it is slow to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * max(count, 1.7), 3.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    every = figure.subplots(1, count, squeeze=False)[0]
    for axes in every:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, list(every)


def from_zero(axes: Axes) -> None:
    """Both axes from 0 to beyond the largest value: the limits are read once all lines are drawn."""
    right, top = axes.dataLim.x1, axes.dataLim.y1
    axes.set(xlim=(0, MARGIN * right if right > 0 else 1.0), ylim=(0, MARGIN * top if top > 0 else 1.0))


def _line(
    axes: Axes, xs: Sequence[float], ys: Sequence[float], *, label: str, style: str = "-", colour: str | None = None
) -> None:
    axes.plot(xs, ys, marker=".", linestyle=style, color=colour, label=label or "_")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
