"""A training of a detector or a segmenter, for people: lines of text, and curves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnv2search.jobs.train_dense import DenseTrainingReport
    from mnv2search.training.dense_figures import DenseFigures
    from mnv2search.training.dense_loop import DenseProgress
    from mnv2search.training.scenes import SceneSet

__all__ = ["dense_figures_text", "dense_progress_text", "dense_training_lines", "draw_curves", "faults_lines"]

NAMES = {"map": "mAP", "miou": "mIoU", "ap50": "AP at IoU 0.5", "ap75": "AP at IoU 0.75", "pixels": "pixels right"}
SHOWN = 8


def dense_figures_text(figures: DenseFigures) -> str:
    """A figure with its details and the images it rests on."""
    details = ", ".join(f"{NAMES.get(name, name)} {100 * value:.1f}" for name, value in figures.details)
    return f"{100 * figures.value:.1f} % {NAMES[figures.metric]} on {figures.count} images ({details})"


def dense_progress_text(progress: DenseProgress) -> str:
    """Where a training is, in a line."""
    text = (
        f"epoch {progress.epoch}, step {progress.step}/{progress.steps or '?'}, loss {progress.loss:.3f}, "
        f"{progress.images_per_s:.1f} images/s"
    )
    found = progress.evaluated
    return text if found is None else f"{text}; held out: {100 * found.value:.1f} % {NAMES[found.metric]}"


def faults_lines(scenes: SceneSet) -> Iterator[str]:
    """What is wrong with a set, the first few in full."""
    if not scenes.faults:
        return
    clipped = sum(fault.done == "clipped" for fault in scenes.faults)
    yield f"{len(scenes.faults) - clipped} annotations are broken and skipped, {clipped} clipped:"
    yield from (f"  {fault}" for fault in scenes.faults[:SHOWN])
    if len(scenes.faults) > SHOWN:
        yield f"  and {len(scenes.faults) - SHOWN} more; training.json has them all"


def dense_training_lines(report: DenseTrainingReport) -> Iterator[str]:
    """What a training came to."""
    trained, scenes = report.trained, report.scenes
    yield (
        f"{report.spec.name} at {report.spec.resolution} px on {scenes.root}: {scenes.task} of {len(scenes.classes)} "
        f"classes, {len(scenes.train)} images to learn from"
    )
    if report.inheritance is not None:
        yield f"first weights: {report.inheritance.share:.0%} of the parameters came over"
    yield (
        f"{trained.steps} steps, {trained.epochs:.1f} epochs, {trained.seconds:.0f} s, {trained.images_per_s:.1f} "
        f"images/s on {report.device} with {report.threads} threads; recipe {report.recipe.name}"
    )
    yield f"held out, which chose the weights of step {trained.best_step}: {dense_figures_text(trained.best)}"
    yield f"test, which played no part: {dense_figures_text(report.test)}"
    yield f"weights: {report.folder / 'best.pt'}; curves: {report.folder / 'curves.png'}"


def draw_curves(history: Path, to: Path) -> None:
    """Draw the training loss and the figures on held-out images over the steps.

    Args:
        history: JSON lines, one an evaluation.
        to: a PNG file.
    """
    from matplotlib.figure import Figure  # late: it is slow to import

    lines = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    steps = [line["step"] for line in lines]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(steps, [line["loss"] for line in lines], marker="o")
    left.set(xlabel="step", ylabel="training loss, running mean", ylim=(0, None))
    metric = lines[0]["evaluated"]["metric"] if lines else "map"
    right.plot(steps, [100 * line["evaluated"]["value"] for line in lines], marker="o", label=NAMES[metric])
    for name in ("ap50", "pixels"):
        values = [dict(line["evaluated"]["details"]).get(name) for line in lines]
        known = [(step, 100 * value) for step, value in zip(steps, values, strict=True) if value is not None]
        if known:
            right.plot(*zip(*known, strict=True), marker=".", linestyle="--", label=NAMES[name])
    right.set(xlabel="step", ylabel="held-out images, %", ylim=(0, None))
    right.legend()
    figure.savefig(to, dpi=110)
