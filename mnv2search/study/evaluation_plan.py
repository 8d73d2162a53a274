"""Plan the time of a search by its evaluation method: arithmetic, shared weights, or separate trainings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mnv2search.accuracy.evaluator import Evaluator, Fitting, Preparation
from mnv2search.errors import OptionError
from mnv2search.evaluation import Evaluation
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.study.deadline import PLAIN, PREPARED, Deadline, Shares, time_text

# Share of the time for the final side-by-side measurement and the output files, and its maximum.
FINAL_SHARE, FINAL_MOST_S = 0.15, 60.0
BASELINE_SHARE = 0.1
# Share of the time by which trainings may exceed their expected end before they are shortened.
SLACK_SHARE = 0.03
# Least share of the time for trainings, after the grid is measured and a few steps are timed.
TRAINING_SHARE = 0.65
# One training in this many is for MobileNetV2.
TRAININGS_A_RIVAL = 4
# Most baseline networks that are trained if evaluations take time, and that are measured beside the front.
RIVALS = 3


class EvaluationPlan:
    """The plan for accuracies by arithmetic, and base class of the other plans.

    Attributes:
        shares: shares of the time at which the phases end.
        takes_time: evaluations take time, so networks are evaluated one by one and report intermediate accuracies.
        has_exact_baseline: the accuracy of every network of the baseline is known.
        is_prepared: the evaluator is prepared for a region of the space, and trusted only there.
        design_reach: multiple of the latency budget up to which the initial design is spread.
    """

    shares: Shares = PLAIN
    takes_time: bool = False
    has_exact_baseline: bool = True
    is_prepared: bool = False
    design_reach: float = 1.3

    def rivals(self, grid: Sequence[ModelSpec], fitting: Sequence[ModelSpec]) -> Sequence[ModelSpec]:
        """Networks of the baseline `grid` to evaluate; `fitting` is its part within the budget, slowest first."""
        del fitting
        return grid

    def evaluates_rival(self, number: int, spec: ModelSpec) -> bool:
        """Whether there is time to evaluate a rival; `number` counts from 0."""
        del number, spec
        return True

    def fit(self, preparation: Preparation, *, has_some: bool) -> tuple[str, ...]:
        """Choose the length of trainings; returns notes for the user.

        Raises:
            OptionError: no training fits into the time, and none was finished earlier (`has_some`).
            EvaluatorError: the networks cannot be timed.
        """
        del preparation, has_some
        return ()

    def has_time_for(self, specs: Sequence[ModelSpec]) -> bool:
        """Whether an evaluation of each network is expected to end in time."""
        del specs
        return True

    def is_answered_by(self, evaluation: Evaluation) -> bool:
        """Whether a search that is out of time may end after evaluating this network."""
        return (evaluation.latency if self.has_exact_baseline else evaluation.accuracy) is not None


class SharedWeightsPlan(EvaluationPlan):
    """The plan for an evaluator that first trains shared weights for all networks of a space."""

    shares = PREPARED
    has_exact_baseline = False
    is_prepared = True
    design_reach = 1.0

    def rivals(self, grid: Sequence[ModelSpec], fitting: Sequence[ModelSpec]) -> Sequence[ModelSpec]:
        """No networks: the baseline is not in the space, so the shared weights do not apply to it."""
        del grid, fitting
        return ()


class TrainingPlan(EvaluationPlan):
    """The plan for evaluations that take time, such as separate trainings.

    `noted` is called with messages before the first training; the search has a `share` of the run's time.
    """

    takes_time = True
    has_exact_baseline = False
    design_reach = 1.0  # begin near the budget, as there may be time for few

    def __init__(
        self, evaluator: Evaluator, deadline: Deadline, *, noted: Callable[[str], None], share: float = 1.0
    ) -> None:
        self._evaluator, self._deadline, self._noted, self._share = evaluator, deadline, noted, share
        self._fitting = Fitting(trainings=None)
        self.shares = shares_of(deadline.time_s) if evaluator.is_timed else PLAIN

    def rivals(self, grid: Sequence[ModelSpec], fitting: Sequence[ModelSpec]) -> Sequence[ModelSpec]:
        """The slowest baseline networks that fit."""
        del grid
        return fitting[:RIVALS]

    def evaluates_rival(self, number: int, spec: ModelSpec) -> bool:
        """Whether there is time to evaluate a rival: one training in four, or one if their number is unknown."""
        if self._fitting.trainings is None:
            return number < 1 or not self._deadline.passed(self.shares.baseline)
        return number < self._fitting.trainings // TRAININGS_A_RIVAL and self.has_time_for([spec])

    def fit(self, preparation: Preparation, *, has_some: bool) -> tuple[str, ...]:
        """Let a timed evaluator choose the length of its trainings."""
        if not self._evaluator.is_timed:
            return ()
        from mnv2search.training.throughput import WANTED  # late: it loads torch, as timed evaluators do

        self._fitting = self._evaluator.fit(preparation, left_s=lambda: self._deadline.until(self.shares.stop))
        fitting, time_s = self._fitting, self._deadline.time_s
        if fitting.trainings is None or time_s is None:
            return ()
        elapsed_s, share = self._deadline.elapsed_s, self._share
        one, enough = (needed_s(elapsed_s, seconds) / share for seconds in (fitting.least_s, fitting.wanted_s))
        time_s = round(time_s / share, 3)
        if not fitting.trainings and not has_some:
            raise OptionError(
                f"there is no time for a single training in {time_s:g} s: {fitting.told}",
                hint=f"give --time {time_text(one)} for a single short training, or {time_text(enough)} or more "
                "for a search; smaller networks (--latency-ms, --space) are trained faster",
            )
        notes, more = [fitting.told], f"--time {time_text(enough)} or more would be enough for complete trainings"
        if fitting.trainings < WANTED:
            notes.append(f"these are few trainings for a search: its result is a first guess; {more}")
        elif enough > time_s:
            notes.append(f"after such short trainings, networks are hard to compare; {more}")
        for text in notes:
            self._noted(text)
        return tuple(notes)

    def has_time_for(self, specs: Sequence[ModelSpec]) -> bool:
        """Whether a timed training of each network is expected to end in time."""
        if not self._evaluator.is_timed:
            return True
        left_s = self._deadline.until(self.shares.search)
        return left_s is None or (left_s > 0 and all(self._evaluator.expected_s(spec) <= left_s for spec in specs))


def plan_of(
    evaluator: Evaluator, deadline: Deadline, *, noted: Callable[[str], None], share: float
) -> EvaluationPlan:
    """The plan for the method of an evaluator; for the arguments see `TrainingPlan`."""
    if evaluator.method == "arithmetic":
        return EvaluationPlan()
    if evaluator.method == "shared weights":
        return SharedWeightsPlan()
    return TrainingPlan(evaluator, deadline, noted=noted, share=share)


def shares_of(time_s: float | None) -> Shares:
    """Shares of the time of a search in which every network is trained.

    >>> shares = shares_of(120)
    >>> shares.search, shares.stop
    (0.85, 0.88)
    >>> round(shares_of(1200).search, 2)
    0.95
    """
    final = FINAL_SHARE if time_s is None else min(FINAL_SHARE, FINAL_MOST_S / max(time_s, 1e-9))
    search = 1 - final
    stop = search + min(SLACK_SHARE, final / 2)
    return Shares(baseline=BASELINE_SHARE, calibration=search, preparation=search, search=search, stop=stop)


def needed_s(elapsed_s: float, trainings_s: float) -> float:
    """Time of a whole search that leaves `trainings_s` for trainings; `elapsed_s` were used before they began."""
    return max((elapsed_s + trainings_s) / (1 - FINAL_SHARE), trainings_s / TRAINING_SHARE)
