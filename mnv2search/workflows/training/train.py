"""A network trained from beginning to end: data, first weights, training, and the final metrics."""

from __future__ import annotations

import json
from collections.abc import Callable, Sized
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from mnv2search.atomic import write_text
from mnv2search.data.loaded_scenes import VOID
from mnv2search.errors import OptionError, StoppedError
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights.saved import Learned, read_network
from mnv2search.recipe import Recipe, load_recipe
from mnv2search.report.training import faults_lines, metrics_rows, training_lines
from mnv2search.results.training import TrainingReport, report_json
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.supernet.inherit import Inheritance, inherit
from mnv2search.supernet.initial_weights import network_of
from mnv2search.tasks.metrics import Metrics
from mnv2search.tasks.task import AnyTask, Data, Parts, task_of
from mnv2search.training.distributed import ALONE, Team
from mnv2search.training.learner import Job
from mnv2search.training.progress import Progress, Trained
from mnv2search.training.train import train
from mnv2search.training.trainer import BEST, LAST
from mnv2search.workflows.training.folder import check_existing_training, training_lock
from mnv2search.workflows.training.training_log import logged, write_page

__all__ = ["REPORT", "TrainingRequest", "train_spec"]

REPORT = "training.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """What to train, on what, and for how long.

    Attributes:
        spec: of the network; its head gets the classes of the data.
        data: see `mnv2search data --help`.
        folder: to write to; a training in it is resumed.
        recipe: of the training, or its name or file; None takes the default of the network's task.
        seed: of first weights, draws, and splits that are drawn.
        epochs: overrides the recipe's.
        time_s: wall time of training, overrides epochs.
        weights: first weights: a `.pt` file of ours with any network of as many rows or stages, or published ones.
        weights_spec: the network that published weights belong to; None takes `spec`, with its own classes.
        teacher: a `.pt` file of a network with the same classes, for distillation.
        void: mask value to ignore.
        team: this process, with its device, among those that train together; the leader alone writes.
    """

    spec: ModelSpec
    data: Path
    folder: Path
    recipe: Recipe | str | None = None
    seed: int = 0
    epochs: int | None = None
    time_s: float | None = None
    weights: Path | None = None
    weights_spec: ModelSpec | None = None
    teacher: Path | None = None
    void: int = VOID
    team: Team = ALONE


def train_spec(
    request: TrainingRequest,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> TrainingReport:
    """Train a network, or resume the training in the folder.

    The weights with the best metric on the validation images are kept, and evaluated once on the test images.

    Args:
        request: what to train.
        on_progress: called after every step.
        on_note: called with faults of the data, what the folder already holds, and a time that is too short.
        stop: asked after every step; a process alone asks while images are decoded and between the batches of
            evaluations too.

    Raises:
        StoppedError: it was asked to stop; the work so far is kept.
        OptionError: the network has no task, the recipe or an option does not suit it, or the folder holds another
            training.
        OtherProcessError: another process of the team failed.
        DataError: the data cannot be learned from.
        WeightsError: the weights do not fit.
        TrainingError: the training fails.
    """
    task, folder, team = task_of(request.spec), request.folder, request.team
    _check(request, task)
    with training_lock(folder, team):
        data = team.in_turn(lambda: task.read(request.data, seed=request.seed, void=request.void))
        faults = task.faults(data)
        for line in faults_lines(faults):
            on_note(line)
        spec = task.fitted(request.spec, data)
        parts = team.in_turn(lambda: _decoded(request, task, data, spec, stop))
        model = build(spec, seed=request.seed)
        inheritance = _inherit(request, model)
        trained = _trained(request, task, data, parts, model, on_progress, on_note, stop)
        if trained.stopped:
            raise StoppedError(f"interrupted at step {trained.steps}; run the same command to resume")
        best, device = read_network(folder / BEST).to(team.device), team.device
        test = team.agreed(lambda: _tested(request, task, data, parts, best, stop))
        report = TrainingReport(
            spec=spec,
            task=task.name,
            data=data,
            seed=request.seed,
            recipe=parts.recipe,
            trained=trained,
            test=test,
            inheritance=inheritance,
            device=torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
            threads=torch.get_num_threads(),
            processes=team.size,
            folder=folder,
            unreadable=parts.unreadable,
            faults=faults,
            reach=task.reach(best, parts.examples["train"], len(data.classes)),
        )
        if team.is_leader:
            _write(report, on_note)
        return report


def _check(request: TrainingRequest, task: AnyTask) -> None:
    """Refuse options that the task does not have, before anything is read."""
    task.check(_recipe(request, task))
    if request.team.size > 1 and not task.distributes:
        raise OptionError(f"several processes cannot train for {task.name} together", hint="leave out torchrun")
    if request.teacher is not None and not task.distills:
        raise OptionError(f"--distill is not for {task.name}", hint="leave it out")


def _recipe(request: TrainingRequest, task: AnyTask) -> Recipe:
    recipe = request.recipe or task.recipe
    return load_recipe(recipe) if isinstance(recipe, str) else recipe


def _decoded(
    request: TrainingRequest, task: AnyTask, data: Data, spec: ModelSpec, stop: Callable[[], bool]
) -> Parts[Sized]:
    def decoded(_: int) -> None:
        if request.team.size == 1 and stop():
            raise StoppedError("interrupted while images were being decoded; run the same command to start over")

    return task.prepare(data, spec, _recipe(request, task), on_progress=decoded)


def _inherit(request: TrainingRequest, model: MobileNet) -> Inheritance | None:
    """Fill a new network with the first weights; what came over, or None."""
    if request.weights is None or (request.folder / LAST).exists():
        return None
    return inherit(model, network_of(request.weights, request.weights_spec or request.spec))


def _trained(
    request: TrainingRequest,
    task: AnyTask,
    data: Data,
    parts: Parts[Sized],
    model: MobileNet,
    on_progress: Callable[[Progress], None],
    on_note: Callable[[str], None],
    stop: Callable[[], bool],
) -> Trained:
    folder, team, train_part, val = request.folder, request.team, parts.examples["train"], parts.examples["val"]
    epochs, time_s, batch = request.epochs, request.time_s, task.batch_of(parts.recipe, len(train_part))
    team.agreed(
        lambda: check_existing_training(
            folder, epochs=epochs, time_s=time_s, epoch_steps=len(train_part) // batch, on_note=on_note
        )
    )
    teacher = None if request.teacher is None else read_network(request.teacher)
    if teacher is not None and request.teacher is not None:
        task.check_teacher(teacher, model.spec, request.teacher)
        teacher = teacher.to(team.device).requires_grad_(False)
    with logged(folder, on_progress) if team.is_leader else nullcontext(on_progress) as progressed:
        job = Job(
            folder=folder,
            seed=request.seed,
            data=data.fingerprint,
            device=team.device,
            team=team,
            epochs=epochs,
            time_s=time_s,
            after=len(parts.examples["test"]) / len(val),
            on_progress=progressed,
            on_note=on_note,
            stop=stop,
        )
        return train(model, task, train_part, val, parts.recipe, job, classes=data.classes, teacher=teacher)


def _tested(
    request: TrainingRequest,
    task: AnyTask,
    data: Data,
    parts: Parts[Sized],
    best: MobileNet,
    stop: Callable[[], bool],
) -> Metrics:
    learned = Learned(classes=data.classes, normalization=parts.recipe.normalization)
    alone = stop if request.team.size == 1 else lambda: False
    return task.evaluate(best, parts.examples["test"], learned, device=request.team.device, stop=alone)


def _write(report: TrainingReport, on_note: Callable[[str], None]) -> None:
    """Write ``training.json``, ``curves.png`` and ``report.html``."""
    write_text(report.folder / REPORT, json.dumps(report_json(report), indent=2) + "\n")
    write_page(
        report.folder,
        title=f"Training of {report.spec.name} for {report.task}",
        lines=[*faults_lines(report.faults), *training_lines(report)],
        batch=min(report.recipe.batch, len(report.data.part("train"))),
        parts=[metrics_rows(report)] if report.test.details else [],
        on_note=on_note,
    )
