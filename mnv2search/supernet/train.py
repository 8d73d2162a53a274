"""Training all networks of a space at once, in one set of weights."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnv2search.data.image_batches import Batch, Cutting, training_batches
from mnv2search.data.pixels import Pixels
from mnv2search.errors import OptionError, TrainingError
from mnv2search.model.elastic import ElasticNet, Located
from mnv2search.recipe import Recipe
from mnv2search.spec.model_spec import square_side
from mnv2search.spec.space import Pick
from mnv2search.training.checkpoint import Checkpoint, read_checkpoint, restoring, write_checkpoint
from mnv2search.training.loop import LAST, Progress
from mnv2search.training.optimizers import learning_rate, optimizer_of
from mnv2search.training.progress import ProgressOf

__all__ = ["Draw", "SupernetTrained", "descend", "fitted_to", "train_supernet"]

# A training by time: so many steps tell how fast it goes, or as many as fit into this share of the time, but two.
TRIAL_STEPS, TRIAL_SHARE = 12, 0.1
# Of the time, what is planned with.
TIME_SHARE = 0.97
UNKNOWN_STEPS = 1_000_000
# Points of the rest of a training at which the networks of a step are counted, to tell how long it will be.
LOOKED_AHEAD = 32
CHECKPOINT_S = 20.0
# Of what all but the teacher learn, from the labels; the rest from the teacher's answers, which say little at first.
LABEL_SHARE = 0.5


class Draw(Protocol):
    """Which networks a step trains."""

    def __call__(self, rng: random.Random, share: float) -> Sequence[Pick]:
        """The networks of one step, when a share of the training is over; the first teaches the others."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetTrained:
    """The outcome of a training of shared weights.

    Attributes:
        steps: done.
        images: drawn in all of them.
        passes: images times networks that they were shown to.
        seconds: wall time in this process.
        cpu_s: processor time in this process.
        losses: of the teaching network, each step of this process.
        resumed_at: step that this process began at.
        stopped: it was asked to stop before its end.
    """

    steps: int
    images: int
    passes: int
    seconds: float
    cpu_s: float
    losses: tuple[float, ...]
    resumed_at: int = 0
    stopped: bool = False


def train_supernet(
    net: ElasticNet,
    pixels: Pixels,
    recipe: Recipe,
    draw: Draw,
    *,
    side: int,
    folder: Path,
    job: dict[str, str],
    seed: int = 0,
    steps: int | None = None,
    time_s: float | None = None,
    device: str = "cpu",
    on_progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> SupernetTrained:
    """Train shared weights, or go on where a training in `folder` stopped.

    Each step takes one batch, which all of its networks see. The first learns from the labels, the others half from
    them and half from its answers (in-place distillation); one step of the optimizer follows for all of them. Every
    draw depends on the seed, the number of the step and that of all steps alone.

    Args:
        net: the weights, trained in place.
        pixels: images to learn from.
        recipe: how; mixing, operations on images and running means of weights play no part.
        draw: which networks a step trains, told how much of the training is over.
        side: of the batches in px; networks of other resolutions see them scaled.
        folder: for the checkpoint; what is there is gone on with.
        job: what is trained and how, in words; a checkpoint of another is refused.
        seed: of everything that is drawn.
        steps: of the training.
        time_s: wall time in place of steps: how many fit is found by the first ones, and there are fewer where later
            ones are slower.
        device: of torch.
        on_progress: told after every step.
        stop: asked after every step.
        clock: monotonic clock in seconds.

    Raises:
        OptionError: neither steps nor a time is given, or the folder holds another training.
        TrainingError: the loss is no number, or a checkpoint cannot be read or written.

    Source: the sandwich rule and in-place distillation: Yu et al., arXiv 1903.05134 and 2003.11142.
    """
    if (steps is None) == (time_s is None):
        raise OptionError("a supernet is trained for some steps or for a time", hint="give one of the two")
    training = _Training(net, pixels, recipe, draw, side=side, folder=folder, job=job, seed=seed, device=device)
    if not training.resume():
        training.steps = steps or 0
    return training.run(time_s, on_progress, stop, clock)


def fitted_to(images: Tensor, side: int) -> Tensor:
    """A batch (N, 3, H, W) scaled to a side in px."""
    if images.shape[-1] == side:
        return images
    scaled = functional.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return scaled.contiguous(memory_format=torch.channels_last)


class _Training:
    def __init__(
        self,
        net: ElasticNet,
        pixels: Pixels,
        recipe: Recipe,
        draw: Draw,
        *,
        side: int,
        folder: Path,
        job: dict[str, str],
        seed: int,
        device: str,
    ) -> None:
        self.net, self.pixels, self.recipe, self.draw = net.to(device).train(), pixels, recipe, draw
        self.folder, self.job, self.seed, self.device = folder, job, seed, device
        self.batch = min(recipe.batch, len(pixels))
        self.epoch_steps = len(pixels) // self.batch
        self.cutting = Cutting(
            side=side,
            normalization=recipe.normalization,
            least_area=recipe.least_area,
            mirror=recipe.mirror,
            shift_px=recipe.shift_px,
        )
        self.optimizer = optimizer_of(net, recipe)
        self.step = self.steps = self.passes = 0
        self.running_loss = math.nan
        self.losses: list[float] = []

    def resume(self) -> bool:
        saved = read_checkpoint(self.folder / LAST)
        if saved is None:
            return False
        if saved.job != self.job:
            different = sorted(key for key in {*saved.job, *self.job} if saved.job.get(key) != self.job.get(key))
            raise OptionError(
                f"{self.folder} holds a supernet with another {', '.join(different)}",
                hint="go on with what it was begun with, or give another folder",
            )
        with restoring(self.folder / LAST):
            self.net.load_state_dict(saved.model)
            self.optimizer.load_state_dict(saved.optimizer)
        self.step, self.steps, self.running_loss = saved.step, saved.steps, saved.running_loss
        return True

    def run(
        self,
        time_s: float | None,
        on_progress: Callable[[Progress], None],
        stop: Callable[[], bool],
        clock: Callable[[], float],
    ) -> SupernetTrained:
        begin, cpu = clock(), time.process_time()
        written, first, stopped = begin, self.step, False
        warm, warm_step, warm_passes = begin, self.step, self.passes
        with closing(self._batches()) as batches:
            for batch in batches:
                lr = self._step(batch)
                now = clock()
                if self.step == first + 1:
                    warm, warm_step, warm_passes = now, self.step, self.passes  # the first step is slow
                per_s = (self.step - warm_step) / max(now - warm, 1e-9)
                if time_s is not None:
                    passes_per_s = (self.passes - warm_passes) / self.batch / max(now - warm, 1e-9)
                    self._set_length(time_s, spent_s=now - begin, done=self.step - first, per_s=passes_per_s)
                on_progress(
                    ProgressOf(
                        step=self.step,
                        steps=self.steps,
                        epoch=math.ceil(self.step / self.epoch_steps),
                        loss=self.running_loss,
                        lr=lr,
                        images_per_s=per_s * self.batch,
                    )
                )
                stopped = self.step != self.steps and stop()
                if stopped or self.step == self.steps or now - written > CHECKPOINT_S:
                    self._save()
                    written = clock()
                if stopped:
                    break
        return SupernetTrained(
            steps=self.step,
            images=self.step * self.batch,
            passes=self.passes,
            seconds=clock() - begin,
            cpu_s=time.process_time() - cpu,
            losses=tuple(self.losses),
            resumed_at=first,
            stopped=stopped,
        )

    def _set_length(self, time_s: float, *, spent_s: float, done: int, per_s: float) -> None:
        """Let the steps so far tell how many fit into the time; fewer where they have become slower.

        Args:
            time_s: of the training.
            spent_s: of it.
            done: steps in that.
            per_s: networks that were shown a batch in a second.
        """
        if done < 2 or (not self.steps and done < TRIAL_STEPS and spent_s < TRIAL_SHARE * time_s):
            return
        begin = self.step / self.steps if self.steps else 0.0
        shares = [begin + (1 - begin) * (i + 0.5) / LOOKED_AHEAD for i in range(LOOKED_AHEAD)]
        each = sum(len(self.draw(random.Random(0), share)) for share in shares) / LOOKED_AHEAD
        if not self.steps or (self.steps - self.step) * each / per_s > time_s - spent_s:
            self.steps = self.step + max(0, int((TIME_SHARE * time_s - spent_s) * per_s / each))

    def _batches(self) -> Generator[Batch]:
        while not self.steps or self.step < self.steps:
            epoch, first = divmod(self.step, self.epoch_steps)
            for batch in training_batches(
                self.pixels, self.cutting, batch=self.batch, seed=self.seed, epoch=epoch, first=first
            ):
                yield batch
                if self.steps and self.step >= self.steps:
                    return

    def _step(self, batch: Batch) -> float:
        steps = self.steps or UNKNOWN_STEPS
        lr = learning_rate(self.recipe, step=self.step, steps=steps, epoch_steps=self.epoch_steps, batch=self.batch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        share = self.step / self.steps if self.steps else 0.0
        picks = self.draw(random.Random(f"{self.seed} {self.step}"), share)
        images, labels = batch.images.to(self.device), batch.labels.to(self.device)
        loss = descend(self.net, self.optimizer, self.recipe, [self.net.place(p) for p in picks], images, labels)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of step {self.step + 1} of the supernet is {loss}",
                hint="lower the rate (lr) of the recipe, or clip the gradient (clip_norm)",
            )
        self.step += 1
        self.passes += len(picks) * len(labels)
        self.losses.append(loss)
        self.running_loss = loss if math.isnan(self.running_loss) else 0.95 * self.running_loss + 0.05 * loss
        return lr

    def _save(self) -> None:
        if not self.steps:
            return  # how long it is to be is not known yet, so there is little to lose
        write_checkpoint(
            self.folder / LAST,
            Checkpoint(
                job=self.job,
                step=self.step,
                steps=self.steps,
                running_loss=self.running_loss,
                best=None,
                best_step=0,
                model=self.net.state_dict(),
                averaged=None,
                optimizer=self.optimizer.state_dict(),
                half=False,
            ),
        )


def descend(
    net: ElasticNet,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    networks: Sequence[Located],
    images: Tensor,
    labels: Tensor,
) -> float:
    """One step; the loss of the first network before it."""
    teacher, *pupils = networks
    optimizer.zero_grad(set_to_none=True)
    answers = net(fitted_to(images, square_side(teacher.plan.spec)), teacher)
    loss = functional.cross_entropy(answers, labels, label_smoothing=recipe.label_smoothing)
    (loss / len(networks)).backward()  # type: ignore[no-untyped-call]
    told = answers.detach().softmax(1)
    for pupil in pupils:
        own = net(fitted_to(images, square_side(pupil.plan.spec)), pupil)
        learned = LABEL_SHARE * functional.cross_entropy(own, labels, label_smoothing=recipe.label_smoothing)
        learned = learned + (1 - LABEL_SHARE) * functional.cross_entropy(own, told)
        (learned / len(networks)).backward()  # type: ignore[no-untyped-call]
    if recipe.clip_norm:
        nn.utils.clip_grad_norm_(net.parameters(), recipe.clip_norm)
    optimizer.step()
    return float(loss.detach())
