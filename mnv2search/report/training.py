"""A training, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mnv2search.report.rows import counted

if TYPE_CHECKING:
    from mnv2search.results.training import TrainingReport
    from mnv2search.training.loop import Figures, Progress

__all__ = ["COLLAPSED", "commonest_text", "figures_text", "progress_text", "training_lines"]


COLLAPSED = "warning: the interval does not lie above what always answering the commonest class gives"


def commonest_text(share: float | None) -> str:
    """What always answering the commonest class gives, to stand behind a figure; nothing where that is not known.

    >>> commonest_text(0.199)
    ', commonest class 19.9 %'
    """
    return "" if share is None else f", commonest class {100 * share:.1f} %"


def figures_text(figures: Figures) -> str:
    """A top-1 accuracy with its interval, the images it rests on, and what the commonest class alone gives."""
    low, high = figures.interval
    return (
        f"{100 * figures.top1:.1f} % [{100 * low:.1f}, {100 * high:.1f}] top-1 on {figures.count} images"
        f"{commonest_text(figures.commonest)}"
    )


def progress_text(progress: Progress) -> str:
    """Where a training is, in a line."""
    text = (
        f"epoch {progress.epoch}, step {progress.step}/{progress.steps or '?'}, loss {progress.loss:.3f}, "
        f"{progress.images_per_s:.0f} images/s"
    )
    return text if progress.evaluated is None else f"{text}; held out: {100 * progress.evaluated.top1:.1f} % top-1"


def training_lines(report: TrainingReport) -> Iterator[str]:
    """What a training came to."""
    trained, images = report.trained, report.images
    yield (
        f"{report.spec.name} at {report.spec.size} px on {images.root}: {len(images.classes)} classes, "
        f"{len(images.train)} images to learn from"
    )
    if report.inheritance is not None:
        over = report.inheritance
        yield (
            f"first weights: {over.share:.0%} of the parameters came over"
            f"{', the classifier too' if over.classifier else ', not the classifier'}"
            f"{f'; {over.new_blocks} blocks are new' if over.new_blocks else ''}"
        )
    workers = f"{report.processes} processes of " if report.processes > 1 else ""
    workers += counted(report.threads, "thread")
    half = "" if trained.precision == "float32" else f" in {trained.precision}"
    yield (
        f"{trained.steps} steps, {trained.epochs:.1f} epochs, {trained.seconds:.0f} s, {trained.images_per_s:.0f} "
        f"images/s on {report.device} with {workers}{half}; recipe {report.recipe.name}"
    )
    if trained.was_finished:
        yield "the training was finished already; nothing was left to do"
    if report.recipe.shift_px:
        most = report.recipe.shift_px
        yield f"the images are no larger than the network's input: shifted by {most} px at most, not cut"
    if report.unreadable:
        yield f"{len(report.unreadable)} images could not be read and were left out, such as {report.unreadable[0]}"
    yield f"held out, which chose the weights of step {trained.best_step}: {figures_text(trained.best)}"
    yield f"test, which played no part: {figures_text(report.test)}; intervals hold 90 %"
    if low := [n for n, f in (("held out", trained.best), ("test", report.test)) if not f.beats_commonest]:
        yield f"{COLLAPSED} ({', '.join(low)})"
    yield f"weights: {report.folder / 'best.pt'}; report: {report.folder / 'report.html'}"
