"""Accuracy by training each detector or segmenter on the user's scenes."""

from __future__ import annotations

import hashlib
import math
import tempfile
from itertools import count, takewhile
from pathlib import Path
from typing import cast, get_args

from mnv2search.accuracy.evaluators.length import FitsTrainings, Length
from mnv2search.accuracy.types import (
    Accuracy,
    EvaluatorInfo,
    Halving,
    Report,
    changed_options,
)
from mnv2search.data.prepare import image_folder
from mnv2search.data.readers.scene_sets import read_scene_set
from mnv2search.data.scene_batches import loaded_parts
from mnv2search.data.scenes import SceneSet, Task
from mnv2search.errors import EvaluatorError, OptionError, TrainingError, check_package
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights.saved import read_network
from mnv2search.recipe import Recipe, load_recipe
from mnv2search.spec.classes import with_classes
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.yaml.codec import dumps, load_spec
from mnv2search.supernet.inherit import corresponds, inherit
from mnv2search.supernet.initial_weights import network_of
from mnv2search.tasks.classification import Figures
from mnv2search.tasks.task import HEADS, is_dense, task_of
from mnv2search.training.checkpoint import write_whole
from mnv2search.training.dense_loop import DenseProgress, check_recipe, time_dense, train_dense
from mnv2search.training.distributed import own_device
from mnv2search.training.speed import Timed, evaluations_of
from mnv2search.training.trainer import BEST

__all__ = ["TrainDenseEvaluator"]

RECIPE, HALVING, VOID_NUMBER = "dense", 3, 255
METRICS: dict[Task, str] = {"detection": "map", "segmentation": "miou"}
# Where no epochs are given: steps of a training at least, and epochs at least. With fewer a detector finds next to
# nothing, and all candidates look alike.
STEPS, EPOCHS = 150, 3
# Below so many steps there is nothing to compare candidates by: from random weights a detector long finds nothing.
LEAST_RUNG_STEPS, LEAST_INHERITED = 100, 30
# What a training is shortened to at most where time is short: with fewer steps its network is of no use. From the
# weights of a classifier 60 steps led to an mAP of 6.5 % and 150 to 22.8 %, 30 to 2.4 %. See
# docs/research/2026-11-25-detector-training.md.
LEAST_STEPS, LEAST_STEPS_INHERITED = 100, 60
# Of a small network on a small set, an evaluation takes as long as an epoch.
EVALUATIONS = 4


class TrainDenseEvaluator(FitsTrainings):
    """Trains every network with the same recipe, and judges it on held-out scenes.

    The test scenes of the set play no part.

    Args:
        task: ``detection`` or ``segmentation``.
        data: path of the scenes; see `mnv2search.data.readers.scene_sets.read_scene_set`.
        epochs: of training; 0 takes three, or as many as make 150 steps.
        recipe: name or path of one.
        void: number of the pixels of masks that count for nothing.
        halving: of the candidates of a search, one in so many goes on after this part of the epochs, and after this
            part of that, and so on; 0 trains every one to the end. See `mnv2search.study.successive_halving`.
        weights: first weights: a `.pt` file of ours with any network of as many rows or stages, such as a classifier,
            or published ones; empty begins with random ones.
        weights_spec: the network that published weights belong to.
    """

    can_finetune: bool = True

    def __init__(
        self,
        *,
        task: str,
        data: str,
        epochs: int = 0,
        recipe: str = RECIPE,
        void: int = VOID_NUMBER,
        halving: int = HALVING,
        weights: str = "",
        weights_spec: str = "",
    ) -> None:
        if epochs < 0:
            raise OptionError(
                f"evaluator train-dense: epochs is {epochs}", hint="use 1 or more, or 0 for the default"
            )
        if task not in get_args(Task):
            raise OptionError(f"evaluator train-dense: task is {task!r}", hint=f"use {' or '.join(get_args(Task))}")
        if halving < 0 or halving == 1:
            raise OptionError(f"evaluator train-dense: halving is {halving}", hint="use 2 or more, or 0 for none")
        if weights and not weights.endswith(".pt") and not weights_spec:
            raise OptionError(
                f"evaluator train-dense: {weights} says nothing of its network",
                hint="name the published network that the weights belong to: --from-spec, or weights_spec=",
            )
        self._task, self._data, self._recipe_name = cast("Task", task), data, recipe
        self._void, self._reduction, self._asked = void, halving, epochs
        self._recipe = load_recipe(recipe)
        check_recipe(self._recipe)
        self._weights, self._weights_spec = weights, weights_spec
        check_package("kornia", feature="training detectors and segmenters", extra="train")
        package = "pycocotools" if task == "detection" else "torchmetrics"
        check_package(package, feature="evaluating detectors and segmenters", extra="train")
        self._first = _first_network(weights, weights_spec)
        self._scenes = read_scene_set(Path(data), self._task, unpack_to=image_folder(), void=void)
        self._device = own_device()
        self._kept_in: Path | None = None
        self._length = Length(asked=self._asked_steps, least=self._least_steps, evaluations=self._evaluations)

    def keep_weights(self, folder: Path) -> None:
        """From now on, write the weights of every network whose training is finished into a folder."""
        self._kept_in = folder

    def weights_file(self, spec: ModelSpec) -> Path | None:
        """File of the weights of a trained network; None where none were kept."""
        if self._kept_in is None:
            return None
        file = _file_in(self._kept_in, spec)
        return file if file.exists() else None

    @property
    def dataset(self) -> SceneSet:
        """The scenes, in their parts."""
        return self._scenes

    @property
    def recipe(self) -> Recipe:
        """Of every training."""
        return self._recipe

    @property
    def epochs(self) -> int:
        """Of every training that is not shortened for want of time."""
        return self._asked or max(EPOCHS, math.ceil(STEPS / self._epoch_steps))

    @property
    def _asked_steps(self) -> int:
        return self.epochs * self._epoch_steps

    @property
    def _least_steps(self) -> int:
        """Of a training that is of any use; a length that was asked for is not changed."""
        least = LEAST_STEPS if self._first is None else LEAST_STEPS_INHERITED
        return self._asked_steps if self._asked else min(least, self._asked_steps)

    @property
    def _epoch_steps(self) -> int:
        images = len(self._scenes.train)
        return images // min(self._recipe.batch, images)

    @property
    def halving(self) -> Halving | None:
        """The epochs after which a search compares candidates; None where all are trained to the end."""
        if not self._reduction:
            return None
        steps = self._length.steps
        epochs = steps // self._epoch_steps
        every = max(1, math.ceil(steps / EVALUATIONS / self._epoch_steps))  # epochs between two evaluations
        parts = (epochs // self._reduction**n // every * every for n in count(1))
        least = LEAST_RUNG_STEPS if self._first is None else LEAST_INHERITED
        rungs = takewhile(lambda epoch: epoch * self._epoch_steps >= least, parts)
        return Halving(rungs=tuple(sorted(set(rungs))), reduction=self._reduction)

    @property
    def info(self) -> EvaluatorInfo:
        """What the accuracies mean."""
        scenes = self._scenes
        changed = changed_options(
            epochs=(str(self._asked), "0"),
            recipe=(self._recipe_name, RECIPE),
            void=(str(self._void), str(VOID_NUMBER)),
            halving=(str(self._reduction), str(HALVING)),
            weights=(self._weights, ""),
            weights_spec=(self._weights_spec, ""),
        ).removesuffix(",")
        return EvaluatorInfo(
            name=f"train-dense:task={self._task},data={self._data}{',' if changed else ''}{changed}",
            version=f"3-{scenes.fingerprint}",
            kind="trained",
            dataset=Path(self._data).name,
            metric=METRICS[self._task],
            classes=len(scenes.classes),
            detail=(
                f"{self._length_text(self.epochs)} of the recipe {self._recipe_name} on "
                f"{len(scenes.train)} images from {'random' if self._first is None else 'inherited'} weights, judged "
                f"on {len(scenes.val)} held-out ones; intervals are those of a share over so many images"
            ),
        )

    def _timed(self, spec: ModelSpec) -> Timed:
        spec = with_classes(spec, len(self._scenes.classes), head=HEADS[self._task])
        train, val, _ = loaded_parts(self._scenes, size=spec.size)
        return time_dense(
            build(spec, seed=0), train, val, self._recipe, classes=self._scenes.classes, device=self._device
        )

    def _evaluations(self, steps: int) -> int:
        return evaluations_of(steps, epoch_steps=self._epoch_steps, most=EVALUATIONS)

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        """The figure after the training; `report` is told after every evaluation, by the epoch counted from 1.

        Raises:
            EvaluatorError: the network has another task, or the training fails.
            StopEarly: `report` asked for it.
        """
        if not is_dense(spec) or task_of(spec) != self._task:
            raise EvaluatorError(
                f"{spec.name} is not for {self._task}", hint="search a space whose head is for the data's task"
            )
        spec = with_classes(spec, len(self._scenes.classes), head=HEADS[self._task])
        train, val, _ = loaded_parts(self._scenes, size=spec.size)

        model = build(spec, seed=seed)
        notes = []
        if self._first is not None and corresponds(spec, self._first.spec):
            inherit(model, self._first)
        elif self._first is not None:  # as MobileNetV2, the yardstick of a space with other stages
            notes.append(f"{spec.name} has other stages than the first weights and was trained from random ones")
        with (
            tempfile.TemporaryDirectory(prefix="mnv2search-") as folder,
            self._length.watching(spec) as done,
        ):

            def told(progress: DenseProgress) -> None:
                done.hear(progress.step, is_evaluated=progress.evaluated is not None)
                if progress.evaluated is not None:
                    report(progress.epoch, progress.evaluated.value)

            try:
                found = train_dense(
                    model,
                    train,
                    val,
                    self._recipe,
                    classes=self._scenes.classes,
                    folder=Path(folder),
                    seed=seed,
                    steps=self._length.steps,
                    limit_s=self._length.left_s(),
                    device=self._device,
                    evaluations=EVALUATIONS,
                    precision="float32",  # a trial of speed may end one way today and another tomorrow
                    on_progress=told,
                )
                if self._kept_in is not None:
                    write_whole(_file_in(self._kept_in, spec), Path(folder, BEST).read_bytes())
            except TrainingError as error:
                raise EvaluatorError(f"{spec.name}: {error.message}", hint=error.hint) from error
        notes += filter(None, [self._length.note_of(spec, found.steps)])
        low, high = Figures(found.best.value, 0.0, found.best.count).interval
        info = self.info
        return Accuracy(
            value=found.best.value,
            low=low,
            high=high,
            metric=info.metric,
            kind=info.kind,
            dataset=info.dataset,
            seed=seed,
            note="; ".join(notes),
        )


def _file_in(folder: Path, spec: ModelSpec) -> Path:
    return folder / f"{hashlib.blake2b(dumps(spec).encode(), digest_size=12).hexdigest()}.pt"


def _first_network(weights: str, weights_spec: str) -> MobileNet | None:
    """The network that every candidate inherits from."""
    if not weights:
        return None
    path = Path(weights)
    if not path.is_file():
        raise OptionError(f"evaluator train-dense: there is no file {weights}", hint="check the path")
    return read_network(path) if not weights_spec else network_of(path, load_spec(weights_spec))
