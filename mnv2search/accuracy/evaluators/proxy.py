"""A score in place of an accuracy: free of training, and of any promise."""

from __future__ import annotations

import math

from mnv2search.accuracy.evaluator import Evaluator, Report, changed_options
from mnv2search.accuracy.scores import SCORES, WARNING
from mnv2search.accuracy.types import Accuracy, EvaluatorInfo
from mnv2search.errors import EvaluatorError, UnknownNameError
from mnv2search.spec.model_spec import ModelSpec

SCORE = "synflow"


class ProxyEvaluator(Evaluator):
    """Scores networks with random weights on random images, by one of `mnv2search.accuracy.scores.SCORES`."""

    def __init__(self, *, score: str = SCORE) -> None:
        if score not in SCORES:
            raise UnknownNameError("score", score, SCORES)
        self._name = score

    @property
    def info(self) -> EvaluatorInfo:
        """What the scores mean."""
        changed = changed_options(score=(self._name, SCORE)).removesuffix(",")
        return EvaluatorInfo(
            name=f"proxy:{changed}" if changed else "proxy",
            version="1",
            kind="proxy",
            dataset="none",
            metric=f"{self._name} score",
            detail=WARNING,
        )

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        """The score of `spec`.

        Raises:
            EvaluatorError: the network lacks what the score rests on.
        """
        del report
        try:
            value = SCORES[self._name](spec, seed)
        except EvaluatorError as error:
            raise EvaluatorError(f"{spec.name}: {error.message}", hint=error.hint) from error
        if not math.isfinite(value):
            raise EvaluatorError(f"{spec.name}: its {self._name} score is {value}", hint="use another score")
        info = self.info
        return Accuracy(
            value=value,
            low=value,
            high=value,
            metric=info.metric,
            kind=info.kind,
            dataset=info.dataset,
            seed=seed,
            note=WARNING,
        )
