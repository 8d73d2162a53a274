"""Accuracy by training each detector or segmenter on the user's scenes."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import time
from collections.abc import Callable
from itertools import count, takewhile
from pathlib import Path
from typing import cast, get_args

from mnv2search.accuracy.types import (
    Accuracy,
    EvaluatorInfo,
    Fitting,
    Halving,
    Preparation,
    Report,
    changed_options,
)
from mnv2search.cost import cost_of
from mnv2search.errors import EvaluatorError, OptionError, TrainingError
from mnv2search.model.build import MobileNet, build
from mnv2search.model.saved import read_network
from mnv2search.spec.classes import with_classes
from mnv2search.spec.codec import dumps, load_spec
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import resolve
from mnv2search.training.checkpoint import write_whole
from mnv2search.training.course import BEST
from mnv2search.training.dense_loop import DenseProgress, check_recipe, time_dense, train_dense
from mnv2search.training.dense_spec import HEADS, is_dense, task_of
from mnv2search.training.figures import Figures
from mnv2search.training.first_weights import network_of
from mnv2search.training.inherit import corresponds, inherit
from mnv2search.training.prepared import image_folder
from mnv2search.training.recipe import Recipe, load_recipe
from mnv2search.training.scene_batches import loaded_parts
from mnv2search.training.scene_sets import read_scene_set
from mnv2search.training.scenes import SceneSet, Task
from mnv2search.training.speed import WANTED, Speed, Timed, chosen_length, evaluations_of
from mnv2search.training.team import own_device

__all__ = ["TrainDenseEvaluator"]

RECIPE, HALVING, VOID_NUMBER = "dense", 3, 255
METRICS: dict[Task, str] = {"detection": "map", "segmentation": "miou"}
# Where no epochs are given: steps of a training at least, and epochs at least. With fewer a detector finds next to
# nothing, and all candidates look alike.
STEPS, EPOCHS = 150, 3
# Below so many steps there is nothing to compare candidates by: from random weights a detector long finds nothing.
LEAST_RUNG_STEPS, LEAST_INHERITED = 100, 30
# What a training is shortened to at most where time is short: with fewer steps its network is of no use. From the
# weights of a classifier 60 steps led to an mAP of 6.5 % and 150 to 22.8 %, 30 to 2.4 %. See docs/accuracy.md.
LEAST_STEPS, LEAST_STEPS_INHERITED = 100, 60
# Networks that are timed: of those near the budget by their multiply-adds, the ones at these places from 0 to 1.
TIMED_PLACES = (0.25, 0.9)
LENGTH = "length.json"
# Of a small network on a small set, an evaluation takes as long as an epoch.
EVALUATIONS = 4


class TrainDenseEvaluator:
    """Trains every network with the same recipe, and judges it on held-out scenes.

    The test scenes of the set play no part.

    Args:
        task: ``detection`` or ``segmentation``.
        data: path of the scenes; see `mnv2search.training.scene_sets.read_scene_set`.
        epochs: of training; 0 takes three, or as many as make 150 steps.
        recipe: name or path of one.
        void: number of the pixels of masks that count for nothing.
        halving: of the candidates of a search, one in so many goes on after this part of the epochs, and after this
            part of that, and so on; 0 trains every one to the end. See `mnv2search.study.rungs`.
        weights: first weights: a `.pt` file of ours with any network of as many rows or stages, such as a classifier,
            or published ones; empty begins with random ones.
        weights_spec: the network that published weights belong to.
    """

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
        self._first = _first_network(weights, weights_spec)
        self._scenes = read_scene_set(Path(data), self._task, unpack_to=image_folder(), void=void)
        self._device = own_device()
        self._kept_in: Path | None = None
        self._steps = self._asked_steps
        self._speed: Speed | None = None
        self._left_s: Callable[[], float | None] = lambda: None

    def keep_weights(self, folder: Path) -> None:
        """From now on, write the weights of every network whose training is finished into a folder."""
        self._kept_in = folder

    def kept(self, spec: ModelSpec) -> Path | None:
        """The file of a network's weights; None where there is none."""
        if self._kept_in is None:
            return None
        file = _file_in(self._kept_in, spec)
        return file if file.exists() else None

    def learned(self, spec: ModelSpec) -> Path:
        """The file of a network's weights, with those of its training.

        Raises:
            EvaluatorError: there is none.
        """
        if (file := self.kept(spec)) is None:
            raise EvaluatorError(f"the weights of {spec.name} are gone", hint="begin the run anew with --force")
        return file

    @property
    def scenes(self) -> SceneSet:
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
        epochs = self._steps // self._epoch_steps
        every = max(1, math.ceil(self._steps / EVALUATIONS / self._epoch_steps))  # epochs between two evaluations
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
                f"{self._length} of the recipe {self._recipe_name} on {len(scenes.train)} images from "
                f"{'random' if self._first is None else 'inherited'} weights, judged on {len(scenes.val)} held-out "
                "ones; intervals are those of a share over so many images"
            ),
        )

    @property
    def _length(self) -> str:
        return f"{self.epochs} epochs" if self._steps == self._asked_steps else f"{self._steps} steps"

    def fit(self, preparation: Preparation, *, left_s: Callable[[], float | None]) -> Fitting:
        """Choose how long every training is; a run that goes on keeps to the length that it began with.

        Raises:
            EvaluatorError: the folder does not take the length, or what it holds cannot be read.
        """
        file = None if preparation.folder is None else preparation.folder / LENGTH
        known = None if file is None else _read_length(file)
        self._left_s, self._steps = left_s, known or self._asked_steps
        time_s = preparation.time_s
        if time_s is None or not preparation.band:
            return Fitting(trainings=None)
        begin = time.monotonic()
        preparation.tell("timing a few steps", 0.0)
        picks = [preparation.band[round(place * (len(preparation.band) - 1))] for place in TIMED_PLACES]
        specs = [resolve(preparation.space, pick) for pick in dict.fromkeys(picks)]
        self._speed = Speed([self._timed(spec) for spec in specs])
        time_s = max(0.0, time_s - (time.monotonic() - begin))
        asked, least = (known, known) if known else (self._asked_steps, self._least_steps)
        chosen = chosen_length(
            lambda steps: self._training_s(specs[-1], steps), asked=asked, least=least, time_s=time_s
        )
        self._steps = chosen.steps
        if chosen.fitting and file is not None:
            _write_length(file, chosen.steps)
        return Fitting(
            trainings=chosen.fitting,
            least_s=self._training_s(specs[-1], least),
            wanted_s=WANTED * self._training_s(specs[-1], asked),
            told=_told(chosen.fitting, chosen.steps, asked, time_s, lambda n: self._training_s(specs[-1], n)),
        )

    def expected_s(self, spec: ModelSpec) -> float:
        """Wall time that a training to its end is expected to take; 0 where nothing was timed."""
        return self._training_s(spec, self._steps)

    def _timed(self, spec: ModelSpec) -> Timed:
        spec = with_classes(spec, len(self._scenes.classes), head=HEADS[self._task])
        train, val, _ = loaded_parts(self._scenes, size=spec.size)
        return time_dense(
            build(spec, seed=0), train, val, self._recipe, classes=self._scenes.classes, device=self._device
        )

    def _training_s(self, spec: ModelSpec, steps: int) -> float:
        if self._speed is None:
            return 0.0
        return self._speed.training_s(cost_of(spec).madds, steps=steps, evaluations=self._evaluations(steps))

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

        begin, steps, evaluations = time.monotonic(), 0, 0

        def told(progress: DenseProgress) -> None:
            nonlocal steps, evaluations
            steps, evaluations = progress.step, evaluations + (progress.evaluated is not None)
            if progress.evaluated is not None:
                report(progress.epoch, progress.evaluated.value)

        model = build(spec, seed=seed)
        note = ""
        if self._first is not None and corresponds(spec, self._first.spec):
            inherit(model, self._first)
        elif self._first is not None:  # as MobileNetV2, the yardstick of a space with other stages
            note = f"{spec.name} has other stages than the first weights and was trained from random ones"
        with tempfile.TemporaryDirectory(prefix="mnv2search-") as folder:
            try:
                found = train_dense(
                    model,
                    train,
                    val,
                    self._recipe,
                    classes=self._scenes.classes,
                    folder=Path(folder),
                    seed=seed,
                    steps=self._steps,
                    limit_s=self._left_s(),
                    device=self._device,
                    evaluations=EVALUATIONS,
                    precision="float32",  # a trial of speed may end one way today and another tomorrow
                    on_progress=told,
                )
                if self._kept_in is not None:
                    write_whole(_file_in(self._kept_in, spec), Path(folder, BEST).read_bytes())
            except TrainingError as error:
                raise EvaluatorError(f"{spec.name}: {error.message}", hint=error.hint) from error
            finally:
                if self._speed is not None:
                    took_s, madds = time.monotonic() - begin, cost_of(spec).madds
                    self._speed.took(took_s, madds=madds, steps=steps, evaluations=evaluations)
        if found.steps < self._steps:
            short = f"{spec.name} was trained for {found.steps} of {self._steps} steps, as the time was over"
            note = f"{note}; {short}" if note else short
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
            note=note,
        )


def _file_in(folder: Path, spec: ModelSpec) -> Path:
    return folder / f"{hashlib.blake2b(dumps(spec).encode(), digest_size=12).hexdigest()}.pt"


def _read_length(file: Path) -> int | None:
    """Steps of every training of an earlier part of the run; None where there was none."""
    if not file.exists():
        return None
    try:
        return max(1, int(json.loads(file.read_text(encoding="utf-8"))["steps"]))
    except (ValueError, TypeError, KeyError) as error:
        raise EvaluatorError(f"{file} cannot be read: {error}", hint="begin anew with --force") from error


def _write_length(file: Path, steps: int) -> None:
    try:
        write_whole(file, (json.dumps({"steps": steps}) + "\n").encode())
    except TrainingError as error:
        raise EvaluatorError(error.message, hint=error.hint) from error


def _told(fitting: int, steps: int, asked: int, time_s: float, training_s: Callable[[int], float]) -> str:
    """What becomes of the time, for a user."""
    takes = f"{steps} steps takes about {training_s(steps):.0f} s here, near the budget"
    if not fitting:
        least = ", the least that is of any use" if steps < asked else ""
        return f"one of {takes}{least}, and {time_s:.0f} s are left for it"
    count = f"{fitting} of that length fit" if fitting > 1 else "one fits"
    said = f"a training of {takes}: {count} into the {time_s:.0f} s that there are for trainings"
    if steps < asked:
        said += f"; it was shortened from {asked} steps, of {training_s(asked):.0f} s"
    return said


def _first_network(weights: str, weights_spec: str) -> MobileNet | None:
    """The network that every candidate inherits from."""
    if not weights:
        return None
    path = Path(weights)
    if not path.is_file():
        raise OptionError(f"evaluator train-dense: there is no file {weights}", hint="check the path")
    return read_network(path) if not weights_spec else network_of(path, load_spec(weights_spec))
