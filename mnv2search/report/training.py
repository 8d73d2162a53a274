"""Results of trainings, supernets and fine-tuning, as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.accuracy.types import metric_text
from mnv2search.cost import cost_of
from mnv2search.report.data import faults_counted
from mnv2search.report.evaluation import SHORT, class_rows, collapsed_text, metrics_text, summary_of, trivial_text
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
from mnv2search.report.search.front import front_files_text
from mnv2search.spec.model_spec import Classifier
from mnv2search.tasks.metrics import difference_of

if TYPE_CHECKING:
    from mnv2search.data.dataset import Fault
    from mnv2search.evaluation import Evaluation
    from mnv2search.results.finetuning import Finetuned
    from mnv2search.results.training import Prediction, SupernetReport, TrainingReport
    from mnv2search.tasks.metrics import Metrics
    from mnv2search.training.progress import Progress


SHOWN = 8
# Share of a class's boxes with a matching anchor below which the class is reported.
FEW_REACHED = 0.5


def progress_text(progress: Progress) -> str:
    """The progress of a training, in a line."""
    text = (
        f"epoch {progress.epoch}, step {progress.step}/{progress.steps or '?'}, loss {progress.loss:.3f}, "
        f"{_rate(progress.images_per_s)}"
    )
    if progress.evaluated is None:
        return text
    main = progress.evaluated.main
    return f"{text}; validation: {100 * main.value:.1f} % {SHORT.get(main.name, main.name)}"


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
    if trained.reductions:
        yield f"the training diverged: the learning rate was halved {_times(trained.reductions)}"
    if trained.is_stopped_early:
        yield f"ended early: no better in {counted(report.recipe.patience, 'epoch')}"
    if trained.was_finished:
        yield "the training was finished already; nothing was left to do"
    if report.recipe.shift_px:
        most = report.recipe.shift_px
        yield f"the images are no larger than the network's input: shifted by {most} px at most, not cut"
    if report.unreadable:
        yield f"{len(report.unreadable)} images could not be read and were left out, such as {report.unreadable[0]}"
    yield f"validation, used to choose the weights of step {trained.best_step}: {metrics_text(trained.best)}"
    yield f"test, which played no part: {metrics_text(report.test)}; intervals hold 90 %"
    if low := [n for n, f in (("validation", trained.best), ("test", report.test)) if not f.beats_trivial]:
        yield f"{collapsed_text(report.test.main.name)}: {' and '.join(low)}"
    if trained.best.score is not None:
        yield (
            f"boxes with a score of at least {trained.best.score:.2g} have the best F1 on the validation images; "
            "predict shows these"
        )
    yield f"weights: {report.folder / 'best.pt'}; report: {report.folder / 'report.html'}"


def training_note(report: TrainingReport) -> str:
    """A note for the table of metrics."""
    held_out, test = report.trained.best.count, report.test.count
    return f"on {held_out} and {test} images; the weights were chosen on the validation images"


def training_rows(report: TrainingReport) -> Iterator[Rows]:
    """Tables of the metrics of each class and of the most frequent confusions, shortened."""
    measured = {"validation": report.trained.best, "test": report.test}
    return class_rows(measured, report.data.classes, note=training_note(report))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _rate(images_per_s: float) -> str:
    """Training throughput, with a decimal below 100 images/s."""
    return f"{images_per_s:.{0 if images_per_s >= 100 else 1}f} images/s"


def _first_weights_lines(report: TrainingReport) -> Iterator[str]:
    over, classifies = report.inheritance, isinstance(report.spec.head, Classifier)
    if over is not None:
        head = (", the classifier too" if over.classifier else ", not the classifier") if classifies else ""
        new = f"; {over.new_blocks} blocks are new" if over.new_blocks else ""
        yield f"initial weights: {100 * over.share:.0f} % of the parameters were taken over{head}{new}"
    elif not classifies and not report.trained.resumed_at:
        yield (
            "initial weights: random; weights of a classifier (--from) give much better results after the same "
            "number of epochs"
        )


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


# Classes or boxes of an image that are printed.
PREDICTIONS_SHOWN = 5


def predicted_lines(predictions: Sequence[Prediction]) -> Iterator[str]:
    """A line for each image."""
    from mnv2search.tasks.prediction import MOST_BOXES

    for one in predictions:
        count = len(one.found)
        seen = ", ".join(map(str, one.found[:PREDICTIONS_SHOWN])) or "nothing"
        more = f" and {count - PREDICTIONS_SHOWN} more" if count > PREDICTIONS_SHOWN else ""
        boxes = sum(found.box is not None for found in one.found)
        best = f", the best {MOST_BOXES} of {boxes} boxes" if boxes > MOST_BOXES else ""
        yield f"{one.image}: {seen}{more}; drawn into {one.drawn}{best}"


UNBEATEN_MEANS = "unbeaten: of these networks, as they are trained, none is both faster and more accurate"
OBVIOUS_MEANS = (
    "obvious: trained for comparison (MobileNetV2 near the budget and, with --from, the network of the given "
    "weights); only the other networks may begin with weights from the search"
)


def finetuned_rows(found: Finetuned) -> Rows:
    """A row for each fine-tuned network, most accurate first."""
    several, front = len(found.networks) > 1, {member.spec for member in found.front}
    networks = sorted(
        zip(found.networks, found.held_out, found.steps, strict=True), key=lambda row: -row[1].main.value
    )
    best = next(i for i, row in enumerate(networks) if row[0] == found.networks[found.best])
    trained = Column(f"trained {metric_text(found.test.main.name)} [90 % interval]", "%, validation images")
    first = found.held_out[found.best]
    optional: list[tuple[Column, Callable[[tuple[Evaluation, Metrics, int]], str]]] = []
    if several:
        optional.append(
            (Column("unbeaten", align="left", spare=1), lambda row: "yes" if row[0].spec in front else "no")
        )
    if found.obvious:
        optional.append((Column("obvious", align="left"), lambda row: "yes" * (row[0].spec.name in found.obvious)))
    return rows_of(
        f"{counted(len(networks), 'network')} trained separately",
        networks,
        (NAME, lambda row: row[0].spec.name),
        (trained, lambda row: percent_text(row[1].main) + ", inherited" * (found.kind(row[0]) == "inherited")),
        (Column("steps"), lambda row: f"{row[2]:,}"),
        (Column("measured latency [95 % interval]", "ms"), lambda row: measured_text(row[0].latency)),
        *optional,
        stressed=frozenset({best}),
        notes=(
            f"longest training: recipe {found.recipe}, {found.images:,} images seen; {first.count:,} validation "
            f"images to decide by{trivial_text(first)}",
            *([UNBEATEN_MEANS] if several else []),
            *([OBVIOUS_MEANS] if found.obvious else []),
            *(f"{e.spec.name}: {collapsed_text(m.main.name)}" for e, m, _ in networks if not m.beats_trivial),
            *agreement_lines(found),
            *found.notes,
        ),
    )


def agreement_lines(found: Finetuned) -> Iterator[str]:
    """How far the search and separate trainings agree on the order of networks; nothing if that is unknown."""
    agreement = found.agreement
    if agreement is None:
        return
    weak = "; the search says little about the order of these networks" if agreement.low <= 0 else ""
    yield (
        "rank correlation of the accuracies of the search with those after separate trainings: "
        f"{agreement.value:.2f} [{agreement.low:.2f}, {agreement.high:.2f}] ({agreement.networks} networks, first "
        f"round){weak}"
    )


def compared_text(found: Finetuned) -> str:
    """The gain of the best network of the search over the best obvious network after equal trainings.

    The two accuracies count as independent, which makes the interval too wide for the same images.
    """
    compared = found.compared
    if compared is None:
        return f"not compared with an obvious network: {found.uncompared or 'there was too little time'}"
    gain = difference_of(compared.found_held_out.main, compared.obvious_held_out.main)
    points = f"{100 * gain.value:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
    after = f"after {counted(compared.steps, 'step')} each, on {compared.found_held_out.count:,} validation images"
    if found.networks[found.best].spec.name in found.obvious:
        other = f"the gain of its best network, {compared.found}, is {points} {after}"
        return f"the search found nothing better than {compared.obvious}: {other}"
    certain = "" if gain.low > 0 else "; the interval reaches 0, so the gain is not certain"
    return f"{points} over {compared.obvious}, the best obvious network, {after}{certain}"


def finetuned_lines(found: Finetuned, *, folder: Path, front: Sequence[Evaluation] = ()) -> Iterator[str]:
    """The network to ship, with the paths of its files, of the other trained networks, and of the `front`."""
    best = found.networks[found.best]
    yield (
        f"ship {best.spec.name}: {measured_text(best.latency)} ms measured, within the budget of "
        f"{best.budget.latency_ms:g} ms by the upper end of its interval"
    )
    yield f"  {compared_text(found)}"
    yield (
        f"  {found.kind(best)} {metric_text(found.test.main.name)} {percent_text(found.test.main)} % on "
        f"{found.test.count:,} test images, not used to choose networks or weights (90 % interval)"
        f"{trivial_text(found.test)}"
    )
    if details := summary_of(found.test):
        yield f"  on the same images: {', '.join(f'{metric_text(name)} {100 * one:.1f} %' for name, one in details)}"
    if not found.test.beats_trivial:
        yield f"  {collapsed_text(found.test.main.name)}"
    files = front_files_text(folder, (*found.front, *front))
    yield f"  spec: {folder / 'ship.yaml'}; weights: {folder / 'ship.pt'}; {files}"
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
