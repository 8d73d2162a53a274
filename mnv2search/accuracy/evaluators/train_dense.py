"""Accuracy by training each detector or segmenter on the user's scenes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import cast, get_args

from mnv2search.accuracy.types import Accuracy, EvaluatorInfo, Report, changed_options
from mnv2search.errors import EvaluatorError, OptionError, TrainingError
from mnv2search.model.build import build
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.training.dense_loop import DenseProgress, check_recipe, train_dense
from mnv2search.training.dense_spec import is_dense, task_of, with_classes
from mnv2search.training.loop import Figures
from mnv2search.training.prepared import image_folder
from mnv2search.training.recipe import load_recipe
from mnv2search.training.scene_batches import loaded_parts
from mnv2search.training.scene_sets import read_scene_set
from mnv2search.training.scenes import Task

__all__ = ["TrainDenseEvaluator"]

EPOCHS, RECIPE, VOID_NUMBER = 3, "dense", 255
METRICS = {"detection": "map", "segmentation": "miou"}


class TrainDenseEvaluator:
    """Trains every network from random weights with the same recipe, and judges it on held-out scenes.

    The test scenes of the set play no part.

    Args:
        task: ``detection`` or ``segmentation``.
        data: path of the scenes; see `mnv2search.training.scene_sets.read_scene_set`.
        epochs: of training.
        recipe: name or path of one.
        void: number of the pixels of masks that count for nothing.
    """

    def __init__(
        self, *, task: str, data: str, epochs: int = EPOCHS, recipe: str = RECIPE, void: int = VOID_NUMBER
    ) -> None:
        if epochs < 1:
            raise OptionError(f"evaluator train-dense: epochs is {epochs}", hint="use 1 or more")
        if task not in get_args(Task):
            raise OptionError(f"evaluator train-dense: task is {task!r}", hint=f"use {' or '.join(get_args(Task))}")
        self._task, self._data, self._epochs, self._recipe_name = task, data, epochs, recipe
        self._void = void
        self._recipe = load_recipe(recipe)
        check_recipe(self._recipe)
        self._scenes = read_scene_set(Path(data), cast("Task", task), unpack_to=image_folder(), void=void)

    @property
    def info(self) -> EvaluatorInfo:
        """What the accuracies mean."""
        scenes = self._scenes
        changed = changed_options(
            epochs=(str(self._epochs), str(EPOCHS)),
            recipe=(self._recipe_name, RECIPE),
            void=(str(self._void), str(VOID_NUMBER)),
        ).removesuffix(",")
        return EvaluatorInfo(
            name=f"train-dense:task={self._task},data={self._data}{',' if changed else ''}{changed}",
            version=f"1-{scenes.fingerprint}",
            kind="trained",
            dataset=Path(self._data).name,
            metric=METRICS[self._task],
            detail=(
                f"{self._epochs} epochs of the recipe {self._recipe_name} on {len(scenes.train)} images, judged on "
                f"{len(scenes.val)} held-out ones; intervals are those of a share over so many images"
            ),
        )

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
        spec = with_classes(spec, len(self._scenes.classes))
        train, val, _ = loaded_parts(self._scenes, side=spec.resolution)

        def told(progress: DenseProgress) -> None:
            if progress.evaluated is not None:
                report(progress.epoch, progress.evaluated.value)

        with tempfile.TemporaryDirectory(prefix="mnv2search-") as folder:
            try:
                found = train_dense(
                    build(spec, seed=seed),
                    train,
                    val,
                    self._recipe,
                    classes=self._scenes.classes,
                    folder=Path(folder),
                    seed=seed,
                    epochs=self._epochs,
                    on_progress=told,
                )
            except TrainingError as error:
                raise EvaluatorError(f"{spec.name}: {error.message}", hint=error.hint) from error
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
        )
