"""Where a training is: what changes from step to step, what it tells of it, and how fast it goes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from mnv2search.training.figures import Figures
from mnv2search.training.precision import Precision

__all__ = ["TIME_SHARE", "TRIAL_STEPS", "F", "Pace", "Progress", "ProgressOf", "State", "Trained", "TrainedOf"]

# A training by time: this many steps tell how fast it goes, and this share of the time is for steps.
TRIAL_STEPS = 24
TIME_SHARE = 0.9

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
        seconds: of training and evaluation in this process.
        images_per_s: of training.
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
    """

    step: int = 0
    steps: int = 0
    best: F | None = None
    best_step: int = 0
    running_loss: float = math.nan
    losses: list[float] = field(default_factory=list)
    precision: Precision = "float32"


class Pace:
    """How fast it goes, and with a limit of time how many steps that makes, evaluations and all.

    Args:
        first: steps that were done before.
        time_s: limit of time, or None.
        epoch_steps: after so many steps the network is evaluated.
        evaluations: at most, in the whole training.
    """

    def __init__(
        self, first: int, time_s: float | None, *, epoch_steps: int = 1, evaluations: float = math.inf
    ) -> None:
        self.begin = self._since = time.monotonic()
        self._first, self._time_s, self._warm = first, time_s, False
        self._epoch_steps, self._evaluations = epoch_steps, evaluations
        self._judging_s, self._judged = 0.0, 0

    def stepped(self, state: State[F]) -> None:
        """Told after every step."""
        if not self._warm:
            self._warm, self._first, self._since = True, state.step, time.monotonic()  # the first step is slow
            self._judging_s = 0.0
        if not state.steps and self._time_s is not None and state.step - self._first == TRIAL_STEPS:
            left_s = TIME_SHARE * (self._time_s - (time.monotonic() - self.begin))
            state.steps = state.step + max(1, self._steps_within(left_s, 1 / self.per_s(state.step)))

    def judged(self, seconds: float) -> None:
        """Told after every evaluation how long it took."""
        self._judging_s += seconds
        self._judged += 1

    def per_s(self, step: int) -> float:
        """Steps a second, without the evaluations."""
        return (step - self._first) / max(time.monotonic() - self._since - self._judging_s, 1e-9)

    def _steps_within(self, left_s: float, step_s: float) -> int:
        evaluation_s = self._judging_s / max(self._judged, 1)
        steps = left_s / (step_s + evaluation_s / self._epoch_steps)
        if steps > self._evaluations * self._epoch_steps:
            steps = (left_s - self._evaluations * evaluation_s) / step_s
        return int(steps)
