"""How a search spends its time on accuracies: by arithmetic, with shared weights, or with a training each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mnv2search.accuracy.evaluator import Evaluator, Fitting, Preparation
from mnv2search.errors import OptionError
from mnv2search.evaluation import Evaluation
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.study.deadline import PLAIN, PREPARED, Deadline, Shares, time_text

# For the final side-by-side measurement and the files of the results, of the time, and at most.
FINAL_SHARE, FINAL_MOST_S = 0.15, 60.0
BASELINE_SHARE = 0.1
# By how much trainings may last longer than expected before they are shortened.
SLACK_SHARE = 0.03
# Of the time, what is for trainings at least, once the grid is measured and a few steps are timed.
TRAINING_SHARE = 0.65
# MobileNetV2 is trained as often as one training in so many.
TRAININGS_A_RIVAL = 4
# Networks of the baseline whose accuracy is evaluated where that takes time, and that are measured beside the front.
RIVALS = 3


class EvaluationPlan:
    """The plan for accuracies by arithmetic, and the base of the other two.

    Attributes:
        shares: of the time, at which the phases end.
        takes_time: evaluations take time, so networks are evaluated one by one and report on their way.
        has_exact_baseline: the accuracy of every network of the baseline is known.
        is_prepared: the evaluator prepares itself for a region of the space, outside of which it is not trusted.
        design_reach: multiple of the latency budget up to which the first networks are spread.
    """

    shares: Shares = PLAIN
    takes_time: bool = False
    has_exact_baseline: bool = True
    is_prepared: bool = False
    design_reach: float = 1.3

    def rivals(self, grid: Sequence[ModelSpec], fitting: Sequence[ModelSpec]) -> Sequence[ModelSpec]:
        """Networks of the baseline (`grid`) whose accuracy may be evaluated; `fitting` ones come slowest first."""
        del fitting
        return grid

    def evaluates_rival(self, number: int, spec: ModelSpec) -> bool:
        """Whether there is time to evaluate a rival; `number` counts from 0."""
        del number, spec
        return True

    def fit(self, preparation: Preparation, *, has_some: bool) -> tuple[str, ...]:
        """Choose the length of trainings; returns notes for the user.

        Raises:
            OptionError: no training fits into the time, and there was none before (`has_some`).
            EvaluatorError: the networks cannot be timed.
        """
        del preparation, has_some
        return ()

    def has_time_for(self, specs: Sequence[ModelSpec]) -> bool:
        """Whether an evaluation of each network is expected to end in time."""
        del specs
        return True

    def is_answered_by(self, evaluation: Evaluation) -> bool:
        """Whether a search that evaluated this network may end for want of time."""
        return (evaluation.latency if self.has_exact_baseline else evaluation.accuracy) is not None


class SharedWeightsPlan(EvaluationPlan):
    """The plan for an evaluator that trains weights for all networks of a space first."""

    shares = PREPARED
    has_exact_baseline = False
    is_prepared = True
    design_reach = 1.0

    def rivals(self, grid: Sequence[ModelSpec], fitting: Sequence[ModelSpec]) -> Sequence[ModelSpec]:
        """None: the networks of the baseline are not in the space."""
        del grid, fitting
        return ()


class TrainingPlan(EvaluationPlan):
    """The plan for evaluations that take time, such as a training each.

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
        """The slowest that fit."""
        del grid
        return fitting[:RIVALS]

    def evaluates_rival(self, number: int, spec: ModelSpec) -> bool:
        """Whether there is time for it: for one where the time is not known, or for one training in four."""
        if self._fitting.trainings is None:
            return number < 1 or not self._deadline.passed(self.shares.baseline)
        return number < self._fitting.trainings // TRAININGS_A_RIVAL and self.has_time_for([spec])

    def fit(self, preparation: Preparation, *, has_some: bool) -> tuple[str, ...]:
        """Let a timed evaluator choose how long its trainings are."""
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
                hint=f"give --time {time_text(one)} for the least that is of any use, or {time_text(enough)} or more "
                "for a search; smaller networks (--latency-ms, --space) are trained faster",
            )
        notes, more = [fitting.told], f"--time {time_text(enough)} or more would be enough for whole ones"
        if fitting.trainings < WANTED:
            notes.append(f"so few trainings are little for a search: what it finds is a first guess; {more}")
        elif enough > time_s:
            notes.append(f"networks that were trained so briefly are hard to tell apart; {more}")
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
    """The plan for the method of an evaluator; arguments as of `TrainingPlan`."""
    if evaluator.method == "arithmetic":
        return EvaluationPlan()
    if evaluator.method == "shared weights":
        return SharedWeightsPlan()
    return TrainingPlan(evaluator, deadline, noted=noted, share=share)


def shares_of(time_s: float | None) -> Shares:
    """How the time of a search is divided in which every network is trained.

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
    """Time of a whole search that leaves so much for trainings; `elapsed_s` was used up before they could begin."""
    return max((elapsed_s + trainings_s) / (1 - FINAL_SHARE), trainings_s / TRAINING_SHARE)
