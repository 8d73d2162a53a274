"""Where a training is: what changes from step to step, what it tells of it, and how fast it goes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from mnv2search.tasks.classification import Figures
from mnv2search.training.precision import Precision

__all__ = [
    "TIME_SHARE",
    "TRIAL_STEPS",
    "F",
    "Pace",
    "Plan",
    "Progress",
    "ProgressOf",
    "State",
    "Trained",
    "TrainedOf",
]

# A training by time: so many steps tell how fast it goes, or as many as fit into this share of the time, but two.
TRIAL_STEPS = 24
TRIAL_SHARE = 0.1
# Of the time, what is planned with; the rest is for what cannot be foreseen.
TIME_SHARE = 0.9
# Of the time for steps and evaluations, what evaluations take at most, apart from the last.
JUDGING_SHARE = 0.25

F = TypeVar("F")
"""Figures on held-out images: of a classifier, or of a detector or segmenter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressOf(Generic[F]):
    """Where a training is.

    Attributes:
        step: steps done.
        steps: of the whole; 0 while that is not known.
        epoch: the epoch it is in, counted from 1.
        loss: running mean of the training loss.
        lr: of the last step.
        images_per_s: so far.
        evaluated: figures on the held-out images, if this was told after an evaluation.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    lr: float
    images_per_s: float
    evaluated: F | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedOf(Generic[F]):
    """The outcome of a training.

    Attributes:
        best: figures of the best evaluation, on the held-out images.
        best_step: after which it was.
        steps: done.
        epochs: done, in part.
        seconds: of training and evaluation, in all processes that made it one after another.
        images_per_s: of training, in the last process that made a step.
        losses: training loss of every step of this process.
        resumed_at: step that this process began at; 0 for a new training.
        stopped: it was asked to stop before its end.
        precision: of the convolutions.
    """

    best: F
    best_step: int
    steps: int
    epochs: float
    seconds: float
    images_per_s: float
    losses: tuple[float, ...]
    resumed_at: int = 0
    stopped: bool = False
    precision: Precision = "float32"

    @property
    def was_finished(self) -> bool:
        """Whether there was nothing left to do."""
        return 0 < self.resumed_at == self.steps


# For annotations: a frozen dataclass with slots is made by its own name, as Python 3.11 cannot by that of an alias.
Progress: TypeAlias = ProgressOf[Figures]
Trained: TypeAlias = TrainedOf[Figures]


@dataclass(slots=True)
class State(Generic[F]):
    """What changes from step to step.

    Attributes:
        step: steps done.
        steps: of the whole; 0 where that is not known yet.
        best: figures of the best evaluation, or None before the first.
        best_step: after which it was.
        running_loss: mean of the last losses.
        losses: of every step of this process.
        precision: of the convolutions.
        every: steps from one evaluation to the next; 0 where the length of an epoch tells.
        is_unjudged: the evaluation that is due after the last step was not made.
        time_s: that was asked for in place of epochs, or None.
        seconds: of earlier processes.
        images_per_s: of earlier processes.
    """

    step: int = 0
    steps: int = 0
    best: F | None = None
    best_step: int = 0
    running_loss: float = math.nan
    losses: list[float] = field(default_factory=list)
    precision: Precision = "float32"
    every: int = 0
    is_unjudged: bool = False
    time_s: float | None = None
    seconds: float = 0.0
    images_per_s: float = 0.0


class Plan(NamedTuple):
    """How long a training is to be.

    Attributes:
        steps: of the whole.
        every: steps from one evaluation to the next.
    """

    steps: int
    every: int


class Pace:
    """How fast it goes, and with a limit of time how many steps that makes, evaluations and all.

    Args:
        first: steps that were done before.
        time_s: limit of time, or None.
        begin: when the time began, by `clock`; None takes now.
        epoch_steps: an evaluation is after so many steps, or a multiple of them.
        evaluations: at most, in the whole training, apart from the last.
        after: evaluations that are made once the training has ended, in terms of one on the held-out images.
        clock: seconds.
    """

    def __init__(
        self,
        first: int,
        time_s: float | None,
        *,
        begin: float | None = None,
        epoch_steps: int = 1,
        evaluations: float = math.inf,
        after: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self.begin = clock() if begin is None else begin
        self._since = clock()
        self._first, self._time_s, self._warm = first, time_s, False
        self._epoch_steps, self._evaluations, self._after = epoch_steps, evaluations, after
        self._judging_s, self._judged, self._expected_s = 0.0, 0, 0.0

    @property
    def elapsed_s(self) -> float:
        """Since the time began."""
        return self._clock() - self.begin

    def stepped(self, step: int) -> None:
        """Told after every step."""
        if not self._warm:
            self._warm, self._first, self._since = True, step, self._clock()  # the first step is slow

    def judged(self, seconds: float) -> None:
        """Told after every evaluation how long it took."""
        if self._warm:
            self._since += seconds
        self._judging_s += seconds
        self._judged += 1

    def expect(self, seconds: float, *, took_s: float) -> None:
        """Told how long an evaluation is expected to take, before there was one, and how long that was tried."""
        self._since += took_s
        self._expected_s = seconds

    def per_s(self, step: int) -> float:
        """Steps a second, without the evaluations."""
        return (step - self._first) / max(self._clock() - self._since, 1e-9)

    @property
    def evaluation_s(self) -> float:
        """What an evaluation takes, as far as is known."""
        return self._judging_s / self._judged if self._judged else self._expected_s

    def is_tried(self, step: int) -> bool:
        """Whether enough steps were made to tell how many fit into the time."""
        if self._time_s is None or step <= self._first or not self._warm:
            return False
        return step - self._first >= TRIAL_STEPS or self.elapsed_s >= TRIAL_SHARE * self._time_s

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit of time."""
        return self._time_s is not None

    @property
    def has_worked(self) -> bool:
        """Whether there was a step or an evaluation."""
        return self._warm or self._judged > 0

    @property
    def least_s(self) -> float:
        """What a training takes that ends after the last step."""
        return self.elapsed_s + (1 + self._after) * self.evaluation_s

    def plan(self, step: int) -> Plan:
        """How many steps fit into what is left of the time after this one, beside the evaluations."""
        assert self._time_s is not None
        left_s = TIME_SHARE * self._time_s - self.least_s
        step_s, evaluation_s, epoch = 1 / self.per_s(step), self.evaluation_s, self._epoch_steps
        share = (1 - JUDGING_SHARE) / JUDGING_SHARE
        every = epoch * max(1, math.ceil(share * evaluation_s / (step_s * epoch)))
        steps = max(0, int(left_s / (step_s + evaluation_s / every)))
        if steps > self._evaluations * every:
            every = epoch * math.ceil(steps / (self._evaluations * epoch))
            steps = max(0, int(left_s / (step_s + evaluation_s / every)))
        return Plan(step + steps, every)

    def shortened(self, step: int, plan: Plan) -> Plan:
        """The plan, or a shorter one where it does not fit into the time any more."""
        left = plan.steps - step
        if self._time_s is None or left <= 0:
            return plan
        needed_s = self.least_s + left / self.per_s(step) + left // plan.every * self.evaluation_s
        return plan if needed_s <= self._time_s else self.plan(step)._replace(every=plan.every)
