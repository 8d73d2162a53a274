"""Accuracy by training each network on the user's images: honest and slow."""

from __future__ import annotations

import math
import tempfile
from itertools import count, takewhile
from pathlib import Path

from mnv2search.accuracy.evaluators.length import FitsTrainings, Length
from mnv2search.accuracy.types import (
    Accuracy,
    EvaluatorInfo,
    Halving,
    Report,
    changed_options,
)
from mnv2search.data.images import read_image_set
from mnv2search.data.prepare import Prepared, image_folder, prepare
from mnv2search.errors import EvaluatorError, OptionError, TrainingError
from mnv2search.model.build import build
from mnv2search.recipe import Recipe, load_recipe
from mnv2search.spec.classes import with_classes
from mnv2search.spec.model_spec import Classifier, ModelSpec, square_side
from mnv2search.training.loop import Progress, time_training, train
from mnv2search.training.speed import Timed

__all__ = ["TrainEvaluator"]

EPOCHS, RECIPE, HALVING = 3, "modern", 3
# What a training is shortened to at most where time is short: with fewer steps there is little to compare.
LEAST_STEPS = 100


class TrainEvaluator(FitsTrainings):
    """Trains every network from random weights with the same recipe, and evaluates it on held-out images.

    The test images of the set play no part.

    Args:
        data: path of the images; see `mnv2search.data.images.read_image_set`.
        epochs: of training; 0 takes three, or in a search whose time is short fewer steps.
        recipe: name or path of one.
        halving: of the candidates of a search, one in so many goes on after 1 epoch, after as many epochs as this
            is, after the square of it, and so on; 0 trains every one to the end (`study.successive_halving`).
    """

    def __init__(self, *, data: str, epochs: int = 0, recipe: str = RECIPE, halving: int = HALVING) -> None:
        if epochs < 0:
            raise OptionError(f"evaluator train: epochs is {epochs}", hint="use 1 or more, or 0 for the default")
        if halving < 0 or halving == 1:
            raise OptionError(f"evaluator train: halving is {halving}", hint="use 2 or more, or 0 for none")
        self._data, self._asked, self._recipe_name, self._reduction = data, epochs, recipe, halving
        self._recipe = load_recipe(recipe)
        self._images = read_image_set(Path(data), unpack_to=image_folder())
        self._epoch_steps = max(1, len(self._images.train) // self._recipe.batch)
        asked = (epochs or EPOCHS) * self._epoch_steps
        self._length = Length(
            asked=asked,
            least=asked if epochs else LEAST_STEPS,  # what was asked for is not shortened
            evaluations=lambda steps: math.ceil(steps / self._epoch_steps),
        )

    @property
    def info(self) -> EvaluatorInfo:
        """What the accuracies mean."""
        images = self._images
        changed = changed_options(
            epochs=(str(self._asked), "0"),
            recipe=(self._recipe_name, RECIPE),
            halving=(str(self._reduction), str(HALVING)),
        ).removesuffix(",")
        return EvaluatorInfo(
            name=f"train:data={self._data}{',' if changed else ''}{changed}",
            version=f"1-{images.fingerprint}",
            kind="trained",
            dataset=Path(self._data).name,
            metric="top1",
            classes=len(images.classes),
            detail=(
                f"{self._length_text(self._asked or EPOCHS)} of the recipe {self._recipe_name} on "
                f"{len(images.train)} images, evaluated on {len(images.val)} held-out ones"
            ),
        )

    def _timed(self, spec: ModelSpec) -> Timed:
        spec = with_classes(spec, len(self._images.classes))
        prepared = self._prepared(spec)
        return time_training(build(spec, seed=0), prepared.parts["train"], prepared.parts["val"], prepared.recipe)

    def _prepared(self, spec: ModelSpec) -> Prepared[Recipe]:
        return prepare(self._images, side=square_side(spec), recipe=self._recipe, splits=("train", "val"))

    @property
    def halving(self) -> Halving | None:
        """The epochs after which a search compares candidates; None where all are trained to the end."""
        if not self._reduction:
            return None
        epochs = self._length.steps / self._epoch_steps
        powers = takewhile(lambda epoch: epoch < epochs, (self._reduction**n for n in count()))
        return Halving(rungs=tuple(powers), reduction=self._reduction)

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        """The accuracy after the training, with the interval of so many images.

        `report` is told after every epoch, counted from 1.

        Raises:
            EvaluatorError: the spec has no classifier, or the training fails.
            StopEarly: `report` asked for it.
        """
        if not isinstance(spec.head, Classifier):
            raise EvaluatorError(f"{spec.name} has no classifier to train", hint="give its spec a classifier")
        spec = with_classes(spec, len(self._images.classes))
        prepared = self._prepared(spec)
        with (
            tempfile.TemporaryDirectory(prefix="mnv2search-") as folder,
            self._length.watching(spec) as done,
        ):

            def told(progress: Progress) -> None:
                done.hear(progress.step, is_evaluated=progress.evaluated is not None)
                if progress.evaluated is not None:
                    report(progress.epoch, progress.evaluated.top1)

            try:
                found = train(
                    build(spec, seed=seed),
                    prepared.parts["train"],
                    prepared.parts["val"],
                    prepared.recipe,
                    folder=Path(folder),
                    seed=seed,
                    steps=self._length.steps,
                    limit_s=self._length.left_s(),
                    precision="float32",  # a trial of speed may end one way today and another tomorrow
                    on_progress=told,
                )
            except TrainingError as error:
                raise EvaluatorError(f"{spec.name}: {error.message}", hint=error.hint) from error
        low, high = found.best.interval
        info = self.info
        return Accuracy(
            value=found.best.top1,
            low=low,
            high=high,
            metric=info.metric,
            kind=info.kind,
            dataset=info.dataset,
            seed=seed,
            note=self._length.note_of(spec, found.steps),
            commonest=found.best.commonest,
        )
