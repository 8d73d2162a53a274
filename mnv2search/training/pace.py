"""Speed of a training, and the number of steps that fit into its time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

# Trial of a training by time: steps that are timed, or as many as fit into this share of the time, at least two.
TRIAL_STEPS = 24
TRIAL_SHARE = 0.1
# Share of the time to plan with; the rest is for delays.
TIME_SHARE = 0.95
# A plan is lengthened if it would use less than the first share of the time, until the second share of its steps.
LEAST_USED, LAST_LENGTHENED = 0.9, 0.9
# Largest share of the time for steps and evaluations that evaluations take, apart from the last.
JUDGING_SHARE = 0.25


class Plan(NamedTuple):
    """The number of steps of a training, and of steps from one evaluation to the next (`every`)."""

    steps: int
    every: int


class Pace:
    """Speed of a training including evaluations and, with a time limit, its number of steps.

    Args:
        first: steps done earlier.
        time_s: time limit, or None.
        begin: start of the time, by `clock`; None takes now.
        epoch_steps: steps of an epoch; the steps between two evaluations are a multiple.
        evaluations: largest number of evaluations before the last.
        after: evaluations after the training, in units of a validation.
        time_share: share of the time to plan with.
        lengthens: the plan becomes longer if later steps are faster.
        work: mean work of a remaining step, by the finished share of the training.
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
        time_share: float = TIME_SHARE,
        lengthens: bool = False,
        work: Callable[[float], float] = lambda _: 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self.begin = clock() if begin is None else begin
        self._since = clock()
        self._first, self._time_s, self.has_worked, self._warm = first, time_s, False, False
        self.is_limited = time_s is not None
        self._epoch_steps, self._evaluations, self._after = epoch_steps, evaluations, after
        self._judging_s, self._judged, self._expected_s = 0.0, 0, 0.0
        self._time_share, self._work, self._worked = time_share, work, 0.0
        self._lengthens = lengthens

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self.begin

    def stepped(self, step: int, work: float = 1.0) -> None:
        """Record a finished step, and its work."""
        if self._warm:
            self._worked += work
        else:
            self._warm = self.has_worked = True
            self._first, self._since = step, self._clock()  # the first step is slow

    def went_back(self, steps: int) -> None:
        """Record that finished steps were undone; they still count for the speed."""
        self._first -= steps

    def judged(self, seconds: float) -> None:
        """Record the duration of an evaluation."""
        if self._warm:
            self._since += seconds
        self._judging_s += seconds
        self._judged += 1
        self.has_worked = True

    def expect(self, seconds: float, *, took_s: float) -> None:
        """Set the expected duration of an evaluation, until the first; determining it took `took_s`."""
        self._since += took_s
        self._expected_s = seconds

    def per_s(self, step: int) -> float:
        """Steps per second, without evaluations."""
        return (step - self._first) / max(self._clock() - self._since, 1e-9)

    @property
    def evaluation_s(self) -> float:
        """Mean duration of an evaluation, or the expected one."""
        return self._judging_s / self._judged if self._judged else self._expected_s

    def is_tried(self, step: int) -> bool:
        """Whether there were enough steps to plan by."""
        if self._time_s is None or step <= self._first or not self._warm:
            return False
        return step - self._first >= TRIAL_STEPS or self.elapsed_s >= TRIAL_SHARE * self._time_s

    @property
    def least_s(self) -> float:
        """Duration of a training that ends after the last step."""
        return self.elapsed_s + (1 + self._after) * self.evaluation_s

    @property
    def is_over(self) -> bool:
        """Whether a training that ends after the last step exceeds the time."""
        return self._time_s is not None and self.least_s > self._time_s

    def shortage_text(self, step: int) -> str:
        """A message that a training which ends after the last step exceeds the time."""
        evaluation = " and an evaluation" if self._expected_s or self._judged else ""
        done = f"{step} steps{evaluation} take" if evaluation or step > 1 else "one step takes"
        return f"{done} {self.least_s:.0f} s, more than the {self._time_s:g} s that are given"

    def epoch_s(self, step: int) -> float:
        """Duration of an epoch, by that of all steps so far."""
        return self.elapsed_s * self._epoch_steps / step

    def _step_s(self, share: float) -> float:
        work_per_s = self._worked / max(self._clock() - self._since, 1e-9)
        return self._work(share) / work_per_s

    def plan(self, step: int, steps: int = 0) -> Plan:
        """Plan the remaining time after `step` of `steps` planned steps (0: not planned yet)."""
        assert self._time_s is not None
        left_s = self._time_share * self._time_s - self.least_s
        step_s = self._step_s(step / steps if steps else 0.0)
        evaluation_s, epoch = self.evaluation_s, self._epoch_steps
        share = (1 - JUDGING_SHARE) / JUDGING_SHARE
        every = epoch * max(1, math.ceil(share * evaluation_s / (step_s * epoch)))
        steps = max(0, int(left_s / (step_s + evaluation_s / every)))
        if steps > self._evaluations * every:
            every = epoch * math.ceil(steps / (self._evaluations * epoch))
            steps = max(0, int(left_s / (step_s + evaluation_s / every)))
        return Plan(step + steps, every)

    def adjusted(self, step: int, plan: Plan) -> Plan:
        """The plan, or a shorter one if it no longer fits into the time, or a longer one if it leaves time unused."""
        left = plan.steps - step
        if self._time_s is None or left <= 0:
            return plan
        step_s = self._step_s(step / plan.steps)
        needed_s = self.least_s + left * step_s + left // plan.every * self.evaluation_s
        if needed_s > self._time_s:
            return self.plan(step, plan.steps)._replace(every=plan.every)
        is_early = step < LAST_LENGTHENED * plan.steps
        if not (self._lengthens and is_early and needed_s < LEAST_USED * self._time_s):
            return plan
        longer = self.plan(step, plan.steps)._replace(every=plan.every)
        return longer if longer.steps > plan.steps else plan
