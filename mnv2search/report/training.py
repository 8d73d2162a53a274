"""Results of trainings, supernets and fine-tuning, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.accuracy.types import METRICS, metric_text
from mnv2search.cost import cost_of
from mnv2search.report.data import faults_counted
from mnv2search.report.rows import (
    NAME,
    Column,
    Rows,
    accuracy_text,
    counted,
    measured_text,
    millions,
    percent_text,
    rows_of,
)
from mnv2search.spec.model_spec import Classifier
from mnv2search.tasks.metrics import trivial_name

if TYPE_CHECKING:
    from mnv2search.data.dataset import Fault
    from mnv2search.results.finetuning import Finetuned
    from mnv2search.results.training import SupernetReport, TrainingReport
    from mnv2search.tasks.metrics import Metrics
    from mnv2search.training.progress import Progress


SHORT = {**METRICS, "top1": "top-1"}
# Name of the metric of one class, by the main metric.
OF_A_CLASS = {"map": "AP, IoU 0.5 to 0.95,", "miou": "IoU"}
SHOWN = 8
# Share of a class's boxes with a matching anchor below which the class is reported.
FEW_REACHED = 0.5


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


def metrics_text(metrics: Metrics) -> str:
    """The main metric with its interval, the number of images, and further metrics."""
    main = metrics.main
    details = ", ".join(f"{SHORT.get(name, name)} {100 * value:.1f}" for name, value in metrics.details)
    return (
        f"{100 * main.value:.1f} % [{100 * main.low:.1f}, {100 * main.high:.1f}] {SHORT.get(main.name, main.name)} "
        f"on {metrics.count} images{trivial_text(metrics)}{f' ({details})' if details else ''}"
    )


def progress_text(progress: Progress) -> str:
    """The progress of a training, in a line."""
    text = (
        f"epoch {progress.epoch}, step {progress.step}/{progress.steps or '?'}, loss {progress.loss:.3f}, "
        f"{_rate(progress.images_per_s)}"
    )
    if progress.evaluated is None:
        return text
    main = progress.evaluated.main
    return f"{text}; held out: {100 * main.value:.1f} % {SHORT.get(main.name, main.name)}"


def faults_lines(faults: Sequence[Fault]) -> Iterator[str]:
    """Problems of a dataset: their number, and the first few."""
    if faults:
        yield f"{faults_counted(faults)}:"
        yield from (f"  {fault}" for fault in faults[:SHOWN])
    if len(faults) > SHOWN:
        yield f"  and {len(faults) - SHOWN} more; training.json has them all"


def training_lines(report: TrainingReport) -> Iterator[str]:
    """The results of a training."""
    trained, data = report.trained, report.data
    yield (
        f"{report.spec.name} at {report.spec.size} px on {data.root}: {report.task} of {len(data.classes)} "
        f"classes, {len(data.part('train'))} images to learn from"
    )
    yield from _first_weights_lines(report)
    yield from _reach_lines(report)
    workers = f"{report.processes} processes of " if report.processes > 1 else ""
    half = "" if trained.precision == "float32" else f" in {trained.precision}"
    yield (
        f"{trained.steps} steps, {trained.epochs:.1f} epochs, {trained.seconds:.0f} s, {_rate(trained.images_per_s)} "
        f"on {report.device} with {workers}{counted(report.threads, 'thread')}{half}; recipe {report.recipe.name}"
    )
    if trained.was_finished:
        yield "the training was finished already; nothing was left to do"
    if report.recipe.shift_px:
        most = report.recipe.shift_px
        yield f"the images are no larger than the network's input: shifted by {most} px at most, not cut"
    if report.unreadable:
        yield f"{len(report.unreadable)} images could not be read and were left out, such as {report.unreadable[0]}"
    yield f"held out, which chose the weights of step {trained.best_step}: {metrics_text(trained.best)}"
    yield f"test, which played no part: {metrics_text(report.test)}; intervals hold 90 %"
    if low := [n for n, f in (("held out", trained.best), ("test", report.test)) if not f.beats_trivial]:
        yield f"{collapsed_text(report.test.main.name)}: {' and '.join(low)}"
    if trained.best.score is not None:
        yield (
            f"boxes with a score of at least {trained.best.score:.2g} have the best F1 on the held-out images; "
            "predict shows these"
        )
    yield f"weights: {report.folder / 'best.pt'}; report: {report.folder / 'report.html'}"


def _rate(images_per_s: float) -> str:
    """Training throughput, with a decimal below 100 images/s."""
    return f"{images_per_s:.{0 if images_per_s >= 100 else 1}f} images/s"


def _first_weights_lines(report: TrainingReport) -> Iterator[str]:
    over, classifies = report.inheritance, isinstance(report.spec.head, Classifier)
    if over is not None:
        head = (", the classifier too" if over.classifier else ", not the classifier") if classifies else ""
        new = f"; {over.new_blocks} blocks are new" if over.new_blocks else ""
        yield f"first weights: {100 * over.share:.0f} % of the parameters came over{head}{new}"
    elif not classifies and not report.trained.resumed_at:
        yield "first weights: random; weights of a classifier (--from) lead to much better results in as many epochs"


def _reach_lines(report: TrainingReport) -> Iterator[str]:
    known = [(n, s) for n, s in zip(report.data.classes, report.reach, strict=False) if s is not None]
    if known:
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in known)
        yield f"boxes that some anchor overlaps by half or more: {shares}"
    if few := [name for name, share in known if share < FEW_REACHED]:
        yield (
            f"  {', '.join(few)}: few boxes match, so these are learned badly; a larger resolution, a smaller "
            "head.smallest_scale or head.reduced_first: false reaches more"
        )


def metrics_rows(report: TrainingReport) -> Rows:
    """A row for each metric: the main metric, its parts, and the metric of each class."""
    held_out, test = report.trained.best, report.test
    name = test.main.name
    own = OF_A_CLASS.get(name, name)
    beside = dict(held_out.details), dict(test.details)
    rows = [(SHORT.get(name, name), *(f"{100 * metrics.main.value:.1f}" for metrics in (held_out, test)))]
    if test.trivial is not None and held_out.trivial is not None:
        rows.append((trivial_name(name), *(f"{100 * value:.1f}" for value in (held_out.trivial, test.trivial))))
    for detail in dict.fromkeys((*beside[0], *beside[1])):
        values = (f"{100 * found[detail]:.1f}" if detail in found else "" for found in beside)
        rows.append((METRICS.get(detail, f"{own} of {detail}"), *values))
    return Rows(
        title="Metrics",
        columns=(Column("metric", align="left"), Column("held out", "%"), Column("test", "%")),
        rows=tuple(rows),
        notes=(f"on {held_out.count} and {test.count} images; the held-out ones chose the weights",),
        stressed=frozenset({0}),
    )


UNBEATEN_MEANS = "unbeaten: of these networks, as they are trained, none is both faster and more accurate"


def finetuned_rows(found: Finetuned) -> Rows:
    """A row for each fine-tuned network."""
    several, is_shortened = len(found.networks) > 1, any(": ended after" in note for note in found.notes)
    first, front = found.held_out[0], {member.spec for member in found.front}
    networks = list(zip(found.networks, found.held_out, strict=True))
    trained = Column(f"trained {metric_text(found.test.main.name)} [90 % interval]", "%, held-out images")
    unbeaten = (Column("unbeaten", align="left", spare=1), lambda pair: "yes" if pair[0].spec in front else "no")
    return rows_of(
        f"The best {'networks, each' if several else 'network,'} trained on its own for "
        f"{'up to ' * is_shortened}{found.steps:,} steps",
        networks,
        (NAME, lambda pair: pair[0].spec.name),
        (trained, lambda pair: percent_text(pair[1].main) + ", inherited" * (found.kind(pair[0]) == "inherited")),
        (Column("measured latency [95 % interval]", "ms"), lambda pair: measured_text(pair[0].latency)),
        *([unbeaten] if several else []),
        stressed=frozenset({found.best}),
        notes=(
            f"recipe {found.recipe}: {found.images:,} images seen{' by each' * several}{', at most' * is_shortened}; "
            f"{first.count:,} held out to decide by{trivial_text(first)}",
            *([UNBEATEN_MEANS] if several else []),
            *(f"{e.spec.name}: {collapsed_text(m.main.name)}" for e, m in networks if not m.beats_trivial),
            *found.notes,
        ),
    )


def finetuned_lines(found: Finetuned, *, folder: Path) -> Iterator[str]:
    """The network to ship, and the path of its weights."""
    best = found.networks[found.best]
    yield (
        f"ship {best.spec.name}: {measured_text(best.latency)} ms measured, within the budget of "
        f"{best.budget.latency_ms:g} ms by the upper end of its interval"
    )
    if len(found.networks) > 1:
        yield f"  the most accurate of {len(found.networks)} on the held-out images"
    yield (
        f"  {found.kind(best)} {metric_text(found.test.main.name)} {percent_text(found.test.main)} % on "
        f"{found.test.count:,} test images, which played no part before (90 % interval)"
        f"{trivial_text(found.test)}"
    )
    if details := found.test.details:
        yield f"  on the same images: {', '.join(f'{metric_text(name)} {100 * one:.1f} %' for name, one in details)}"
    if not found.test.beats_trivial:
        yield f"  {collapsed_text(found.test.main.name)}"
    yield f"  spec: {folder / 'ship.yaml'}; weights: {folder / 'ship.pt'}; front: {folder / 'front'}"
    yield f"  longer: mnv2search train {folder / 'ship.yaml'} --from {folder / 'ship.pt'} --data DATA"


def supernet_rows(report: SupernetReport) -> Rows:
    """Some of the networks with their inherited accuracies."""
    return rows_of(
        "Some of the networks that share the weights",
        report.shown,
        (NAME, lambda shown: shown[0].name),
        (Column("inherited top1", "% [90 % interval]"), lambda shown: accuracy_text(shown[1])),
        (Column("multiply-adds", "M"), lambda shown: millions(cost_of(shown[0]).madds)),
        (Column("side", "px"), lambda shown: str(shown[0].size)),
    )


def supernet_lines(report: SupernetReport) -> Iterator[str]:
    """Notes on the training, and the command to search with the supernet."""
    yield from report.notes
    yield f"to search with it: mnv2search run --latency-ms MS --space SPACE --accuracy '{report.evaluator}'"


def supernet_json(report: SupernetReport) -> dict[str, object]:
    """A JSON document with the folder, the notes and the networks."""
    return {
        "folder": str(report.folder),
        "evaluator": report.evaluator,
        "notes": list(report.notes),
        "networks": [
            {"name": spec.name, "accuracy": asdict(accuracy), "cost": asdict(cost_of(spec))}
            for spec, accuracy in report.shown
        ],
    }
