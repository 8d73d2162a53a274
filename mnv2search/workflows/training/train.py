"""A network trained on images from beginning to end: data, first weights, the loop, and the final figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mnv2search.atomic import write_text
from mnv2search.data.image_batches import Cutting
from mnv2search.data.images import SPLITS, read_image_set
from mnv2search.data.pixels import MOST_BYTES
from mnv2search.data.prepare import image_folder, prepare
from mnv2search.errors import StoppedError, TrainingError
from mnv2search.model.build import build
from mnv2search.model.weights.saved import read_network
from mnv2search.recipe import Recipe
from mnv2search.report.training import training_lines
from mnv2search.results.training import TrainingReport
from mnv2search.spec.classes import with_classes
from mnv2search.spec.model_spec import Classifier, ModelSpec, square_side
from mnv2search.supernet.inherit import inherit
from mnv2search.supernet.initial_weights import network_of
from mnv2search.tasks.classification import Figures, evaluate
from mnv2search.training.distributed import ALONE, Team
from mnv2search.training.loop import BEST, LAST, Progress, train
from mnv2search.workflows.training.folder import check_existing_training, training_lock
from mnv2search.workflows.training.training_log import logged, write_page

__all__ = ["REPORT", "train_spec"]

REPORT = "training.json"


def train_spec(
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
    teacher: Path | None = None,
    team: Team = ALONE,
    most_bytes: float = MOST_BYTES,
    on_decoded: Callable[[int], None] = lambda _: None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> TrainingReport:
    """Train a network on a set of images, or go on with a training in `folder`.

    The classifier gets the classes of the data. The weights with the best figures on held-out images are kept, and
    evaluated once on the images for the final figures.

    Args:
        spec: to train.
        data: see `mnv2search.data.images.read_image_set`.
        folder: to write to; a training in it is gone on with.
        recipe: how.
        seed: of first weights, draws, and parts of the data that are drawn.
        epochs: in place of the recipe's.
        time_s: of training, in place of epochs.
        weights: first weights: a `.pt` file of ours with any network of as many rows or stages, or published ones,
            which are inherited alike.
        weights_spec: the network that published weights belong to; None takes `spec`, with its own classes.
        teacher: a `.pt` file of a network with the same classes, whose answers are learned from too.
        team: this process, with the device that it trains on, among those that train with it; the leader alone
            writes.
        most_bytes: that decoded images may take on the disk.
        on_decoded: told how many images are decoded.
        on_progress: told after every step.
        on_note: told what becomes of a training that the folder holds, and of a time that is too short.
        stop: asked after every step; a process alone asks while images are decoded and between the batches of
            evaluations too.

    Raises:
        StoppedError: it was asked to stop; what was done is kept.
        OptionError: the spec has no classifier, or `folder` holds another training.
        OtherProcessError: another process of the team failed.
        DataError: the images cannot be learned from.
        WeightsError: the weights do not fit.
        TrainingError: the training cannot begin or go on.
    """
    device = team.device
    asked = stop if team.size == 1 else lambda: False

    def decoded(count: int) -> None:
        on_decoded(count)
        if asked():
            raise StoppedError("interrupted while images were being decoded; run the same command to start over")

    with training_lock(folder, team):
        images = team.in_turn(lambda: read_image_set(data, seed=seed, unpack_to=image_folder()))
        source = weights_spec or spec
        spec = with_classes(spec, len(images.classes))
        prepared = team.in_turn(
            lambda: prepare(
                images,
                side=square_side(spec),
                recipe=recipe,
                splits=SPLITS,
                most_bytes=most_bytes,
                on_progress=decoded,
            )
        )
        recipe, parts = prepared.recipe, prepared.parts
        epoch_steps = len(parts["train"]) // recipe.batch
        team.agreed(
            lambda: check_existing_training(
                folder, epochs=epochs, time_s=time_s, epoch_steps=epoch_steps, on_note=on_note
            )
        )
        model = build(spec, seed=seed)
        inheritance = None
        if weights is not None and not (folder / LAST).exists():
            inheritance = inherit(model, network_of(weights, source))
        taught = None if teacher is None else _teacher(teacher, spec, device)
        with logged(folder, on_progress, _scalars) if team.is_leader else nullcontext(on_progress) as told:
            trained = train(
                model,
                parts["train"],
                parts["val"],
                recipe,
                folder=folder,
                seed=seed,
                epochs=epochs,
                time_s=time_s,
                data=images.fingerprint,
                device=device,
                team=team,
                teacher=taught,
                on_progress=told,
                on_note=on_note,
                stop=stop,
                after=len(parts["test"]) / len(parts["val"]),
                classes=images.classes,
            )
        if trained.stopped:
            raise StoppedError(f"interrupted at step {trained.steps}; run the same command to resume")
        cutting = Cutting(side=square_side(spec), normalization=recipe.normalization)
        test = team.agreed(
            lambda: evaluate(
                read_network(folder / BEST).to(device), parts["test"], cutting, device=device, stop=asked
            )
        )
        report = TrainingReport(
            spec=spec,
            images=images,
            recipe=recipe,
            trained=trained,
            test=test,
            unreadable=prepared.unreadable,
            inheritance=inheritance,
            device=torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
            threads=torch.get_num_threads(),
            processes=team.size,
            folder=folder,
        )
        if team.is_leader:
            write_text(folder / REPORT, json.dumps(report_json(report), indent=2) + "\n")
            write_page(
                folder,
                title=f"Training of {spec.name}",
                lines=list(training_lines(report)),
                batch=recipe.batch,
                on_note=on_note,
            )
        return report


def report_json(report: TrainingReport) -> dict[str, Any]:
    """The report as JSON values."""

    def told(figures: Figures) -> dict[str, Any]:
        low, high = figures.interval
        return {
            "top1": figures.top1,
            "low": low,
            "high": high,
            "commonest": figures.commonest,
            "loss": figures.loss,
            "images": figures.count,
        }

    trained = report.trained
    return {
        "name": report.spec.name,
        "data": str(report.images.root),
        "fingerprint": report.images.fingerprint,
        "classes": list(report.images.classes),
        "recipe": asdict(report.recipe),
        "seed": report.images.seed,
        "held_out": told(trained.best),
        "test": told(report.test),
        "best_step": trained.best_step,
        "steps": trained.steps,
        "epochs": trained.epochs,
        "seconds": trained.seconds,
        "images_per_s": trained.images_per_s,
        "resumed_at": trained.resumed_at,
        "inherited": None if report.inheritance is None else report.inheritance.share,
        "unreadable": [str(path) for path in report.unreadable],
        "precision": trained.precision,
        "device": report.device,
        "threads": report.threads,
        "processes": report.processes,
    }


def _scalars(figures: Figures) -> dict[str, float]:
    return {"top1": figures.top1, "loss": figures.loss}


def _teacher(path: Path, spec: ModelSpec, device: str) -> torch.nn.Module:
    teacher = read_network(path)
    head = teacher.spec.head
    if not (isinstance(head, Classifier) and isinstance(spec.head, Classifier)) or head.classes != spec.head.classes:
        raise TrainingError(f"the teacher {path} has other classes", hint="train it on the same data first")
    if teacher.spec.resolution != spec.resolution and teacher.only_size is not None:
        raise TrainingError(f"the teacher {path} takes images of {teacher.only_size} px only", hint="take another")
    return teacher.to(device).requires_grad_(False)
