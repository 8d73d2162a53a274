"""The training loop: steps, evaluations, checkpoints, and exact resumption."""

from __future__ import annotations

import copy
import math
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from typing import Generic, cast

import torch
from torch import nn

from mnv2search.errors import OptionError, StoppedError
from mnv2search.tasks.metrics import Metrics, metrics_of_tuple, tuple_of
from mnv2search.training.checkpoint import Checkpoint, restoring, write_checkpoint, write_network
from mnv2search.training.good_state import LR_FACTOR, MOST_REDUCTIONS, DivergedError, GoodState, good_state_of
from mnv2search.training.gradient_step import NonFiniteGradientError, gradient_step
from mnv2search.training.learner import B, Job, Learner
from mnv2search.training.optimizers import RunningMean, learning_rate, optimizer_of, set_dropout, set_momentum
from mnv2search.training.pace import Pace, Plan
from mnv2search.training.precision import Precision, scaler_of
from mnv2search.training.progress import Progress, State, Trained
from mnv2search.training.resumption import BEST, LAST, resumable
from mnv2search.training.rng import own_draws
from mnv2search.training.throughput import automatic_precision

UNKNOWN_STEPS = 1_000_000
# Fields of the state that a checkpoint stores unchanged.
SAVED = (
    *("step", "steps", "best_step", "running_loss", "every", "is_unjudged", "time_s", "seconds", "images_per_s"),
    *("reductions", "improved_step", "is_stopped_early"),
)


class Trainer(Generic[B]):
    """Trains a learner; all random numbers depend only on the seed and the number of the step.

    A resumed training takes the same steps as an uninterrupted one on the same machine with as many threads.

    If a loss, a gradient or a weight is not finite, or the loss explodes, the training goes back to the last good
    state, which is that of the beginning or of an evaluation, and continues at half the learning rate.
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
        self.good = self._copied()

    def run(self) -> Trained | None:
        """Train to the end, or resume; returns None for a learner that is not evaluated. Raises as `train`."""
        self._begin()
        state, resumed_at = self.state, self.state.step
        self.shared = self.job.team.shared(self.model)
        self.pace = self._new_pace(self.pace.begin)
        self.timed = state.seconds, state.images_per_s
        with own_draws(self.job.device):
            stopped = self._steps()
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
            reductions=state.reductions,
            is_stopped_early=state.is_stopped_early,
        )

    # -- beginning -----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        job, team = self.job, self.job.team
        saved = team.agreed(lambda: resumable(self.learner, job))
        if saved is not None:
            self._restore(saved)
            return
        model, pace = self.model, self.pace
        chosen = job.precision
        self._set_precision(
            team.agreed(lambda: automatic_precision(self.learner, job, model, pace)) if chosen is None else chosen
        )
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
            lengthens=not state.steps,
            work=learner.work,
            clock=job.clock,
        )

    def _restore(self, saved: Checkpoint) -> None:
        with restoring(self.job.folder / LAST):
            if saved.good is not None:
                self._go_back(good_state_of(saved.good))
                self.good = self._copied()
            self._go_back(good_state_of({name: getattr(saved, name) for name in GoodState.__slots__}))
            best = None if saved.best is None else metrics_of_tuple(saved.best)
        self.state = State(best=best, **{name: getattr(saved, name) for name in SAVED})
        if saved.good is None:
            self.good = self._copied()
        self._set_precision(cast("Precision", saved.half_type) if saved.half else "float32")
        if saved.scaler:
            self.scaler.load_state_dict(saved.scaler)

    def _set_precision(self, precision: Precision) -> None:
        self.state.precision = precision
        self.scaler = scaler_of(precision, self.job.device)

    # -- the last good state -------------------------------------------------------------------------------------

    def _copied(self) -> GoodState:
        state = self.state
        return GoodState.of(state.step, state.running_loss, self.model, self.averaged, self.optimizer)

    def _go_back(self, good: GoodState) -> None:
        good.restore(self.model, self.averaged, self.optimizer)
        self.state.step, self.state.running_loss = good.step, good.running_loss

    def _check(self) -> None:
        """Raise `DivergedError` if the training has diverged; otherwise keep the present state if it is good."""
        self.job.team.take_buffers(self._shown)
        self.good.check(self.state.step, self.state.running_loss, self._shown.state_dict().values())
        if self.good.allows(self.state.running_loss):
            self.good = self._copied()

    def _slow_down(self, error: DivergedError) -> None:
        """Go back to the last good state with a lower learning rate.

        Raises:
            DivergedError: the learning rate is not the cause, or was lowered as often as is allowed.
        """
        state, lost = self.state, self.state.step - self.good.step
        if not lost or state.reductions == MOST_REDUCTIONS:
            raise error
        state.reductions += 1
        state.is_unjudged = False
        self._note(
            f"{error.message}: the training goes back to step {self.good.step} and continues at "
            f"{100 * LR_FACTOR**state.reductions:.3g} % of the learning rate"
        )
        del state.losses[max(0, len(state.losses) - lost) :]
        self._go_back(self.good)
        self.pace.went_back(lost)

    def _note(self, text: str) -> None:
        if self.job.team.is_leader:
            self.job.on_note(text)

    # -- steps ---------------------------------------------------------------------------------------------------

    def _steps(self) -> bool:
        """Take all remaining steps; returns whether a stop was requested before the last."""
        while True:
            try:
                return self._is_stopped_by_evaluation() or self._steps_from_here()
            except DivergedError as error:
                self._slow_down(error)

    def _is_stopped_by_evaluation(self) -> bool:
        """Repeat an evaluation that was stopped or whose weights are lost; returns whether it is stopped again."""
        state = self.state
        if not self.evaluations or not (state.is_unjudged or (state.best is None and state.step == state.steps > 0)):
            return False
        stopped = self._evaluate() is None
        self._save()
        return stopped

    def _steps_from_here(self) -> bool:
        job, state = self.job, self.state
        written, stopped = job.clock(), False
        with closing(self._batches_left()) as batches:
            for batch in batches:
                lr = self._step(batch)
                self._set_length()
                is_due = state.step == state.steps or (state.steps and state.step % self._every == 0)
                evaluated = self._evaluate() if is_due else None
                is_last = state.step == state.steps
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
        state, learner = self.state, self.learner
        steps = state.steps or UNKNOWN_STEPS
        lr = learning_rate(
            self.recipe, step=state.step, steps=steps, epoch_steps=learner.epoch_steps, batch=learner.batch
        )
        lr *= LR_FACTOR**state.reductions
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if steps != self.momentum_set_for:
            set_momentum(self.model, steps)
            self.momentum_set_for = steps
        loss = self._descended(batch)
        state.step += 1
        if self.mean is not None:
            self.mean.move(min(self.recipe.ema, state.step / (state.step + 10)))
        if math.isnan(self.good.running_loss):  # of a new training
            self.good = replace(self.good, running_loss=loss)
        state.losses.append(loss)
        state.running_loss = loss if math.isnan(state.running_loss) else 0.95 * state.running_loss + 0.05 * loss
        return lr

    def _descended(self, batch: B) -> float:
        """Take a step; returns the loss before the step.

        A step that fails in half precision is repeated in single precision, which then stays.

        Raises:
            DivergedError: the loss or a gradient is not finite in single precision.
        """
        state, team = self.state, self.job.team
        seed = (self.job.seed * 1_000_003 + state.step * 7919 + team.rank * 15_485_863 + 17) % (2**63)
        while True:
            torch.manual_seed(seed)
            what = "the loss"
            try:
                own = gradient_step(self.learner, self.shared, self.optimizer, batch, state, self.scaler)
                loss = team.sums([own])[0] / team.size
                if math.isfinite(loss):
                    return loss
            except NonFiniteGradientError as error:
                if math.isfinite(team.sums([error.loss])[0]):
                    what = "a gradient"
            if state.precision == "float32":
                raise DivergedError(f"{what} of step {state.step + 1} is not finite")
            where = f"{what} of step {state.step + 1} is not finite in {state.precision}"
            self._note(f"{where}: the training continues in float32")
            self._set_precision("float32")

    # -- length --------------------------------------------------------------------------------------------------

    def _set_length(self) -> None:
        """Plan the steps that fit into the time at the leader's speed, and adjust the plan if the speed changes."""
        state, pace, team = self.state, self.pace, self.job.team
        pace.stepped(state.step, self.learner.last_work)
        if state.step == state.steps or not pace.is_limited:
            return
        is_tried, is_over = team.agreed(lambda: (pace.is_tried(state.step), self._is_over()))
        if not is_tried and not is_over:
            return
        if self.evaluations and not pace.evaluation_s and not is_over:
            self._expect()
        if state.steps:
            found = team.agreed(lambda: pace.adjusted(state.step, Plan(state.steps, self._every)))
        else:
            found = team.agreed(self._planned)
        state.steps, state.every = found

    def _is_over(self) -> bool:
        """Whether the time of a training that refuses a short time is over before its steps are planned."""
        return self.job.refuses_short_time and not self.state.steps and self.pace.is_over

    def _planned(self) -> Plan:
        """The plan of a training by time.

        Raises:
            OptionError: the time is too short for the steps so far and an evaluation, and the job refuses that.
        """
        pace, step = self.pace, self.state.step
        if pace.is_over:
            what = pace.shortage_text(step)
            if self._is_over():
                epoch = f"an epoch takes about {math.ceil(pace.epoch_s(step))} s"
                raise OptionError(what, hint=f"give more time, or a smaller network; {epoch}")
            self.job.on_note(f"{what}; the training ends after step {step}")
        return pace.plan(step)

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
        self._check()
        if not self.evaluations:
            return None
        begin = job.clock()
        try:
            found = self.learner.evaluate(shown, stop=job.stop)
        except StoppedError:
            state.is_unjudged = True
            return None
        state.is_unjudged = False
        if state.best is None or found.main.value > state.best.main.value:
            state.improved_step = state.step
        if state.best is None or found.main.value >= state.best.main.value:
            state.best, state.best_step = found, state.step
            if job.team.is_leader:
                write_network(job.folder / BEST, shown, learned=self.learner.learned_with(found))
        self.pace.judged(job.clock() - begin)
        patience = self.recipe.patience * self.learner.epoch_steps
        if patience and state.step < state.steps and state.step - state.improved_step >= patience:
            state.steps, state.is_stopped_early = state.step, True
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
                good=None if self.good.step == state.step else self.good.stored(),
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
