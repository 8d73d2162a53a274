"""Train a network for a task."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import torch
from torch import Tensor, nn

from mnv2search.cost import cost_of
from mnv2search.data.batches import Epoch, Feed, feed_of
from mnv2search.data.prepare import E
from mnv2search.errors import OptionError, TrainingError
from mnv2search.model.build import MobileNet
from mnv2search.recipe import Recipe
from mnv2search.spec.yaml.codec import dumps
from mnv2search.tasks.metrics import Metrics
from mnv2search.tasks.task import B, D, Share, Step, Task
from mnv2search.training.learner import Job, Learner
from mnv2search.training.precision import autocast
from mnv2search.training.progress import State, Trained
from mnv2search.training.rng import own_draws
from mnv2search.training.throughput import Timed
from mnv2search.training.trainer import Trainer

# Steps that are timed, after a warm-up step.
TIMED_STEPS = 3


def train(
    model: MobileNet,
    task: Task[D, E, B],
    examples: E,
    held_out: E,
    recipe: Recipe,
    job: Job,
    *,
    classes: tuple[str, ...] = (),
    teacher: nn.Module | None = None,
) -> Trained:
    """Train a network, or resume a training that stopped in the job's folder.

    The model is trained in place. The best weights on the `held_out` examples are kept, and written with the names of
    the classes. With a teacher, half of the loss is distillation.

    Raises:
        StoppedError: the training was asked to stop before the first evaluation.
        OptionError: the folder holds another training, the recipe does not suit the task, or a batch cannot be
            divided among the processes.
        DataError: there are too few examples.
        TrainingError: the loss is not a number, or the checkpoint cannot be read or written.
        MissingExtraError: a package is not installed.
    """
    task.check(recipe)
    team = job.team
    learner = _TaskLearner(model, task, examples, held_out, recipe, job, classes=classes, teacher=teacher)
    if team.size > 1 and recipe.batch % (2 * team.size):
        raise OptionError(
            f"a batch of {recipe.batch} images cannot be divided among {team.size} processes",
            hint=f"use a recipe whose batch is a multiple of {2 * team.size}: images are mixed in pairs",
        )
    if team.sums([len(examples), len(held_out)]) != (team.size * len(examples), team.size * len(held_out)):
        raise TrainingError("the processes see different numbers of images", hint="give all of them the same data")
    found = Trainer(learner, job).run()
    assert found is not None
    return found


def time_training(
    model: MobileNet,
    task: Task[D, E, B],
    examples: E,
    held_out: E,
    recipe: Recipe,
    *,
    classes: tuple[str, ...] = (),
    device: str = "cpu",
    clock: Callable[[], float] = time.monotonic,
) -> Timed:
    """Measure the wall time of a training step and of an evaluation; the network is useless afterwards.

    Raises:
        DataError: there are too few examples.
        MissingExtraError: a package is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="mnv2search-") as folder, own_draws(device):
        job = Job(folder=Path(folder), device=device, clock=clock)
        learner = _TaskLearner(model, task, examples, held_out, recipe, job, classes=classes)
        step_s, evaluation_s = _TimedTrainer(learner, job).seconds()
        return Timed(madds=cost_of(model.spec).madds, step_s=step_s, evaluation_s=evaluation_s)


@dataclass
class _TaskLearner(Learner[B], Generic[D, E, B]):
    model: MobileNet
    task: Task[D, E, B]
    examples: E
    held_out: E
    recipe: Recipe
    job: Job
    classes: tuple[str, ...]
    teacher: nn.Module | None = None

    def __post_init__(self) -> None:
        job, recipe = self.job, self.recipe
        self.model = self.model.to(device=job.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.tried = self.task.some(self.held_out)
        self.batch = self.task.batch_of(recipe, len(self.examples))
        self.epoch_steps = len(self.examples) // self.batch
        self.evaluations = self.task.evaluations
        self.known = self.task.learned(self.model.spec, self.held_out, self.classes, recipe.normalization)
        self.learned = self.known if self.classes else None
        self.identity = {"spec": dumps(self.model.spec), "recipe": recipe.dumps(), "seed": job.seed, "data": job.data}
        weights = self.task.class_weights(self.examples, self.model.spec, recipe)
        self.weights = None if weights is None else weights.to(job.device)
        self.task.trivial(self.examples, self.held_out, self.classes)  # cached: not part of the time of an evaluation
        self.share = Share(rank=job.team.rank, size=job.team.size, sums=job.team.sums)

    def batches(self, *, epoch: int, first: int, ahead: bool = True) -> Generator[B]:
        feed, share = feed_of(self.job.device) if ahead else Feed(ahead=0), (self.share.rank, self.share.size)
        plan = Epoch(batch=self.batch, seed=self.job.seed, number=epoch, first=first, share=share, feed=feed)
        return self.task.batches(self.examples, self.model.spec, self.recipe, plan)

    def backward(self, model: nn.Module, batch: B, state: State, scaler: torch.amp.GradScaler) -> float:
        run = model.predictions if isinstance(model, MobileNet) else model

        def forward(images: Tensor) -> Tensor:
            with autocast(state.precision, self.job.device):
                predictions: Tensor = run(images)
            return predictions.float()

        step = Step(
            model=self.model,
            forward=forward,
            recipe=self.recipe,
            device=self.job.device,
            seed=self.job.seed,
            number=state.step,
            teacher=self.teacher,
            class_weights=self.weights,
        )
        loss = self.task.loss(step, batch)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def evaluate(self, model: nn.Module, *, stop: Callable[[], bool]) -> Metrics:
        found = self._metrics(model, self.held_out, stop)
        return self.task.compared(found, self.examples, self.held_out, self.classes)

    def evaluate_some(self, model: nn.Module) -> float:
        return self._metrics(model, self.tried, lambda: False).count / len(self.held_out)

    def _metrics(self, model: nn.Module, examples: E, stop: Callable[[], bool]) -> Metrics:
        assert isinstance(model, MobileNet)
        return self.task.evaluate(model, examples, self.known, device=self.job.device, share=self.share, stop=stop)


class _TimedTrainer(Trainer[B]):
    def seconds(self) -> tuple[float, float]:
        """Measure the wall time of a step and of an evaluation; the model is useless afterwards."""
        self._set_precision("float32")
        self.state.steps = 1 + TIMED_STEPS
        clock = self.job.clock
        with closing(self._batches_left()) as batches:
            self._step(next(batches))
            begin = clock()
            for _ in range(TIMED_STEPS):
                self._step(next(batches))
            step_s = (clock() - begin) / TIMED_STEPS
        self.learner.evaluate_some(self.model)
        begin = clock()
        share = self.learner.evaluate_some(self.model)
        return step_s, (clock() - begin) / share
