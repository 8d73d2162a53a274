"""What every training does, whatever a network learns: steps, evaluations, checkpoints, and going on from them."""

from __future__ import annotations

import copy
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import torch
from torch import nn
from torch.optim import Optimizer

from mnv2search.errors import OptionError, SpecError, StoppedError, TrainingError, WeightsError
from mnv2search.model.build import MobileNet
from mnv2search.model.weights.saved import Learned, read_network
from mnv2search.recipe import Recipe
from mnv2search.spec.yaml.codec import dumps
from mnv2search.training.checkpoint import Checkpoint, read_checkpoint, restoring, write_checkpoint, write_network
from mnv2search.training.distributed import ALONE, Team
from mnv2search.training.optimizers import learning_rate, optimizer_of
from mnv2search.training.precision import Precision, half_of, scaler_of
from mnv2search.training.progress import TRIAL_SHARE, F, Pace, Plan, ProgressOf, State, TrainedOf
from mnv2search.training.rng import own_draws, seed_step
from mnv2search.training.step import RunningMean, set_dropout, set_momentum
from mnv2search.training.trial import fastest

__all__ = ["BEST", "LAST", "Course", "Job"]

LAST, BEST = "last.ckpt", "best.pt"
UNKNOWN_STEPS = 1_000_000
CHECKPOINT_S = 60.0

B = TypeVar("B")
"""A batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Where a training is made, and what tells it from others.

    Attributes:
        folder: for ``last.ckpt`` and ``best.pt``.
        seed: of everything that is drawn.
        data: fingerprint of the images; a checkpoint of others is refused.
        device: of torch, such as ``cuda``.
        team: processes that train with this one.
        clock: monotonic clock in seconds.
    """

    folder: Path
    seed: int
    data: str
    device: str
    team: Team = ALONE
    clock: Callable[[], float] = time.monotonic


class Course(ABC, Generic[B, F]):
    """A network with all that changes while it is trained; subclasses say on what, and by which loss and figures.

    Args:
        model: with its first weights; trained in place.
        recipe: how.
        job: where, and from which seed.
        images: to learn from, how many.
        batch: images a step.
    """

    most_evaluations: float = math.inf
    """In the whole of a training, apart from the last; one is after every epoch, or after several."""
    learned: Learned | None = None
    """What the best weights are written with."""
    after: float = 0.0
    """Evaluations that are made once the training has ended, in terms of one on the held-out images."""
    momentum_set_for: int = 0
    """Steps that batch norm's momentum was last chosen for."""
    limit_s: float | None = None
    """Wall time that a training of so many steps or epochs may take: where it goes slower, it is shortened."""
    timed: tuple[float, float] = (0.0, 0.0)
    """Seconds of training and images per second, as of the last checkpoint."""

    def __init__(self, model: MobileNet, recipe: Recipe, job: Job, *, images: int, batch: int) -> None:
        self.model = model.to(device=job.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe, self.batch, self.epoch_steps = recipe, batch, images // batch
        self.folder, self.seed, self.device, self.team = job.folder, job.seed, job.device, job.team
        self.clock = job.clock
        set_dropout(model, recipe.dropout)
        self.optimizer = optimizer_of(model, recipe)
        self.averaged = copy.deepcopy(model).eval().requires_grad_(False) if recipe.ema else None
        self.job = {"spec": dumps(model.spec), "recipe": recipe.dumps(), "seed": job.seed, "data": job.data}
        self.mean = None if self.averaged is None else RunningMean(self.averaged, self.model)
        self.state: State[F] = State()
        self.shared: nn.Module = model
        self.scaler = scaler_of("float32", job.device)
        self.began = self.clock()
        self.stop: Callable[[], bool] = lambda: False
        self.on_note: Callable[[str], None] = lambda _: None

    @abstractmethod
    def batches(self, *, epoch: int, first: int, ahead: bool = True) -> Generator[B]:
        """The batches of an epoch from number `first` on, perhaps made ahead of their use."""

    @abstractmethod
    def descend(
        self, model: nn.Module, optimizer: Optimizer, batch: B, *, precision: Precision, scaler: torch.amp.GradScaler
    ) -> float:
        """One step of a model; the loss before it, of this process."""

    @abstractmethod
    def judge(self, model: MobileNet) -> F:
        """Figures on the held-out images; a `StoppedError` where `stop` asks for it."""

    @abstractmethod
    def judge_some(self, model: MobileNet) -> float:
        """Evaluate a network on some held-out images, to see how long that takes; their share of all."""

    @abstractmethod
    def value(self, figures: F) -> float:
        """By which the best weights are told."""

    @abstractmethod
    def written(self, figures: F) -> tuple[Any, ...]:
        """Figures as a checkpoint holds them."""

    @abstractmethod
    def read(self, written: tuple[Any, ...]) -> F:
        """Figures as they were written."""

    def begin(
        self,
        *,
        steps: int | None,
        epochs: int | None,
        time_s: float | None,
        precision: Precision | None,
        stop: Callable[[], bool] = lambda: False,
        on_note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Go on with what the folder holds, or set what a new training does.

        Args:
            steps: of the whole.
            epochs: in place of steps; None takes the recipe's.
            time_s: wall time in place of both.
            precision: of the convolutions; None takes what is fastest.
            stop: asked whether to stop; a process alone asks between the batches of an evaluation too.
            on_note: told if the best weights are lost or the time is too short for a training.

        Raises:
            OptionError: the folder holds another training.
            StoppedError: it was asked to stop before the first step.
            TrainingError: the checkpoint cannot be read.
        """
        self.began, self.stop, self.on_note = self.clock(), stop, on_note
        saved = self.team.agreed(self._saved)
        if saved is not None:
            self._take_up(saved)
            return
        self._set_precision(self.team.agreed(lambda: self._fastest(time_s)) if precision is None else precision)
        self.state.time_s = time_s if steps is None else None
        if steps is not None:
            self.state.steps = max(1, steps)
        elif time_s is None:
            self.state.steps = max(1, (self.recipe.epochs if epochs is None else epochs) * self.epoch_steps)

    def run(self, *, on_progress: Callable[[ProgressOf[F]], None]) -> TrainedOf[F]:
        """All steps that are left.

        Args:
            on_progress: told after every step.

        Raises:
            StoppedError: it was asked to stop before there were figures.
            TrainingError: the loss is no number, or the checkpoint cannot be written.
        """
        state, resumed_at = self.state, self.state.step
        self.shared = self.team.shared(self.model)
        pace = Pace(
            resumed_at,
            self.limit_s if state.steps else state.time_s,
            begin=self.began,
            epoch_steps=self.epoch_steps,
            evaluations=self.most_evaluations,
            after=self.after,
            clock=self.clock,
        )
        self.timed = state.seconds, state.images_per_s
        written, stopped = self.clock(), False
        if state.is_unjudged or (state.best is None and state.step == state.steps > 0):
            stopped = self._judge(pace) is None
            self._save(pace)
        with own_draws(self.device), ExitStack() as stack:
            for batch in () if stopped else stack.enter_context(closing(self.batches_left())):
                lr = self.make_step(batch)
                self._set_length(pace)
                ends, due = state.step == state.steps, self._is_due()
                evaluated = self._judge(pace) if ends or due else None
                if self.team.is_leader:
                    on_progress(self._progress(lr, pace, evaluated))
                stopped = state.is_unjudged or (not ends and self.team.is_any(self.stop()))
                if ends or stopped or evaluated is not None or self.clock() - written > CHECKPOINT_S:
                    self._save(pace)
                    written = self.clock()
                if ends or stopped:
                    break
        if state.best is None:
            what = "resume" if state.steps else "start over"
            raise StoppedError(f"interrupted at step {state.step}; run the same command to {what}")
        return TrainedOf(
            best=state.best,
            best_step=state.best_step,
            steps=state.step,
            epochs=state.step / self.epoch_steps,
            seconds=self.timed[0],
            images_per_s=self.timed[1],
            losses=tuple(state.losses),
            resumed_at=resumed_at,
            stopped=stopped,
            precision=state.precision,
        )

    def _saved(self) -> Checkpoint | None:
        saved = read_checkpoint(self.folder / LAST)
        for key, value in self.job.items():
            if saved is not None and saved.job.get(key) != value:
                raise OptionError(
                    f"{self.folder} holds a training with another {'set of images' if key == 'data' else key}",
                    hint="go on with what it was begun with, or give another folder",
                )
        return saved if saved is None or saved.best is None else self._without_lost_weights(saved)

    def _without_lost_weights(self, saved: Checkpoint) -> Checkpoint:
        """The checkpoint, without its best figures if `best.pt`, which holds their weights, cannot be read."""
        try:
            read_network(self.folder / BEST)
        except (WeightsError, SpecError) as error:
            found = "the best of the remaining evaluations" if saved.step < saved.steps else "those of the last step"
            self.on_note(
                f"{error.message}; the best weights so far, of step {saved.best_step}, are lost, "
                f"and {found} are kept instead"
            )
            return replace(saved, best=None, best_step=0)
        return saved

    def _take_up(self, saved: Checkpoint) -> None:
        with restoring(self.folder / LAST):
            self.model.load_state_dict(saved.model)
            if self.averaged is not None and saved.averaged is not None:
                self.averaged.load_state_dict(saved.averaged)
            self.optimizer.load_state_dict(saved.optimizer)
            best = None if saved.best is None else self.read(saved.best)
        self.state = State(
            step=saved.step,
            steps=saved.steps,
            best=best,
            best_step=saved.best_step,
            running_loss=saved.running_loss,
            every=saved.every,
            is_unjudged=saved.is_unjudged,
            time_s=saved.time_s,
            seconds=saved.seconds,
            images_per_s=saved.images_per_s,
        )
        self._set_precision(cast(Precision, saved.half_type) if saved.half else "float32")
        if saved.scaler:
            self.scaler.load_state_dict(saved.scaler)

    def _set_precision(self, precision: Precision) -> None:
        self.state.precision = precision
        self.scaler = scaler_of(precision, self.device)

    def _fastest(self, time_s: float | None) -> Precision:
        """Half precision where its steps are clearly faster than in single precision, by a few of each in turn.

        Where a step takes much of the time, or one in half precision is much slower, there are no more of them. On a
        GPU too: a small network waits for the host, which has more to do where numbers are converted.
        """
        half = half_of(self.device)
        tried = copy.deepcopy(self.model)
        optimizer = optimizer_of(tried, self.recipe)
        recipe, self.recipe = self.recipe, replace(self.recipe, randaugment=0, mixup=0.0)
        scaler = scaler_of("float32", self.device)
        with own_draws(self.device), closing(self.batches(epoch=0, first=0, ahead=False)) as batches:
            batch = next(batches)
            found = fastest(
                lambda precision: self.descend(tried, optimizer, batch, precision=precision, scaler=scaler),
                half,
                clock=self.clock,
                is_over=lambda: time_s is not None and self.clock() - self.began > TRIAL_SHARE * time_s,
                stop=self.stop,
            )
        self.recipe = recipe
        return found

    def _set_length(self, pace: Pace) -> None:
        """Let the pace of the leader tell how many steps fit into the time, and shorten that where it goes slower."""
        state = self.state
        pace.stepped(state.step)
        if state.step == state.steps or not pace.is_limited:
            return
        if not self.team.agreed(lambda: pace.is_tried(state.step)):
            return
        if not pace.evaluation_s:
            self._expect(pace)
        if state.steps:
            found = self.team.agreed(lambda: pace.shortened(state.step, Plan(state.steps, self._every)))
        else:
            found = self.team.agreed(lambda: pace.plan(state.step))
            if self.team.is_leader and state.time_s is not None and pace.least_s > state.time_s:
                self.on_note(
                    f"{state.step} steps and an evaluation take {pace.least_s:.0f} s, more than the "
                    f"{state.time_s:g} s that are given; the training ends after step {state.step}"
                )
        state.steps, state.every = found

    def _expect(self, pace: Pace) -> None:
        """Tell the pace how long an evaluation will take, by one of a few images."""
        shown, begin = self.model if self.averaged is None else self.averaged, self.clock()
        self.judge_some(shown)  # loads what judges
        warm = self.clock()
        share = self.judge_some(shown)
        ended = self.clock()
        pace.expect((ended - warm) / share, took_s=ended - begin)

    def _is_due(self) -> bool:
        """Whether an evaluation is: after an epoch, and not more often than so many times in all."""
        return bool(self.state.steps) and self.state.step % self._every == 0

    @property
    def _every(self) -> int:
        """Steps from one evaluation to the next."""
        most = max(1.0, self.state.steps / self.most_evaluations)
        return self.state.every or math.ceil(most / self.epoch_steps) * self.epoch_steps

    def batches_left(self) -> Generator[B]:
        """Batches from the one after the last step on, until there is no step left."""
        state = self.state
        while not state.steps or state.step < state.steps:
            epoch, first = divmod(state.step, self.epoch_steps)
            yield from self.batches(epoch=epoch, first=first)

    def make_step(self, batch: B) -> float:
        """One step; the learning rate of it."""
        state = self.state
        steps = state.steps or UNKNOWN_STEPS
        lr = learning_rate(self.recipe, step=state.step, steps=steps, epoch_steps=self.epoch_steps, batch=self.batch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if steps != self.momentum_set_for:
            set_momentum(self.model, steps)
            self.momentum_set_for = steps
        seed_step(self.seed, state.step, self.team.rank)
        if not self.model.training:
            self.model.train()
        own = self.descend(self.shared, self.optimizer, batch, precision=state.precision, scaler=self.scaler)
        loss = self.team.sums([own])[0] / self.team.size
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of step {state.step + 1} is {loss}",
                hint="lower the rate (lr) of the recipe, or clip the gradient (clip_norm)",
            )
        state.step += 1
        if self.mean is not None:
            self.mean.move(min(self.recipe.ema, state.step / (state.step + 10)))
        state.losses.append(loss)
        state.running_loss = loss if math.isnan(state.running_loss) else 0.95 * state.running_loss + 0.05 * loss
        return lr

    def _judge(self, pace: Pace) -> F | None:
        """Figures on the held-out images, or None if that was stopped; the best weights so far are kept."""
        state, shown = self.state, self.model if self.averaged is None else self.averaged
        begin = self.clock()
        self.team.take_buffers(shown)
        try:
            found = self.judge(shown)
        except StoppedError:
            state.is_unjudged = True
            return None
        state.is_unjudged = False
        if state.best is None or self.value(found) >= self.value(state.best):
            state.best, state.best_step = found, state.step
            if self.team.is_leader:
                write_network(self.folder / BEST, shown, learned=self.learned)
        pace.judged(self.clock() - begin)
        return found

    def _seconds(self, pace: Pace) -> float:
        return self.state.seconds + (pace.elapsed_s if pace.has_worked else 0.0)

    def _images_per_s(self, pace: Pace) -> float:
        return pace.per_s(self.state.step) * self.batch or self.state.images_per_s

    def _save(self, pace: Pace) -> None:
        state = self.state
        self.timed = self._seconds(pace), self._images_per_s(pace)
        if not self.team.is_leader:
            return
        if not state.steps:
            return  # how long it is to be is not known yet, so there is little to lose
        write_checkpoint(
            self.folder / LAST,
            Checkpoint(
                job=self.job,
                step=state.step,
                steps=state.steps,
                running_loss=state.running_loss,
                best=None if state.best is None else self.written(state.best),
                best_step=state.best_step,
                model=self.model.state_dict(),
                averaged=None if self.averaged is None else self.averaged.state_dict(),
                optimizer=self.optimizer.state_dict(),
                half=state.precision != "float32",
                half_type=state.precision,
                scaler=self.scaler.state_dict() or None,
                every=state.every,
                is_unjudged=state.is_unjudged,
                time_s=state.time_s,
                seconds=self.timed[0],
                images_per_s=self.timed[1],
            ),
        )

    def _progress(self, lr: float, pace: Pace, evaluated: F | None) -> ProgressOf[F]:
        state = self.state
        return ProgressOf(
            step=state.step,
            steps=state.steps,
            epoch=math.ceil(state.step / self.epoch_steps),
            loss=state.running_loss,
            lr=lr,
            images_per_s=pace.per_s(state.step) * self.batch,
            evaluated=evaluated,
        )
