"""A detector or a segmenter trained from beginning to end: data, first weights, the loop, and the final figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mnv2search.atomic import write_text
from mnv2search.data.prepare import image_folder
from mnv2search.data.readers.scene_sets import read_scene_set
from mnv2search.data.scene_batches import LoadedScenes, loaded_parts
from mnv2search.data.scenes import SceneSet
from mnv2search.errors import StoppedError
from mnv2search.model.build import MobileNet, build
from mnv2search.model.ssdlite import SsdLiteHead
from mnv2search.recipe import Recipe
from mnv2search.report.dense_training import dense_figures_rows, dense_training_lines, faults_lines
from mnv2search.results.training import DenseTrainingReport
from mnv2search.spec.classes import with_classes
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.supernet.inherit import inherit
from mnv2search.supernet.initial_weights import network_of
from mnv2search.tasks.dense_metrics import DenseFigures, dense_figures
from mnv2search.tasks.matching import reached
from mnv2search.tasks.task import HEADS, task_of
from mnv2search.training.dense_loop import DenseProgress, check_recipe, train_dense
from mnv2search.training.loop import BEST, LAST
from mnv2search.workflows.training.folder import check_existing_training, training_lock
from mnv2search.workflows.training.train import REPORT
from mnv2search.workflows.training.training_log import logged, write_page

__all__ = ["dense_report_json", "train_dense_spec"]

VOID_NUMBER = 255


def train_dense_spec(
    spec: ModelSpec,
    *,
    data: Path,
    folder: Path,
    recipe: Recipe,
    seed: int = 0,
    epochs: int | None = None,
    time_s: float | None = None,
    weights: Path | None = None,
    weights_spec: ModelSpec | None = None,
    void: int = VOID_NUMBER,
    device: str = "cpu",
    on_read: Callable[[SceneSet], None] = lambda _: None,
    on_progress: Callable[[DenseProgress], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> DenseTrainingReport:
    """Train a detector or a segmenter on scenes, or go on with a training in `folder`.

    Args:
        spec: to train; it gets the classes of the data.
        data: see `mnv2search.data.readers.scene_sets.read_scene_set`.
        folder: to write to; a training in it is gone on with.
        recipe: how.
        seed: of first weights, draws, and parts of the data that are drawn.
        epochs: in place of the recipe's.
        time_s: of training, in place of epochs.
        weights: first weights: a `.pt` file of ours, a classifier's among them, or a file of published weights.
        weights_spec: the network that published weights belong to.
        void: number of the pixels of masks that count for nothing.
        device: of torch, such as ``cuda``.
        on_read: told of the scenes before the training, and with them of what is wrong.
        on_progress: told after every step.
        on_note: told what becomes of a training that the folder holds, and of a time that is too short.
        stop: asked after every step, and between the batches of evaluations.

    Raises:
        StoppedError: it was asked to stop; what was done is kept.
        OptionError: the network classifies, or the recipe has what only classifiers have.
        DataError: the scenes cannot be learned from.
        WeightsError: the weights do not fit.
        TrainingError: the training cannot begin or go on.
    """
    check_recipe(recipe)
    task = task_of(spec)
    with training_lock(folder):
        scenes = read_scene_set(data, task, seed=seed, unpack_to=image_folder(), void=void)
        on_read(scenes)
        source, spec = weights_spec or spec, with_classes(spec, len(scenes.classes), head=HEADS[task])
        parts = loaded_parts(scenes, size=spec.size)
        epoch_steps = len(parts[0]) // min(recipe.batch, len(parts[0]))
        check_existing_training(folder, epochs=epochs, time_s=time_s, epoch_steps=epoch_steps, on_note=on_note)
        model = build(spec, seed=seed)
        inheritance = None
        if weights is not None and not (folder / LAST).exists():
            inheritance = inherit(model, network_of(weights, source))
        with logged(folder, on_progress, _scalars) as told:
            trained = train_dense(
                model,
                parts[0],
                parts[1],
                recipe,
                classes=scenes.classes,
                folder=folder,
                seed=seed,
                epochs=epochs,
                time_s=time_s,
                data=scenes.fingerprint,
                device=device,
                on_progress=told,
                on_note=on_note,
                stop=stop,
                after=len(parts[2]) / len(parts[1]),
            )
        if trained.stopped:
            raise StoppedError(f"interrupted at step {trained.steps}; run the same command to resume")
        best = network_of(folder / BEST, spec).to(device)
        test = dense_figures(
            best, parts[2], scenes.classes, normalization=recipe.normalization, device=device, stop=stop
        )
        report = DenseTrainingReport(
            spec=spec,
            scenes=scenes,
            recipe=recipe,
            trained=trained,
            test=test,
            inheritance=inheritance,
            device=torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
            threads=torch.get_num_threads(),
            reach=_reach(best, parts[0], len(scenes.classes)),
            folder=folder,
        )
        write_text(folder / REPORT, json.dumps(dense_report_json(report), indent=2) + "\n")
        write_page(
            folder,
            title=f"Training of {spec.name} for {task}",
            lines=[*faults_lines(scenes), *dense_training_lines(report)],
            batch=min(recipe.batch, len(scenes.train)),
            on_note=on_note,
            parts=[dense_figures_rows(report)],
        )
        return report


def dense_report_json(report: DenseTrainingReport) -> dict[str, Any]:
    """The report as JSON values."""

    def told(figures: DenseFigures) -> dict[str, Any]:
        return {**_scalars(figures), "images": figures.count}

    trained, scenes = report.trained, report.scenes
    return {
        "name": report.spec.name,
        "task": scenes.task,
        "data": str(scenes.root),
        "fingerprint": scenes.fingerprint,
        "classes": list(scenes.classes),
        "faults": [str(fault) for fault in scenes.faults],
        "recipe": asdict(report.recipe),
        "held_out": told(trained.best),
        "test": told(report.test),
        "best_step": trained.best_step,
        "steps": trained.steps,
        "epochs": trained.epochs,
        "seconds": trained.seconds,
        "images_per_s": trained.images_per_s,
        "resumed_at": trained.resumed_at,
        "precision": trained.precision,
        "inherited": None if report.inheritance is None else report.inheritance.share,
        "reach": list(report.reach),
        "device": report.device,
        "threads": report.threads,
    }


def _reach(model: MobileNet, train: LoadedScenes, classes: int) -> tuple[float | None, ...]:
    if not isinstance(model.head, SsdLiteHead):
        return ()
    anchors = model.head.anchors.cpu()
    found = torch.cat([reached(corners, anchors) for corners in train.corners if len(corners)]).float()
    labels = torch.tensor([label for scene in train.scenes for label in scene.labels])
    return tuple(float(found[labels == k].mean()) if (labels == k).any() else None for k in range(classes))


def _scalars(figures: DenseFigures) -> dict[str, float]:
    return {figures.metric: figures.value, **dict(figures.details)}
