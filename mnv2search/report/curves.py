"""How trainings went: one over its steps, and the candidates of a search over their epochs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mnv2search.evaluation import Evaluation
from mnv2search.report.plot import FRONT, MUTED, figure_of, png_of
from mnv2search.untrusted import json_value, read_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# Figures by the names that they are recorded under; all of them are shares, shown in percent.
FIGURES = {
    "top1": "top-1",
    "map": "mAP, IoU 0.5 to 0.95",
    "miou": "mean IoU",
    "ap50": "AP at IoU 0.5",
    "ap75": "AP at IoU 0.75",
    "pixels": "pixels right",
}
# The name of a metric, which a legend can show.
NAME = re.compile(r"\w[\w .-]{0,63}")
BESIDE = ("ap50", "pixels")
MAX_HISTORY_BYTES = 256 * 2**20
# A line of a history with a larger number counts as damaged.
LARGEST = 1e15
# End of an axis over the largest value that it shows.
MARGIN = 1.06


class Evaluated(NamedTuple):
    """One evaluation during a training.

    Attributes:
        loss: running mean of the training loss.
        figures: figures on held-out images by name; the first one selects the best weights.
    """

    step: int
    loss: float
    figures: Mapping[str, float]


class History(NamedTuple):
    """The evaluations of a training.

    Attributes:
        evaluations: sorted by step; if an evaluation was repeated, only the last one.
        damaged: numbers of the lines that do not hold an evaluation.
    """

    evaluations: tuple[Evaluated, ...]
    damaged: tuple[int, ...]


def history_of(path: Path) -> History:
    """The evaluations that a training wrote as JSON lines; an incomplete last line, left by a kill, is ignored.

    Raises:
        UnsafeFileError: it is not a regular file, or is too large.
        OSError: it is missing or cannot be read.
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
    """The evaluation on a line; raises an exception of any type if the line does not hold one."""
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


def training_png(history: Sequence[Evaluated], *, batch: int) -> bytes:
    """A PNG with the training loss and the figures on held-out images over the steps."""
    figure, (left, right) = figure_of(8.4, 3.6, count=2, dpi=120)
    steps = [one.step for one in history]
    _line(left, steps, [one.loss for one in history], label="training loss")
    left.set(ylabel="training loss, running mean")
    for name, values in _figures(history).items():
        style = "--" if name in BESIDE else "-"
        _line(right, steps, [100 * value for value in values], label=FIGURES.get(name, name), style=style)
    right.set(ylabel="held-out images, %")
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.set(xlabel=f"step of {batch} images")
        from_zero(axes)
    return png_of(figure)


def candidates_png(front: Sequence[Evaluation], others: Sequence[Evaluation], *, metric: str) -> bytes | None:
    """A PNG with the figures that candidates of a search reached after each epoch; None where none was told of."""
    if not any(e.curve for e in (*front, *others)):
        return None
    figure, (axes,) = figure_of(7.14, 3.6, dpi=120)
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
    return png_of(figure)


def _figures(history: Sequence[Evaluated]) -> dict[str, list[float]]:
    """The figures of every evaluation by name, the one that decides first."""
    names = dict.fromkeys(name for one in history for name in one.figures)
    return {name: [one.figures.get(name, 0.0) for one in history] for name in names}


def from_zero(axes: Axes) -> None:
    """Both axes from 0 to beyond the largest value: the limits are read once all lines are drawn."""
    right, top = axes.dataLim.x1, axes.dataLim.y1
    axes.set(xlim=(0, MARGIN * right if right > 0 else 1.0), ylim=(0, MARGIN * top if top > 0 else 1.0))


def _line(
    axes: Axes, xs: Sequence[float], ys: Sequence[float], *, label: str, style: str = "-", colour: str | None = None
) -> None:
    axes.plot(xs, ys, marker=".", linestyle=style, color=colour, label=label or "_")
