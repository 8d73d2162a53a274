"""The training of detectors and segmenters; like that of classifiers it goes on exactly where it stopped."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mnv2search.data.scene_batches import LoadedScenes, SceneBatch, augmented, normalised, scene_batches
from mnv2search.errors import OptionError
from mnv2search.model.build import MobileNet
from mnv2search.model.ssdlite import SsdLiteHead
from mnv2search.model.weights.saved import Learned
from mnv2search.recipe import Recipe
from mnv2search.tasks.dense_loss import detection_loss, segmentation_loss
from mnv2search.tasks.dense_metrics import DenseFigures, dense_figures
from mnv2search.tasks.matching import targets_of
from mnv2search.training.precision import Precision
from mnv2search.training.progress import ProgressOf, TrainedOf
from mnv2search.training.rng import own_draws
from mnv2search.training.speed import Timed
from mnv2search.training.step import autocast, backward
from mnv2search.training.timing import timed
from mnv2search.training.trainer import Course, Job

__all__ = ["MOST_EVALUATIONS", "DenseProgress", "DenseTrained", "check_recipe", "time_dense", "train_dense"]

# Settings of recipes that classifiers alone have.
CLASSIFIERS_ONLY = ("label_smoothing", "randaugment", "mixup", "shift_px")
# Evaluations of a training at most, apart from the last: each takes as long as many steps.
MOST_EVALUATIONS = 20
# Scenes whose evaluation tells how long that of all takes.
TRIED_SCENES = 4

DenseProgress: TypeAlias = ProgressOf[DenseFigures]
DenseTrained: TypeAlias = TrainedOf[DenseFigures]


def check_recipe(recipe: Recipe) -> None:
    """Refuse a recipe with settings that would be ignored.

    Raises:
        OptionError: it has some.
    """
    for name in CLASSIFIERS_ONLY:
        if getattr(recipe, name):
            raise OptionError(
                f"the recipe {recipe.name} has {name} {getattr(recipe, name):g}, which detectors and segmenters lack",
                hint="use the recipe dense, or one without it",
            )


def train_dense(
    model: MobileNet,
    scenes: LoadedScenes,
    held_out: LoadedScenes,
    recipe: Recipe,
    *,
    classes: tuple[str, ...],
    folder: Path,
    seed: int = 0,
    steps: int | None = None,
    epochs: int | None = None,
    time_s: float | None = None,
    limit_s: float | None = None,
    data: str = "",
    device: str = "cpu",
    precision: Precision | None = None,
    evaluations: int = MOST_EVALUATIONS,
    on_progress: Callable[[DenseProgress], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    after: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> DenseTrained:
    """Train a detector or a segmenter, or go on with a training that stopped in `folder`.

    Every draw depends on the seed and the number of the step alone.

    Args:
        model: the network with its first weights; trained in place.
        scenes: to learn from.
        held_out: that tell which weights are best.
        recipe: how.
        classes: names.
        folder: for ``last.ckpt`` and ``best.pt``; what is there is gone on with.
        seed: of everything that is drawn.
        steps: in place of epochs.
        epochs: in place of the recipe's.
        time_s: wall time in place of epochs.
        limit_s: wall time within which so many steps or epochs have to be; where they are not, there are fewer.
        data: fingerprint of the scenes; a checkpoint of others is refused.
        device: of torch, such as ``cuda``.
        precision: of the convolutions (autocast); None takes half precision where a trial says that it is clearly
            faster. A checkpoint is gone on with in what it was begun with.
        evaluations: at most, apart from the last; where there are more epochs, one is after several.
        on_progress: told after every step.
        on_note: told if the best weights are lost or the time is too short for a training.
        stop: asked after every step whether to stop, and between the batches of an evaluation; then a checkpoint is
            written.
        after: evaluations that the time is for too, once the training has ended, in terms of one on `held_out`.
        clock: monotonic clock in seconds.

    Raises:
        StoppedError: it was asked to stop before there were figures.
        OptionError: the folder holds another training, or the recipe what only classifiers have.
        TrainingError: the loss is no number, or the checkpoint cannot be read or written.
        MissingExtraError: what augments or judges is not installed.
    """
    check_recipe(recipe)
    job = Job(folder=folder, seed=seed, data=data, device=device, clock=clock)
    course = _Course(model, recipe, job, scenes, held_out, classes)
    course.most_evaluations = evaluations
    course.after = after
    course.limit_s = limit_s
    course.begin(steps=steps, epochs=epochs, time_s=time_s, precision=precision, stop=stop, on_note=on_note)
    return course.run(on_progress=on_progress)


def time_dense(
    model: MobileNet,
    scenes: LoadedScenes,
    held_out: LoadedScenes,
    recipe: Recipe,
    *,
    classes: tuple[str, ...],
    device: str = "cpu",
) -> Timed:
    """What a step and an evaluation of a network take here, by a few of each; the network is of no use afterwards.

    Args:
        model: the network.
        scenes: to learn from.
        held_out: to evaluate on, a few of them.
        recipe: how.
        classes: names.
        device: of torch, such as ``cuda``.

    Raises:
        MissingExtraError: what augments or judges is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="mnv2search-") as folder, own_draws(device):
        course = _Course(
            model, recipe, Job(folder=Path(folder), seed=0, data="", device=device), scenes, held_out, classes
        )
        return timed(course)


class _Course(Course[SceneBatch, DenseFigures]):
    """A detector or a segmenter that learns from scenes."""

    def __init__(
        self,
        model: MobileNet,
        recipe: Recipe,
        job: Job,
        scenes: LoadedScenes,
        held_out: LoadedScenes,
        classes: tuple[str, ...],
    ) -> None:
        super().__init__(model, recipe, job, images=len(scenes), batch=min(recipe.batch, len(scenes)))
        self.scenes, self.held_out, self.classes = scenes, held_out, classes
        self.tried = LoadedScenes(held_out.scenes[:TRIED_SCENES], size=held_out.size, void=held_out.void)
        self.learned = Learned(classes=classes, normalization=recipe.normalization)

    def batches(self, *, epoch: int, first: int, ahead: bool = True) -> Generator[SceneBatch]:  # noqa: ARG002
        return scene_batches(self.scenes, batch=self.batch, seed=self.seed, epoch=epoch, first=first)

    def descend(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        batch: SceneBatch,
        *,
        precision: Precision,
        scaler: torch.amp.GradScaler,
    ) -> float:
        assert isinstance(model, MobileNet)
        moved = augmented(batch, self.recipe)
        images = normalised(moved.images.to(self.device), self.recipe.normalization)
        with autocast(images, precision):
            predictions = model.predictions(images)
        loss = self._loss(predictions.float(), moved)
        return backward(model, optimizer, loss, clip_norm=self.recipe.clip_norm, scaler=scaler)

    def judge(self, model: MobileNet) -> DenseFigures:
        return self._judged(model, self.held_out, self.stop)

    def judge_some(self, model: MobileNet) -> float:
        self._judged(model, self.tried, lambda: False)
        return len(self.tried) / len(self.held_out)

    def value(self, figures: DenseFigures) -> float:
        return figures.value

    def written(self, figures: DenseFigures) -> tuple[Any, ...]:
        return figures.metric, figures.value, figures.details, figures.count

    def read(self, written: tuple[Any, ...]) -> DenseFigures:
        metric, value, details, count = written
        return DenseFigures(metric=metric, value=value, details=details, count=count)

    def _judged(self, model: MobileNet, scenes: LoadedScenes, stop: Callable[[], bool]) -> DenseFigures:
        normalization, device = self.recipe.normalization, self.device
        return dense_figures(model, scenes, self.classes, normalization=normalization, device=device, stop=stop)

    def _loss(self, predictions: Tensor, batch: SceneBatch) -> Tensor:
        if batch.masks is not None:
            return segmentation_loss(predictions, batch.masks.to(self.device))
        head = self.model.head
        assert isinstance(head, SsdLiteHead)
        targets = [
            targets_of(corners.to(self.device), labels.to(self.device), head.anchors)
            for corners, labels in zip(batch.corners, batch.labels, strict=True)
        ]
        return detection_loss(predictions, targets, head.anchors)
