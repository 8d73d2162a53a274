"""A training of a detector or a segmenter, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mnv2search.accuracy.types import METRICS
from mnv2search.report.faults import faults_counted
from mnv2search.report.rows import Column, Rows, counted

if TYPE_CHECKING:
    from mnv2search.data.scenes import SceneSet
    from mnv2search.results.training import DenseTrainingReport
    from mnv2search.tasks.dense_metrics import DenseFigures
    from mnv2search.training.dense_loop import DenseProgress

__all__ = ["dense_figures_rows", "dense_figures_text", "dense_progress_text", "dense_training_lines", "faults_lines"]

AP, IOU = "AP, IoU 0.5 to 0.95,", "IoU"
SHOWN = 8
# Of the boxes of a class, below which its anchors do not fit it.
FEW_REACHED = 0.5


def dense_figures_text(figures: DenseFigures) -> str:
    """A figure with its details and the images it rests on."""
    details = ", ".join(f"{METRICS.get(name, name)} {100 * value:.1f}" for name, value in figures.details)
    return f"{100 * figures.value:.1f} % {METRICS[figures.metric]} on {figures.count} images ({details})"


def dense_progress_text(progress: DenseProgress) -> str:
    """Where a training is, in a line."""
    text = (
        f"epoch {progress.epoch}, step {progress.step}/{progress.steps or '?'}, loss {progress.loss:.3f}, "
        f"{progress.images_per_s:.1f} images/s"
    )
    found = progress.evaluated
    return text if found is None else f"{text}; held out: {100 * found.value:.1f} % {METRICS[found.metric]}"


def faults_lines(scenes: SceneSet) -> Iterator[str]:
    """What is wrong with a set, the first few in full."""
    if not scenes.faults:
        return
    yield f"{faults_counted(scenes.faults)}:"
    yield from (f"  {fault}" for fault in scenes.faults[:SHOWN])
    if len(scenes.faults) > SHOWN:
        yield f"  and {len(scenes.faults) - SHOWN} more; training.json has them all"


def dense_training_lines(report: DenseTrainingReport) -> Iterator[str]:
    """What a training came to."""
    trained, scenes = report.trained, report.scenes
    yield (
        f"{report.spec.name} at {report.spec.size} px on {scenes.root}: {scenes.task} of {len(scenes.classes)} "
        f"classes, {len(scenes.train)} images to learn from"
    )
    if report.inheritance is not None:
        yield f"first weights: {report.inheritance.share:.0%} of the parameters came over"
    elif not trained.resumed_at:
        yield "first weights: random; those of a classifier (--from) come much further in as many epochs"
    yield from _reach_lines(report)
    half = "" if trained.precision == "float32" else f" in {trained.precision}"
    yield (
        f"{trained.steps} steps, {trained.epochs:.1f} epochs, {trained.seconds:.0f} s, {trained.images_per_s:.1f} "
        f"images/s on {report.device} with {counted(report.threads, 'thread')}{half}; recipe {report.recipe.name}"
    )
    if trained.was_finished:
        yield "the training was finished already; nothing was left to do"
    yield f"held out, which chose the weights of step {trained.best_step}: {dense_figures_text(trained.best)}"
    yield f"test, which played no part: {dense_figures_text(report.test)}"
    yield f"weights: {report.folder / 'best.pt'}; report: {report.folder / 'report.html'}"


def _reach_lines(report: DenseTrainingReport) -> Iterator[str]:
    """How many boxes the anchors are made for."""
    known = [(n, s) for n, s in zip(report.scenes.classes, report.reach, strict=False) if s is not None]
    if known:
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in known)
        yield f"boxes that some anchor overlaps by half or more: {shares}"
    if few := [name for name, share in known if share < FEW_REACHED]:
        yield (
            f"  {', '.join(few)}: few are, so little is learned of them; a larger resolution, a smaller "
            "head.smallest_scale or head.reduced_first: false reaches more"
        )


def dense_figures_rows(report: DenseTrainingReport) -> Rows:
    """A row for each figure: the mean that decides, what it is made of, and one a class."""
    held_out, test = report.trained.best, report.test
    own = IOU if report.scenes.task == "segmentation" else AP
    beside = dict(held_out.details), dict(test.details)
    rows = [(METRICS[test.metric], *(f"{100 * figures.value:.1f}" for figures in (held_out, test)))]
    for name in dict.fromkeys((*beside[0], *beside[1])):
        values = (f"{100 * found[name]:.1f}" if name in found else "" for found in beside)
        rows.append((METRICS.get(name, f"{own} of {name}"), *values))
    return Rows(
        title="Figures",
        columns=(Column("figure", align="left"), Column("held out", "%"), Column("test", "%")),
        rows=tuple(rows),
        notes=(f"on {held_out.count} and {test.count} images; the held-out ones chose the weights",),
        stressed=frozenset({0}),
    )
