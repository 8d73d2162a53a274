"""Accuracy by training each network on the user's data."""

from __future__ import annotations

import hashlib
import inspect
import math
import tempfile
from collections.abc import Callable, Iterator, Sized
from itertools import count, takewhile
from pathlib import Path
from typing import ClassVar

from mnv2search.accuracy.evaluator import Evaluator, Fitting, Halving, Preparation, Report, changed_options
from mnv2search.accuracy.evaluators.length import Length
from mnv2search.accuracy.types import Accuracy, EvaluatorInfo, accuracy_of
from mnv2search.data.prepare import Parts
from mnv2search.errors import EvaluatorError, OptionError, TrainingError
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights.network_file import read_network
from mnv2search.recipe import Recipe, load_recipe
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import dumps, load_spec
from mnv2search.supernet.inheritance import corresponds, inherit, network_of
from mnv2search.tasks.task import AnyTask, Data, named_task
from mnv2search.training.checkpoint import write_whole
from mnv2search.training.distributed import own_device
from mnv2search.training.learner import Job
from mnv2search.training.progress import Progress
from mnv2search.training.resumption import BEST
from mnv2search.training.throughput import Timed, evaluations_of
from mnv2search.training.train import time_training, train

TASK, HALVING, VOID_VALUE = "classification", 3, 255
# Tasks whose evaluator is called train-dense in the manifests of runs.
DENSE = ("detection", "segmentation")


class TrainEvaluator(Evaluator):
    """Trains every network with the same recipe, and evaluates it on validation images.

    The test images of the dataset are not used.

    Args:
        data: path of the dataset; see `mnv2search data --help`.
        task: name of the task: `classification`, `detection`, `segmentation`, or that of a plug-in.
        epochs: epochs of a training; 0 takes the default of the task, or fewer steps if a search has little time.
        recipe: name or path of a recipe; empty takes the default of the task.
        void: mask value to ignore.
        halving: reduction factor of successive halving among the candidates of a search; 0 finishes every training
            (`study.successive_halving`).
        weights: initial weights: a `.pt` file of ours with any network of as many rows or groups of rows, or
            published ones; empty for random weights.
        weights_spec: the network that published weights belong to.
    """

    is_timed = can_finetune = True
    task: AnyTask
    dataset: Data
    recipe: Recipe
    tasks: ClassVar[tuple[str, ...]] = ()
    """Supported tasks; any task if empty."""

    def __init__(
        self,
        *,
        data: str,
        task: str = TASK,
        epochs: int = 0,
        recipe: str = "",
        void: int = VOID_VALUE,
        halving: int = HALVING,
        weights: str = "",
        weights_spec: str = "",
    ) -> None:
        if self.tasks and task not in self.tasks:
            raise OptionError(f"evaluator train-dense: task is {task!r}", hint=f"use {' or '.join(self.tasks)}")
        self.task = named_task(task)
        name = _name_of(self.task)
        if epochs < 0:
            raise OptionError(f"evaluator {name}: epochs is {epochs}", hint="use 1 or more, or 0 for the default")
        if halving < 0 or halving == 1:
            raise OptionError(f"evaluator {name}: halving is {halving}", hint="use 2 or more, or 0 for none")
        self._options = {
            "epochs": (str(epochs), "0"),
            "recipe": (recipe or self.task.recipe, self.task.recipe),
            "void": (str(void), str(VOID_VALUE)),
            "halving": (str(halving), str(HALVING)),
            "weights": (weights, ""),
            "weights_spec": (weights_spec, ""),
        }
        self._path, self._epochs, self._reduction = data, epochs, halving
        self.recipe = load_recipe(recipe or self.task.recipe)
        self.task.check(self.recipe)
        self._first = _first_network(weights, weights_spec, evaluator=name)
        self.dataset = self.task.read(Path(data), void=void)
        self._device = own_device()
        self._kept_in: Path | None = None
        images = len(self.dataset.part("train"))
        self._epoch_steps = max(1, images // min(self.recipe.batch, images))
        asked, useful = self.epochs * self._epoch_steps, self.task.length.useful_steps[self._first is not None]
        self._length = Length(asked=asked, least=asked if epochs else useful, evaluations=self._evaluations)

    def keep_weights(self, folder: Path) -> None:
        """Keep the weights of every finished training in a folder."""
        self._kept_in = folder

    def weights_file(self, spec: ModelSpec) -> Path | None:
        """Weights file of a trained network; None if the weights were not kept."""
        if self._kept_in is None:
            return None
        file = _file_in(self._kept_in, spec)
        return file if file.exists() else None

    def given(self, space: SearchSpace) -> ModelSpec | None:
        """The network that the initial weights belong to; None if they are random."""
        del space
        return None if self._first is None else self._first.spec

    def begin(self, spec: ModelSpec, *, seed: int) -> MobileNet:
        """The network with its trained weights or, if it was not trained, its initial ones."""
        return self._initial(spec, seed=seed) if (file := self.weights_file(spec)) is None else read_network(file)

    def seen_images(self, spec: ModelSpec) -> float:
        """Images seen in the training of the network during the search; 0 if it was not trained."""
        seen = self._length.steps * min(self.recipe.batch, len(self.dataset.part("train")))
        return 0.0 if self.weights_file(spec) is None else float(seen)

    def _initial(self, spec: ModelSpec, *, seed: int) -> MobileNet:
        model = build(spec, seed=seed)
        if self._first is not None and corresponds(spec, self._first.spec):
            inherit(model, self._first)
        return model

    @property
    def epochs(self) -> int:
        """Epochs of a training that is not shortened."""
        length = self.task.length
        return self._epochs or max(length.epochs, math.ceil(length.steps / self._epoch_steps))

    def _evaluations(self, steps: int) -> int:
        return evaluations_of(steps, epoch_steps=self._epoch_steps, most=self.task.length.evaluations)

    @property
    def halving(self) -> Halving | None:
        """The epochs after which a search compares candidates; None if every training is finished."""
        if not self._reduction:
            return None
        return Halving(rungs=tuple(sorted(set(self._rungs()))), reduction=self._reduction)

    def _rungs(self) -> Iterator[int]:
        length, steps = self.task.length, self._length.steps
        if length.first_rung_steps is None:
            powers = (self._reduction**n for n in count())
            return takewhile(lambda epoch: epoch < steps / self._epoch_steps, powers)
        first, epochs = length.first_rung_steps[self._first is not None], steps // self._epoch_steps
        every = max(1, math.ceil(steps / length.evaluations / self._epoch_steps))  # epochs between two evaluations
        parts = (epochs // self._reduction**n // every * every for n in count(1))
        return takewhile(lambda epoch: epoch * self._epoch_steps >= first, parts)

    @property
    def info(self) -> EvaluatorInfo:
        """Meaning of the accuracies."""
        data, name = self.dataset, _name_of(self.task)
        task = "" if self.task.name == TASK else f"task={self.task.name},"
        length = f"{self.epochs} epochs" if self._length.is_whole else f"{self._length.steps} steps"
        begin = "random" if self._first is None else "inherited"
        return EvaluatorInfo(
            name=f"{name}:{task}data={self._path},{changed_options(**self._options)}".removesuffix(","),
            version=f"{4 if self.task.name in DENSE else 1}-{data.fingerprint}",
            kind="trained",
            dataset=Path(self._path).name,
            metric=self.task.metric,
            classes=len(data.classes) or None,
            detail=(
                f"{length} of the recipe {self._options['recipe'][0]} on "
                f"{len(data.part('train')):,} images from {begin} weights, evaluated on {len(data.part('val')):,} "
                "validation images; intervals are those of a proportion of this number of images"
            ),
        )

    def fit(self, preparation: Preparation, *, left_s: Callable[[], float | None]) -> Fitting:
        """Choose the length of all trainings; a resumed run keeps its original length."""
        return self._length.fit(preparation, self._timed, left_s=left_s)

    def expected_s(self, spec: ModelSpec) -> float:
        """Expected wall time of a whole training; 0 if nothing was timed."""
        return self._length.expected_s(spec)

    def _timed(self, spec: ModelSpec) -> Timed:
        spec = self.task.fitted(spec, self.dataset)
        parts, classes = self._parts(spec), self.dataset.classes
        train_part, val, recipe = parts.examples["train"], parts.examples["val"], parts.recipe
        network = build(spec, seed=0)
        return time_training(network, self.task, train_part, val, recipe, classes=classes, device=self._device)

    def _parts(self, spec: ModelSpec) -> Parts[Sized]:
        return self.task.prepare(self.dataset, spec, self.recipe, splits=("train", "val"))

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        """The accuracy after training; `report` is called after every evaluation with the epoch, counted from 1."""
        if not isinstance(spec.head, self.task.head):
            raise EvaluatorError(
                f"{spec.name} is not for {self.task.name}", hint="search a space whose head is for the data's task"
            )
        spec = self.task.fitted(spec, self.dataset)
        parts, model, notes = self._parts(spec), self._initial(spec, seed=seed), list[str]()
        if self._first is not None and not corresponds(spec, self._first.spec):  # such as the baseline
            numbers = "other numbers of rows than the initial weights"
            notes.append(f"{spec.name} has {numbers}, so it was trained from random weights")
        with tempfile.TemporaryDirectory(prefix="mnv2search-") as folder, self._length.timing(spec) as done:

            def progressed(progress: Progress) -> None:
                done.update(progress.step, is_evaluated=progress.evaluated is not None)
                if progress.evaluated is not None:
                    report(progress.epoch, progress.evaluated.main.value)

            job = Job(
                folder=Path(folder),
                seed=seed,
                steps=self._length.steps,
                limit_s=self._length.left_s(),
                device=self._device,
                evaluations=self.task.length.evaluations,
                precision="float32",  # choosing the precision by speed would not be reproducible
                on_progress=progressed,
            )
            train_part, val, classes = parts.examples["train"], parts.examples["val"], self.dataset.classes
            try:
                found = train(model, self.task, train_part, val, parts.recipe, job, classes=classes)
                if self._kept_in is not None:
                    write_whole(_file_in(self._kept_in, spec), Path(folder, BEST).read_bytes())
            except TrainingError as error:
                raise EvaluatorError(f"{spec.name}: {error.message}", hint=error.hint) from error
        notes += filter(None, [self._length.note_of(spec, found.steps)])
        return accuracy_of(
            found.best, kind="trained", dataset=Path(self._path).name, seed=seed, note="; ".join(notes)
        )


class TrainDenseEvaluator(TrainEvaluator):
    """The evaluator `train-dense`, for detectors and segmenters."""

    tasks = DENSE
    # the option task has no default
    __signature__ = inspect.signature(TrainEvaluator).replace(
        parameters=[
            one.replace(default=one.empty) if one.name == "task" else one
            for one in inspect.signature(TrainEvaluator).parameters.values()
        ]
    )


def _name_of(task: AnyTask) -> str:
    return "train-dense" if task.name in DENSE else "train"


def _file_in(folder: Path, spec: ModelSpec) -> Path:
    return folder / f"{hashlib.blake2b(dumps(spec).encode(), digest_size=12).hexdigest()}.pt"


def _first_network(weights: str, weights_spec: str, *, evaluator: str) -> MobileNet | None:
    if not weights:
        return None
    path = Path(weights)
    if path.suffix != ".pt" and not weights_spec:
        raise OptionError(
            f"evaluator {evaluator}: {weights} does not name its network",
            hint="name the published network that the weights belong to: --from-spec, or weights_spec=",
        )
    if not path.is_file():
        raise OptionError(f"evaluator {evaluator}: there is no file {weights}", hint="check the path")
    return read_network(path) if not weights_spec else network_of(path, load_spec(weights_spec))
