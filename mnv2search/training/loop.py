"""The training of classifiers: steps, evaluations, checkpoints, and going on exactly where it stopped."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from mnv2search.data.image_batches import Batch, Cutting, training_batches
from mnv2search.data.pixels import Pixels
from mnv2search.data.prefetch import Feed, feed_of
from mnv2search.errors import DataError, OptionError, TrainingError
from mnv2search.model.build import MobileNet
from mnv2search.model.weights.saved import Learned
from mnv2search.recipe import Recipe
from mnv2search.spec.model_spec import square_side
from mnv2search.tasks.classification import Figures, evaluate
from mnv2search.training.distributed import ALONE, Team
from mnv2search.training.precision import Precision
from mnv2search.training.progress import Progress, Trained
from mnv2search.training.rng import own_draws
from mnv2search.training.speed import Timed
from mnv2search.training.step import descend
from mnv2search.training.timing import timed
from mnv2search.training.trainer import BEST, LAST, Course, Job

__all__ = ["BEST", "LAST", "Figures", "Progress", "Trained", "evaluate", "time_training", "train"]

# Images whose evaluation tells how long that of all takes.
TRIED_IMAGES = 16


def train(
    model: MobileNet,
    pixels: Pixels,
    held_out: Pixels,
    recipe: Recipe,
    *,
    folder: Path,
    seed: int = 0,
    epochs: int | None = None,
    steps: int | None = None,
    time_s: float | None = None,
    limit_s: float | None = None,
    data: str = "",
    device: str = "cpu",
    team: Team = ALONE,
    teacher: nn.Module | None = None,
    precision: Precision | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    after: float = 0.0,
    classes: tuple[str, ...] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Trained:
    """Train a network, or go on with a training that stopped in `folder`.

    Every draw depends on the seed and the number of the step, so a training that was interrupted and goes on from its
    checkpoint makes the very steps that an uninterrupted one makes (on the same machine, with as many threads).

    Args:
        model: with its first weights; trained in place.
        pixels: images to learn from.
        held_out: images that tell which weights are best.
        recipe: how.
        folder: for ``last.ckpt`` and ``best.pt``; what is there is gone on with.
        seed: of everything that is drawn.
        epochs: in place of the recipe's.
        steps: in place of epochs.
        time_s: wall time in place of epochs: how many steps fit is found by the first few, and shortened later where
            they turn out slower.
        limit_s: wall time within which so many steps or epochs have to be; where they are not, there are fewer.
        data: fingerprint of the images; a checkpoint of others is refused.
        device: of torch, such as ``cuda``.
        team: processes that train with this one, each on its share of every batch; the leader alone writes and is
            told of progress.
        teacher: a network whose answers are learned from too, half and half.
        precision: of the convolutions (autocast); None takes half precision where a trial on this machine says that
            it is clearly faster: bfloat16, or float16 where a GPU does not compute in that. A checkpoint is gone on
            with in what it was begun with.
        on_progress: told after every step.
        on_note: told if the best weights are lost or the time is too short for a training.
        stop: asked after every step whether to stop, and between the batches of an evaluation; then a checkpoint is
            written.
        after: evaluations that the time is for too, once the training has ended, in terms of one on `held_out`.
        classes: their names, which the best weights are written with; none are where there are none.
        clock: monotonic clock in seconds.

    Raises:
        StoppedError: it was asked to stop before there were figures.
        OptionError: the folder holds another training, or a batch cannot be divided among the processes.
        DataError: there are fewer images than a batch has.
        TrainingError: the loss is no number, or the checkpoint cannot be read or written.
    """
    _check_batch(pixels, recipe)
    if recipe.batch % (2 * team.size) and team.size > 1:
        raise OptionError(
            f"a batch of {recipe.batch} images cannot be divided among {team.size} processes",
            hint=f"use a recipe whose batch is a multiple of {2 * team.size}: images are mixed in pairs",
        )
    if team.sums([len(pixels), len(held_out)]) != (team.size * len(pixels), team.size * len(held_out)):
        raise TrainingError("the processes see different numbers of images", hint="give all of them the same data")
    job = Job(folder=folder, seed=seed, data=data, device=device, team=team, clock=clock)
    course = _Course(model, recipe, job, pixels, held_out, teacher)
    course.after, course.limit_s = after, limit_s
    if classes:
        course.learned = Learned(classes=classes, normalization=recipe.normalization)
    course.begin(steps=steps, epochs=epochs, time_s=time_s, precision=precision, stop=stop, on_note=on_note)
    return course.run(on_progress=on_progress)


def _check_batch(pixels: Pixels, recipe: Recipe) -> None:
    if len(pixels) < recipe.batch:
        raise DataError(
            f"there are {len(pixels)} images to learn from, fewer than a batch of {recipe.batch}",
            hint=f"give more, or a recipe with a batch of at most {max(2, len(pixels))}",
        )


def time_training(
    model: MobileNet,
    pixels: Pixels,
    held_out: Pixels,
    recipe: Recipe,
    *,
    device: str = "cpu",
    clock: Callable[[], float] = time.monotonic,
) -> Timed:
    """What a step and an evaluation of a network take here, by a few of each; the network is of no use afterwards.

    Args:
        model: the network.
        pixels: images to learn from.
        held_out: to evaluate on, a few of them.
        recipe: how.
        device: of torch, such as ``cuda``.
        clock: monotonic clock in seconds.

    Raises:
        DataError: there are fewer images than a batch has.
    """
    _check_batch(pixels, recipe)
    with tempfile.TemporaryDirectory(prefix="mnv2search-") as folder, own_draws(device):
        job = Job(folder=Path(folder), seed=0, data="", device=device, clock=clock)
        return timed(_Course(model, recipe, job, pixels, held_out, None))


class _Course(Course[Batch, Figures]):
    """A classifier that learns from pixels with labels."""

    def __init__(
        self,
        model: MobileNet,
        recipe: Recipe,
        job: Job,
        pixels: Pixels,
        held_out: Pixels,
        teacher: nn.Module | None,
    ) -> None:
        super().__init__(model, recipe, job, images=len(pixels), batch=recipe.batch)
        self.pixels, self.held_out, self.teacher = pixels, held_out, teacher
        self.cutting = Cutting(
            side=square_side(model.spec),
            normalization=recipe.normalization,
            least_area=recipe.least_area,
            mirror=recipe.mirror,
            shift_px=recipe.shift_px,
        )

    def batches(self, *, epoch: int, first: int, ahead: bool = True) -> Generator[Batch]:
        return training_batches(
            self.pixels,
            self.cutting,
            batch=self.batch,
            seed=self.seed,
            epoch=epoch,
            first=first,
            share=(self.team.rank, self.team.size),
            feed=feed_of(self.device) if ahead else Feed(ahead=0),
        )

    def descend(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        batch: Batch,
        *,
        precision: Precision,
        scaler: torch.amp.GradScaler,
    ) -> float:
        placed = Batch(batch.images.to(self.device, non_blocking=True), batch.labels.to(self.device))
        drawn = (self.seed, self.state.step)
        return descend(model, optimizer, self.recipe, placed, self.teacher, drawn, precision=precision, scaler=scaler)

    def judge(self, model: MobileNet) -> Figures:
        return self._figures(model, stop=self.stop)

    def judge_some(self, model: MobileNet) -> float:
        return self._figures(model, most=TRIED_IMAGES).count / len(self.held_out)

    def _figures(
        self, model: MobileNet, *, stop: Callable[[], bool] = lambda: False, most: int | None = None
    ) -> Figures:
        return evaluate(
            model,
            self.held_out,
            self.cutting,
            device=self.device,
            share=(self.team.rank, self.team.size),
            sums=self.team.sums,
            stop=stop,
            most=most,
        )

    def value(self, figures: Figures) -> float:
        return figures.top1

    def written(self, figures: Figures) -> tuple[Any, ...]:
        return figures.top1, figures.loss, figures.count, figures.commonest

    def read(self, written: tuple[Any, ...]) -> Figures:
        return Figures(written[0], written[1], int(written[2]), *written[3:])
