"""Metrics of a network on images as text, with those of each class and the confusions of a classifier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mnv2search.accuracy.types import METRICS
from mnv2search.report.rows import Column, Rows, counted
from mnv2search.tasks.metrics import trivial_name

if TYPE_CHECKING:
    from mnv2search.results.training import EvaluationReport
    from mnv2search.tasks.metrics import Metrics

SHORT = {**METRICS, "top1": "top-1"}
# Name of the metric of one class, by the main metric.
OF_A_CLASS = {"map": "AP, IoU 0.5 to 0.95,", "miou": "IoU", "top1": "accuracy"}
# Classes and confusions that a terminal shows.
MOST_LINES = 10


def trivial_text(metrics: Metrics) -> str:
    """The metric of the best trivial answer, to append to that of a network; empty if unknown.

    >>> from mnv2search.tasks.metrics import Metrics, share
    >>> trivial_text(Metrics(main=share("map", 0.5, 10), count=10, trivial=0.131))
    ', same boxes in every image 13.1 %'
    """
    return "" if metrics.trivial is None else f", {trivial_name(metrics.main.name)} {100 * metrics.trivial:.1f} %"


def collapsed_text(metric: str) -> str:
    """The warning about a network that is not shown to be better than a trivial answer."""
    return f"warning: the interval does not lie above the result of a trivial answer ({trivial_name(metric)})"


def summary_of(metrics: Metrics) -> tuple[tuple[str, float], ...]:
    """The details that are not the metric of one class."""
    return tuple((name, value) for name, value in metrics.details if name in METRICS)


def metrics_text(metrics: Metrics) -> str:
    """The main metric with its interval, the number of images, and further metrics."""
    main = metrics.main
    details = ", ".join(f"{SHORT.get(name, name)} {100 * value:.1f}" for name, value in summary_of(metrics))
    return (
        f"{100 * main.value:.1f} % [{100 * main.low:.1f}, {100 * main.high:.1f}] {SHORT.get(main.name, main.name)} "
        f"on {metrics.count} images{trivial_text(metrics)}{f' ({details})' if details else ''}"
    )


def metrics_rows(measured: Mapping[str, Metrics], *, note: str = "", most: int | None = None) -> Rows:
    """A row for each metric: the main metric, its parts, and the metric of each class.

    Args:
        measured: metrics by the name of the images; classes are sorted by the last.
        note: a note below the table.
        most: show only so many classes, worst first; None shows all, in their order.
    """
    last = [*measured.values()][-1]
    beside = [dict(metrics.details) for metrics in measured.values()]
    names = list(dict.fromkeys(name for found in beside for name in found))
    parts, classes = [n for n in names if n in METRICS], [n for n in names if n not in METRICS]
    notes = (note,) if note else ()
    if most is not None and len(classes) > most:
        notes = (f"the worst {most} of {len(classes)} classes; --json and report.html have all", *notes)
        classes = sorted(classes, key=lambda name: beside[-1].get(name, 1.0))[:most]
    main, own = last.main.name, OF_A_CLASS.get(last.main.name, last.main.name)
    rows = [(SHORT.get(main, main), *(f"{100 * metrics.main.value:.1f}" for metrics in measured.values()))]
    trivial = [metrics.trivial for metrics in measured.values()]
    if any(value is not None for value in trivial):
        rows.append((trivial_name(main), *("" if value is None else f"{100 * value:.1f}" for value in trivial)))
    for name in (*parts, *classes):
        values = (f"{100 * found[name]:.1f}" if name in found else "" for found in beside)
        rows.append((METRICS.get(name, f"{own} of {name}"), *values))
    return Rows(
        title="Metrics",
        columns=(Column("metric", align="left"), *(Column(images, "%") for images in measured)),
        rows=tuple(rows),
        notes=notes,
        stressed=frozenset({0}),
    )


def confusion_rows(metrics: Metrics, classes: Sequence[str], *, most: int = MOST_LINES) -> Rows | None:
    """The most frequent confusions of a classifier; None if there are none."""
    if metrics.answers is None:
        return None
    matrix = metrics.answers.confusion(len(classes))
    pairs = [(int(matrix[i, j]), i, j) for i, j in zip(*matrix.nonzero(), strict=True) if i != j]
    if not pairs:
        return None
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    images = matrix.sum(axis=1)
    wrong = sum(count for count, _, _ in pairs)
    more = f"; the {most} most frequent of {len(pairs)} pairs" if len(pairs) > most else ""
    return Rows(
        title="Confusions",
        columns=(
            Column("true class", align="left"),
            Column("predicted class", align="left"),
            Column("images"),
            Column("of the class", "%"),
        ),
        rows=tuple(
            (classes[i], classes[j], str(count), f"{100 * count / images[i]:.0f}") for count, i, j in pairs[:most]
        ),
        notes=(f"{counted(wrong, 'image')} of {metrics.count} in all{more}",),
    )


def class_rows(measured: Mapping[str, Metrics], classes: Sequence[str], *, note: str = "") -> Iterator[Rows]:
    """The tables for a terminal, of at most `MOST_LINES` classes and confusions."""
    last = [*measured.values()][-1]
    if last.details:
        yield metrics_rows(measured, note=note, most=MOST_LINES)
    if (confused := confusion_rows(last, classes)) is not None:
        yield confused


def evaluation_lines(report: EvaluationReport) -> Iterator[str]:
    """The result of an evaluation."""
    yield f"{report.weights} ({report.spec.name} at {report.spec.size} px) on {report.split} of {report.data.root}:"
    yield f"{metrics_text(report.metrics)}; 90 % interval"
    if report.unreadable:
        yield f"{counted(len(report.unreadable), 'image')} could not be read, such as {report.unreadable[0]}"
