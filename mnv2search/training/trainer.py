"""The training loop: steps, evaluations, checkpoints, and exact resumption."""

from __future__ import annotations

import copy
import math
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Generic, cast

import torch
from torch import nn

from mnv2search.errors import OptionError, SpecError, StoppedError, TrainingError, WeightsError
from mnv2search.model.weights.network_file import read_network
from mnv2search.tasks.metrics import Metrics, metrics_of_tuple, tuple_of
from mnv2search.training.checkpoint import Checkpoint, read_checkpoint, restoring, write_checkpoint, write_network
from mnv2search.training.gradient_step import NonFiniteGradientError, gradient_step
from mnv2search.training.learner import B, Job, Learner
from mnv2search.training.optimizers import RunningMean, learning_rate, optimizer_of, set_dropout, set_momentum
from mnv2search.training.pace import TRIAL_SHARE, Pace, Plan
from mnv2search.training.precision import Precision, half_of, scaler_of
from mnv2search.training.progress import Progress, State, Trained
from mnv2search.training.throughput import fastest

LAST, BEST = "last.ckpt", "best.pt"
UNKNOWN_STEPS = 1_000_000
# Steps that are timed, after a warm-up step.
TIMED_STEPS = 3
# Fields of the state that a checkpoint stores unchanged.
SAVED = ("step", "steps", "best_step", "running_loss", "every", "is_unjudged", "time_s", "seconds", "images_per_s")


@contextmanager
def own_draws(device: str) -> Iterator[None]:
    """Restore torch's random state afterwards."""
    used = torch.device(device)
    with torch.random.fork_rng(enabled=True, devices=[used.index or 0] if used.type == "cuda" else []):
        yield


class Trainer(Generic[B]):
    """Trains a learner; all random numbers depend only on the seed and the number of the step.

    A resumed training takes the same steps as an uninterrupted one on the same machine with as many threads.
    """

    def __init__(self, learner: Learner[B], job: Job) -> None:
        self.learner, self.job, self.model, self.recipe = learner, job, learner.model, learner.recipe
        set_dropout(self.model, self.recipe.dropout)
        self.optimizer = optimizer_of(self.model, self.recipe)
        self.averaged = copy.deepcopy(self.model).eval().requires_grad_(False) if self.recipe.ema else None
        self.mean = None if self.averaged is None else RunningMean(self.averaged, self.model)
        self.state, self.shared = State(), self.model
        self.scaler = scaler_of("float32", job.device)
        self.evaluations = learner.evaluations if job.evaluations is None else job.evaluations
        self.momentum_set_for = 0
        self.timed = 0.0, 0.0
        self.pace = self._new_pace(job.clock())

    def run(self) -> Trained | None:
        """Train to the end, or resume; returns None for a learner that is not evaluated. Raises as `train`."""
        self._begin()
        state, resumed_at = self.state, self.state.step
        self.shared = self.job.team.shared(self.model)
        self.pace = self._new_pace(self.pace.begin)
        self.timed = state.seconds, state.images_per_s
        stopped = False
        if self.evaluations and (state.is_unjudged or (state.best is None and state.step == state.steps > 0)):
            stopped = self._evaluate() is None
            self._save()
        with own_draws(self.job.device):
            stopped = stopped or self._steps()
        if not self.evaluations:
            return None
        if state.best is None:
            what = "resume" if state.steps else "start over"
            raise StoppedError(f"interrupted at step {state.step}; run the same command to {what}")
        return Trained(
            best=state.best,
            best_step=state.best_step,
            steps=state.step,
            epochs=state.step / self.learner.epoch_steps,
            seconds=self.timed[0],
            images_per_s=self.timed[1],
            losses=tuple(state.losses),
            resumed_at=resumed_at,
            stopped=stopped,
            precision=state.precision,
        )

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

    # -- beginning -----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        job, team = self.job, self.job.team
        saved = team.agreed(self._saved)
        if saved is not None:
            self._restore(saved)
            return
        self._set_precision(team.agreed(self._fastest) if job.precision is None else job.precision)
        self.state.time_s = job.time_s if job.steps is None else None
        if job.steps is not None:
            self.state.steps = max(1, job.steps)
        elif job.time_s is None:
            epochs = self.recipe.epochs if job.epochs is None else job.epochs
            self.state.steps = max(1, epochs * self.learner.epoch_steps)

    def _new_pace(self, begin: float) -> Pace:
        state, learner, job = self.state, self.learner, self.job
        return Pace(
            state.step,
            job.limit_s if state.steps else state.time_s,
            begin=begin,
            epoch_steps=learner.epoch_steps,
            evaluations=self.evaluations or math.inf,
            after=job.after,
            time_share=learner.time_share,
            work=learner.work,
            clock=job.clock,
        )

    def _saved(self) -> Checkpoint | None:
        folder, identity = self.job.folder, self.learner.identity
        saved = read_checkpoint(folder / LAST)
        if saved is None:
            return None
        keys = sorted({*saved.job, *identity})
        if different := [key for key in keys if saved.job.get(key) != identity.get(key)]:
            named = ", ".join("set of images" if key == "data" else key for key in different)
            raise OptionError(
                f"{folder} holds a {self.learner.what} with another {named}",
                hint="resume with the original settings, or give another folder",
            )
        return saved if saved.best is None else self._without_lost_weights(saved)

    def _without_lost_weights(self, saved: Checkpoint) -> Checkpoint:
        """The checkpoint, without its best metrics if their weights in `best.pt` cannot be read."""
        try:
            read_network(self.job.folder / BEST)
        except (WeightsError, SpecError) as error:
            found = "the best of the remaining evaluations" if saved.step < saved.steps else "those of the last step"
            self.job.on_note(
                f"{error.message}; the best weights so far, of step {saved.best_step}, are lost, "
                f"and {found} are kept instead"
            )
            return replace(saved, best=None, best_step=0)
        return saved

    def _restore(self, saved: Checkpoint) -> None:
        with restoring(self.job.folder / LAST):
            self.model.load_state_dict(saved.model)
            if self.averaged is not None and saved.averaged is not None:
                self.averaged.load_state_dict(saved.averaged)
            self.optimizer.load_state_dict(saved.optimizer)
            best = None if saved.best is None else metrics_of_tuple(saved.best)
        self.state = State(best=best, **{name: getattr(saved, name) for name in SAVED})
        self._set_precision(cast("Precision", saved.half_type) if saved.half else "float32")
        if saved.scaler:
            self.scaler.load_state_dict(saved.scaler)

    def _set_precision(self, precision: Precision) -> None:
        self.state.precision = precision
        self.scaler = scaler_of(precision, self.job.device)

    def _fastest(self) -> Precision:
        """Half precision if a few steps show that it is clearly faster than single precision.

        Half precision is timed on GPUs too: a small network waits for the host, which must also launch conversions.
        """
        job, learner = self.job, self.learner
        tried = copy.deepcopy(self.model)
        optimizer = optimizer_of(tried, self.recipe)
        recipe, learner.recipe = self.recipe, replace(self.recipe, randaugment=0, mixup=0.0)
        scaler, time_s = scaler_of("float32", job.device), job.time_s

        def step(precision: Precision) -> float:
            state = replace(self.state, precision=precision)
            return gradient_step(learner, tried, optimizer, batch, state, scaler)

        with own_draws(job.device), closing(learner.batches(epoch=0, first=0, ahead=False)) as batches:
            batch = next(batches)
            try:
                found = fastest(
                    step,
                    half_of(job.device),
                    clock=job.clock,
                    is_over=lambda: time_s is not None and self.pace.elapsed_s > TRIAL_SHARE * time_s,
                    stop=job.stop,
                )
            except NonFiniteGradientError:
                found = "float32"
        learner.recipe = recipe
        return found

    # -- steps ---------------------------------------------------------------------------------------------------

    def _steps(self) -> bool:
        """Take all remaining steps; returns whether a stop was requested before the last."""
        job, state = self.job, self.state
        written, stopped = job.clock(), False
        with closing(self._batches_left()) as batches:
            for batch in batches:
                lr = self._step(batch)
                self._set_length()
                is_last = state.step == state.steps
                evaluated = self._evaluate() if is_last or (state.steps and state.step % self._every == 0) else None
                if job.team.is_leader:
                    job.on_progress(self._progress(lr, evaluated))
                stopped = state.is_unjudged or (not is_last and job.team.sums([float(job.stop())])[0] > 0)
                if any((is_last, stopped, evaluated, job.clock() - written > self.learner.checkpoint_s)):
                    self._save()
                    written = job.clock()
                if is_last or stopped:
                    break
        return stopped

    def _batches_left(self) -> Generator[B]:
        state = self.state
        while not state.steps or state.step < state.steps:
            epoch, first = divmod(state.step, self.learner.epoch_steps)
            yield from self.learner.batches(epoch=epoch, first=first)

    def _step(self, batch: B) -> float:
        state, learner, team = self.state, self.learner, self.job.team
        steps = state.steps or UNKNOWN_STEPS
        lr = learning_rate(
            self.recipe, step=state.step, steps=steps, epoch_steps=learner.epoch_steps, batch=learner.batch
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if steps != self.momentum_set_for:
            set_momentum(self.model, steps)
            self.momentum_set_for = steps
        own, is_taken = self._descended(batch)
        loss = team.sums([own])[0] / team.size
        if not (is_taken and math.isfinite(loss)):
            what = "a gradient" if math.isfinite(loss) else "the loss"
            raise TrainingError(
                f"{what} of step {state.step + 1} is not finite",
                hint="lower the rate (lr) of the recipe, or clip the gradient (clip_norm)",
            )
        state.step += 1
        if self.mean is not None:
            self.mean.move(min(self.recipe.ema, state.step / (state.step + 10)))
        state.losses.append(loss)
        state.running_loss = loss if math.isnan(state.running_loss) else 0.95 * state.running_loss + 0.05 * loss
        return lr

    def _descended(self, batch: B) -> tuple[float, bool]:
        """The loss of this process before a step, and whether the step was taken.

        A step that fails in bfloat16 is repeated in single precision, which then stays. With PyTorch 2.13, oneDNN
        sometimes leaves a gradient of a depthwise convolution in bfloat16 partly unwritten.
        """
        state, team = self.state, self.job.team
        seed = (self.job.seed * 1_000_003 + state.step * 7919 + team.rank * 15_485_863 + 17) % (2**63)
        while True:
            torch.manual_seed(seed)
            try:
                return gradient_step(self.learner, self.shared, self.optimizer, batch, state, self.scaler), True
            except NonFiniteGradientError as error:
                if state.precision == "float32":
                    return error.loss, False
                self.job.on_note(
                    f"a gradient of step {state.step + 1} is not finite in {state.precision}: the training continues "
                    "in float32"
                )
                self._set_precision("float32")

    # -- length --------------------------------------------------------------------------------------------------

    def _set_length(self) -> None:
        """Plan the steps that fit into the time by the leader's speed, and fewer if it decreases."""
        state, pace, team = self.state, self.pace, self.job.team
        pace.stepped(state.step, self.learner.last_work)
        if state.step == state.steps or not pace.is_limited:
            return
        if not team.agreed(lambda: pace.is_tried(state.step)):
            return
        if self.evaluations and not pace.evaluation_s:
            self._expect()
        if state.steps:
            found = team.agreed(lambda: pace.shortened(state.step, Plan(state.steps, self._every)))
        else:
            found = team.agreed(lambda: pace.plan(state.step))
            if team.is_leader and state.time_s is not None and pace.least_s > state.time_s:
                self.job.on_note(
                    f"{state.step} steps and an evaluation take {pace.least_s:.0f} s, more than the "
                    f"{state.time_s:g} s that are given; the training ends after step {state.step}"
                )
        state.steps, state.every = found

    def _expect(self) -> None:
        clock, begin = self.job.clock, self.job.clock()
        self.learner.evaluate_some(self._shown)  # warm-up
        warm = clock()
        share = self.learner.evaluate_some(self._shown)
        ended = clock()
        self.pace.expect((ended - warm) / share, took_s=ended - begin)

    @property
    def _every(self) -> int:
        most = max(1.0, self.state.steps / self.evaluations) if self.evaluations else 1.0
        return self.state.every or math.ceil(most / self.learner.epoch_steps) * self.learner.epoch_steps

    # -- evaluations and checkpoints -----------------------------------------------------------------------------

    @property
    def _shown(self) -> nn.Module:
        return self.model if self.averaged is None else self.averaged

    def _evaluate(self) -> Metrics | None:
        """Metrics on the validation images, or None if not evaluated or stopped; writes the best weights so far."""
        state, shown, job = self.state, self._shown, self.job
        if not self.evaluations:
            return None
        begin = job.clock()
        job.team.take_buffers(shown)
        try:
            found = self.learner.evaluate(shown, stop=job.stop)
        except StoppedError:
            state.is_unjudged = True
            return None
        state.is_unjudged = False
        if state.best is None or found.main.value >= state.best.main.value:
            state.best, state.best_step = found, state.step
            if job.team.is_leader:
                write_network(job.folder / BEST, shown, learned=self.learner.learned_with(found))
        self.pace.judged(job.clock() - begin)
        return found

    def _save(self) -> None:
        state, pace = self.state, self.pace
        seconds = state.seconds + (pace.elapsed_s if pace.has_worked else 0.0)
        self.timed = seconds, pace.per_s(state.step) * self.learner.batch or state.images_per_s
        if not self.job.team.is_leader or not state.steps:  # while the length is unknown, little would be lost
            return
        write_checkpoint(
            self.job.folder / LAST,
            Checkpoint(
                job=dict(self.learner.identity),
                best=None if state.best is None else tuple_of(state.best),
                model=self.model.state_dict(),
                averaged=None if self.averaged is None else self.averaged.state_dict(),
                optimizer=self.optimizer.state_dict(),
                half=state.precision != "float32",
                half_type=state.precision,
                scaler=self.scaler.state_dict() or None,
                seconds=self.timed[0],
                images_per_s=self.timed[1],
                **{name: getattr(state, name) for name in SAVED if name not in ("seconds", "images_per_s")},
            ),
        )

    def _progress(self, lr: float, evaluated: Metrics | None) -> Progress:
        state = self.state
        return Progress(
            step=state.step,
            steps=state.steps,
            epoch=math.ceil(state.step / self.learner.epoch_steps),
            loss=state.running_loss,
            lr=lr,
            images_per_s=self.pace.per_s(state.step) * self.learner.batch,
            evaluated=evaluated,
        )
