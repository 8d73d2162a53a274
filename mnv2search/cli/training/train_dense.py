"""The part of `mnv2search train` for detectors and segmenters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.cli.output import answer, emit_json, note

if TYPE_CHECKING:
    from mnv2search.data.scenes import SceneSet
    from mnv2search.spec.model_spec import ModelSpec
    from mnv2search.training.dense_loop import DenseProgress

__all__ = ["trained_dense"]


def trained_dense(
    network: ModelSpec,
    *,
    data: Path,
    folder: Path,
    recipe: str,
    seed: int,
    epochs: int | None,
    time_s: float | None,
    weights: Path | None,
    from_spec: str | None,
    void: int,
    device: str,
    as_json: bool,
    quiet: bool,
    stop: Callable[[], bool],
) -> None:
    """Train, tell how it goes and what it came to.

    Raises:
        StoppedError: it was stopped before its end.
    """
    from mnv2search.cli.progress import plain_turns
    from mnv2search.recipe import load_recipe
    from mnv2search.report.dense_training import dense_progress_text, dense_training_lines, faults_lines
    from mnv2search.spec.yaml.codec import load_spec
    from mnv2search.workflows.training.train_dense import dense_report_json, train_dense_spec

    def read(scenes: SceneSet) -> None:
        for line in faults_lines(scenes):
            note(line)

    due = plain_turns()

    def told(progress: DenseProgress) -> None:
        if not (quiet or as_json) and due(is_told=progress.evaluated is not None):
            note(dense_progress_text(progress))

    report = train_dense_spec(
        network,
        data=data,
        folder=folder,
        recipe=load_recipe(recipe),
        seed=seed,
        epochs=epochs,
        time_s=time_s,
        weights=weights,
        weights_spec=None if from_spec is None else load_spec(from_spec),
        void=void,
        device=device,
        on_read=read,
        on_progress=told,
        on_note=note,
        stop=stop,
    )
    if as_json:
        emit_json(dense_report_json(report))
    else:
        answer(dense_training_lines(report))
