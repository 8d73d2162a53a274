"""What a search has found out so far: every evaluation, by its pick or as one of the baseline."""

from __future__ import annotations

from collections.abc import Sequence

from mnv2search.accuracy.types import Evaluator
from mnv2search.evaluation import Evaluation
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import Pick
from mnv2search.study.results import median_ms_of, rank_of
from mnv2search.study.successive_halving import Rungs
from mnv2search.study.types import Evaluated

__all__ = ["Known"]


class Known:
    """Keeps evaluations, and compares trainings by their curves.

    Args:
        evaluator: that says whether trainings may be compared on the way, and when.
        previous: what an earlier part of the same run evaluated.

    Attributes:
        items: in the order in which they came.
        next_trial: number of the next network of the space, above all known ones, even if some records were lost.
        networks: of the space.
        baseline: of MobileNetV2's grid.
        rungs: what trainings reached on the way; None where all are finished.
    """

    def __init__(self, evaluator: Evaluator, previous: Sequence[Evaluated] = ()) -> None:
        self._evaluator = evaluator
        self.items: list[Evaluated] = []
        self.next_trial = 0
        self.networks: dict[Pick, Evaluation] = {}
        self.baseline: dict[ModelSpec, Evaluation] = {}
        self.rungs = self._new_rungs()
        for item in previous:
            self.add(item)

    def add(self, item: Evaluated) -> None:
        """Keep one evaluation."""
        self.items.append(item)
        self.next_trial = max(self.next_trial, item.trial + 1)
        if item.stage == "baseline":
            self.baseline[item.evaluation.spec] = item.evaluation
        elif item.pick:
            self.networks[item.pick] = item.evaluation
            self._climb(item.evaluation)

    def compare_anew(self) -> None:
        """Ask the evaluator again where its rungs are: the length of its trainings has changed."""
        self.rungs = self._new_rungs()
        for evaluation in self.networks.values():
            self._climb(evaluation)

    @property
    def measured(self) -> list[tuple[ModelSpec, float]]:
        """Every network that was measured, with its latency in ms."""
        known = (*self.baseline.values(), *self.networks.values())
        return [(e.spec, e.latency.median_ms) for e in known if e.latency is not None]

    @property
    def best(self) -> Evaluation | None:
        """The most accurate network of the space within the budget."""
        feasible = [e for e in self.rated if e.is_feasible]
        return max(feasible, key=rank_of, default=None)

    @property
    def rated(self) -> list[Evaluation]:
        """Networks of the space with an accuracy."""
        return [e for e in self.networks.values() if e.accuracy is not None]

    def _new_rungs(self) -> Rungs | None:
        halving = self._evaluator.halving
        return None if halving is None else Rungs(halving)

    def _climb(self, evaluation: Evaluation) -> None:
        """Let later trainings be compared with this one."""
        if self.rungs is not None and evaluation.curve:
            final = None if evaluation.accuracy is None else evaluation.accuracy.low
            self.rungs.add(median_ms_of(evaluation), evaluation.curve, final)
