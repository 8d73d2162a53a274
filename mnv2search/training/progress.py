"""Where a training is: what changes from step to step, what it tells of it, and how fast it goes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from mnv2search.training.figures import Figures
from mnv2search.training.precision import Precision

__all__ = ["TIME_SHARE", "TRIAL_STEPS", "Pace", "Progress", "State", "Trained"]

# A training by time: this many steps tell how fast it goes, and this share of the time is for steps.
TRIAL_STEPS = 24
TIME_SHARE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a training is.

    Attributes:
        step: steps done.
        steps: of the whole.
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
    evaluated: Figures | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
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

    best: Figures
    best_step: int
    steps: int
    epochs: float
    seconds: float
    images_per_s: float
    losses: tuple[float, ...]
    resumed_at: int = 0
    stopped: bool = False
    precision: Precision = "float32"


@dataclass(slots=True)
class State:
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
    best: Figures | None = None
    best_step: int = 0
    running_loss: float = math.nan
    losses: list[float] = field(default_factory=list)
    precision: Precision = "float32"


class Pace:
    """How fast it goes, and with a limit of time how many steps that makes."""

    def __init__(self, first: int, time_s: float | None) -> None:
        self.begin = self._since = time.monotonic()
        self._first, self._time_s, self._warm = first, time_s, False

    def stepped(self, state: State) -> None:
        """Told after every step."""
        if not self._warm:
            self._warm, self._first, self._since = True, state.step, time.monotonic()  # the first step is slow
        if not state.steps and self._time_s is not None and state.step - self._first == TRIAL_STEPS:
            left_s = TIME_SHARE * (self._time_s - (time.monotonic() - self.begin))
            state.steps = max(state.step + 1, state.step + int(left_s * self.per_s(state.step)))

    def per_s(self, step: int) -> float:
        """Steps a second."""
        return (step - self._first) / max(time.monotonic() - self._since, 1e-9)
