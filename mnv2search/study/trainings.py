"""Searches that train each of their networks: how the time is divided, and whether there is any for another."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mnv2search.accuracy.types import Evaluator, Fitting, Preparation
from mnv2search.errors import OptionError
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.study.deadline import Deadline, Shares, time_text
from mnv2search.training.speed import WANTED

__all__ = ["Trainings", "needed_s", "shares_of"]

# For the final side-by-side measurement and the files of the results, of the time, and at most.
FINAL_SHARE, FINAL_MOST_S = 0.15, 60.0
BASELINE_SHARE = 0.1
# By how much trainings may last longer than expected before they are shortened.
SLACK_SHARE = 0.03
# Of the time, what is for trainings at least, once the grid is measured and a few steps are timed.
TRAINING_SHARE = 0.65
# MobileNetV2 is trained as often as one training in so many.
TRAININGS_A_RIVAL = 4


class Ends(NamedTuple):
    """Shares of the whole time at which the parts of a search that trains its networks end.

    Attributes:
        shares: as of every search.
        stop: at which a training that is longer than expected has to end.
    """

    shares: Shares
    stop: float


def shares_of(time_s: float | None) -> Ends:
    """How the time of a search is divided in which every network is trained.

    >>> ends = shares_of(120)
    >>> ends.shares.search, ends.stop
    (0.85, 0.88)
    >>> round(shares_of(1200).shares.search, 2)
    0.95
    """
    final = FINAL_SHARE if time_s is None else min(FINAL_SHARE, FINAL_MOST_S / max(time_s, 1e-9))
    search = 1 - final
    shares = Shares(baseline=BASELINE_SHARE, calibration=search, preparation=search, search=search)
    return Ends(shares, search + min(SLACK_SHARE, final / 2))


def needed_s(elapsed_s: float, trainings_s: float) -> float:
    """Time of a whole search that leaves so much for trainings; `elapsed_s` was used up before they could begin."""
    return max((elapsed_s + trainings_s) / (1 - FINAL_SHARE), trainings_s / TRAINING_SHARE)


class Trainings:
    """What an evaluator that holds the time is asked by a search.

    Args:
        evaluator: of the search.
        deadline: of the search.
        ends: how its time is divided.
        noted: hears what a user has to know before the first training.
        share: of the time of the run that the search has.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        deadline: Deadline,
        *,
        ends: Ends,
        noted: Callable[[str], None],
        share: float = 1.0,
    ) -> None:
        self._evaluator, self._deadline, self._ends, self._noted = evaluator, deadline, ends, noted
        self._share = share
        self._fitting = Fitting(trainings=None)

    def fit(self, preparation: Preparation, *, has_some: bool = False) -> tuple[str, ...]:
        """Let the evaluator choose how long its trainings are; what it chose is told.

        Args:
            preparation: what the evaluator may know.
            has_some: networks were trained in an earlier part of the run.

        Raises:
            OptionError: not even one fits, and there was none before.
            EvaluatorError: it cannot be done.
        """
        self._fitting = self._evaluator.fit(preparation, left_s=lambda: self._deadline.until(self._ends.stop))
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

    @property
    def rivals(self) -> int | None:
        """How many networks of MobileNetV2's grid are trained, at most; None sets no limit."""
        trainings = self._fitting.trainings
        return None if trainings is None else trainings // TRAININGS_A_RIVAL

    def has_time_for(self, spec: ModelSpec) -> bool:
        """Whether a training of a network is expected to end in time."""
        left_s = self._deadline.until(self._ends.shares.search)
        return left_s is None or (left_s > 0 and self._evaluator.expected_s(spec) <= left_s)
