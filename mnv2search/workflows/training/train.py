"""Train a network: data, initial weights, training, and the final metrics."""

from __future__ import annotations

import json
from collections.abc import Callable, Sized
from contextlib import ExitStack, nullcontext

import torch

from mnv2search.atomic import write_text
from mnv2search.data.dataset import SPLITS
from mnv2search.data.prepare import Parts
from mnv2search.errors import OptionError, StoppedError
from mnv2search.locking import folder_lock
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights.network_file import Learned, read_network
from mnv2search.recipe import Recipe
from mnv2search.report.training import faults_lines, training_lines, training_note
from mnv2search.results.training import TrainingReport, report_json
from mnv2search.supernet.inheritance import inherit, network_of
from mnv2search.tasks.metrics import Metrics
from mnv2search.tasks.task import AnyTask, Data, task_of
from mnv2search.training.checkpoint import read_checkpoint
from mnv2search.training.learner import Job
from mnv2search.training.progress import Trained
from mnv2search.training.resumption import BEST, LAST
from mnv2search.training.throughput import images_within
from mnv2search.training.train import train
from mnv2search.workflows.training.images import evaluation_parts, worst_images
from mnv2search.workflows.training.origin import REPORT
from mnv2search.workflows.training.request import TrainingRequest, known_data, recipe_for
from mnv2search.workflows.training.settings import SETTINGS, kept_recipe, settings_text
from mnv2search.workflows.training.training_log import logged, write_page


def train_spec(request: TrainingRequest) -> TrainingReport:
    """Train a network, or resume the training in the folder.

    The weights with the best metric on the validation images are kept, and evaluated once on the test images.

    Raises:
        StoppedError: the training was asked to stop; the work so far is kept.
        OptionError: the network has no task, the recipe or an option does not suit it, or the folder holds another
            training.
        OtherProcessError: another process of the team failed.
        Mnv2SearchError: the data cannot be trained on, the weights do not fit, or the training fails.
    """
    task = task_of(request.spec)
    _check(request, task)
    lock = folder_lock(request.folder, busy="another training", hint="give another folder (-o)")
    with ExitStack() as stack:
        request.team.agreed(lambda: stack.enter_context(lock))  # one lock for all processes
        return _Run(request, task).report()


def _check(request: TrainingRequest, task: AnyTask) -> None:
    """Refuse options that the task does not support, before anything is read."""
    task.check(recipe_for(request, task.recipe))
    if request.team.size > 1 and not task.distributes:
        raise OptionError(f"several processes cannot train for {task.name} together", hint="leave out torchrun")
    if request.teacher is not None and not task.distills:
        raise OptionError(f"--distill is not for {task.name}", hint="leave it out")


class _Run:
    def __init__(self, request: TrainingRequest, task: AnyTask) -> None:
        self.request, self.task, self.folder, self.team = request, task, request.folder, request.team
        self.data: Data = self.team.in_turn(lambda: task.read(request.data, seed=request.seed, void=request.void))
        self.known = known_data(self.data, request.known_data)
        self.faults = task.faults(self.data)
        for line in faults_lines(self.faults):
            request.on_note(line)
        self.spec = task.fitted(request.spec, self.data)
        self.recipe = recipe_for(request, self.team.agreed(self._default_recipe))
        self.parts = self.team.in_turn(self._decoded)

    def report(self) -> TrainingReport:
        """Train, evaluate on the test images, and write the report."""
        request, team, parts = self.request, self.team, self.parts
        model = build(self.spec, seed=request.seed)
        inheritance = None
        is_new = not (self.folder / LAST).exists()
        for line in request.notes if is_new and team.is_leader else ():
            request.on_note(line)
        if request.weights is not None and is_new:
            inheritance = inherit(model, network_of(request.weights, request.weights_spec or request.spec))
        trained = self._trained(model)
        if trained.stopped:
            raise StoppedError(f"interrupted at step {trained.steps}; run the same command to resume")
        best = read_network(self.folder / BEST).to(team.device)
        test = team.agreed(lambda: self._tested(best))
        report = TrainingReport(
            spec=self.spec,
            task=self.task.name,
            data=self.data,
            seed=request.seed,
            recipe=parts.recipe,
            trained=trained,
            test=test,
            inheritance=inheritance,
            device=torch.cuda.get_device_name() if team.device.startswith("cuda") else "cpu",
            threads=torch.get_num_threads(),
            processes=team.size,
            folder=self.folder,
            unreadable=parts.unreadable,
            faults=self.faults,
            reach=self.task.reach(best, parts.examples["train"], len(self.data.classes)),
            worst=worst_images(test, self.data, "test", parts.unreadable),
        )
        if team.is_leader:
            _write(report, parts.examples["test"], request.on_note)
        return report

    def _default_recipe(self) -> Recipe | str:
        """The recipe of the training in the folder, or the default of the task for the number of epochs."""
        request, task = self.request, self.task
        if request.recipe is not None:
            return request.recipe
        if (self.folder / LAST).exists():
            return kept_recipe(self.folder) or task.recipe
        epochs: float | None = request.epochs
        if epochs is None and request.time_s is not None and task.shorter_recipes:
            images = images_within(self.spec, time_s=request.time_s, device=self.team.device)
            epochs = self.team.size * images / len(self.data.part("train"))
        named = task.recipe if epochs is None else task.recipe_for(epochs)
        if named != task.recipe and self.team.is_leader:
            most = next(limit for limit, name in task.shorter_recipes if name == named)
            request.on_note(f"recipe {named}, for fewer than {most} epochs; choose another with --recipe")
        return named

    def _decoded(self) -> Parts[Sized]:
        def decoded(_: int) -> None:
            if self._stops_alone():
                raise StoppedError("interrupted while images were being decoded; run the same command to start over")

        return self.task.prepare(self.data, self.spec, self.recipe, on_progress=decoded)

    def _trained(self, model: MobileNet) -> Trained:
        request, team, task, recipe = self.request, self.team, self.task, self.parts.recipe
        train_part, val, test = (self.parts.examples[split] for split in SPLITS)
        epoch_steps = len(train_part) // task.batch_of(recipe, len(train_part))
        team.agreed(lambda: _check_existing(request, epoch_steps=epoch_steps))
        teacher = None
        if request.teacher is not None:
            teacher = read_network(request.teacher)
            task.check_teacher(teacher, model.spec, request.teacher)
            teacher = teacher.to(team.device).requires_grad_(False)
        on_progress, log = request.on_progress, logged(self.folder, request.on_progress, on_begin=self._keep_settings)
        with log if team.is_leader else nullcontext(on_progress) as progressed:
            job = Job(
                folder=self.folder,
                seed=request.seed,
                data=self.known.fingerprint,
                device=team.device,
                team=team,
                precision=request.precision,
                epochs=request.epochs,
                time_s=request.time_s,
                refuses_short_time=True,
                after=len(test) / len(val),
                on_progress=progressed,
                on_note=request.on_note,
                stop=request.stop,
            )
            return train(model, task, train_part, val, recipe, job, classes=self.data.classes, teacher=teacher)

    def _keep_settings(self) -> None:
        write_text(self.folder / SETTINGS, settings_text(self.request, self.recipe, self.known))

    def _tested(self, best: MobileNet) -> Metrics:
        learned = Learned(classes=self.data.classes, normalization=self.parts.recipe.normalization)
        examples, device = self.parts.examples, self.team.device
        found = self.task.evaluate(best, examples["test"], learned, device=device, stop=self._stops_alone)
        return self.task.compared(found, examples["train"], examples["test"], learned.classes)

    def _stops_alone(self) -> bool:
        """Whether to stop a training with one process; several processes stop only between two steps."""
        return self.team.size == 1 and self.request.stop()


def _write(report: TrainingReport, test: Sized, on_note: Callable[[str], None]) -> None:
    measured = {"validation": report.trained.best, "test": report.test}
    write_text(report.folder / REPORT, json.dumps(report_json(report), indent=2) + "\n")
    write_page(
        report.folder,
        title=f"Training of {report.spec.name} for {report.task}",
        lines=[*faults_lines(report.faults), *training_lines(report)],
        batch=min(report.recipe.batch, len(report.data.part("train"))),
        best_step=report.trained.best_step,
        parts=[*evaluation_parts(measured, report.data.classes, report.worst, test, note=training_note(report))],
        on_note=on_note,
    )


def _check_existing(request: TrainingRequest, *, epoch_steps: int) -> None:
    """Note that the folder already holds a training; refuse another length if that training is finished."""
    folder, epochs, time_s = request.folder, request.epochs, request.time_s
    held = read_checkpoint(folder / LAST)
    if held is None:
        return
    if epochs is None:
        option, is_other = "--time", time_s is not None and time_s != held.time_s
    else:
        option, is_other = "--epochs", max(1, epochs * epoch_steps) != held.steps
    if held.step < held.steps:
        unused = f"; {option} is not used" if time_s is not None or is_other else ""
        request.on_note(
            f"{folder} holds a training of {held.steps} steps, which resumes after step {held.step}{unused}"
        )
    elif is_other and not held.is_stopped_early:
        raise OptionError(
            f"{folder} holds a finished training of {held.steps} steps, and {option} asks for another length",
            hint="give another folder (-o)",
        )
    elif not held.is_unjudged:
        request.on_note(f"{folder} holds a training of {held.steps} steps that is already finished")
