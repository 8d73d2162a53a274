"""Probability that candidates satisfy the constraints."""

from __future__ import annotations

import numpy as np

from mnv2search.study.hybrid.candidates import Describe, Description
from mnv2search.study.hybrid.history import History
from mnv2search.study.hybrid.surrogate import FloatArray, Inputs, IntArray, Surrogate

MIN_PROBABILITY = 0.2  # weight below which a candidate is chosen only if there is no other
_PREDICTED_INFEASIBLE = 1e-3  # weight of a candidate with a predicted violation, before a violation is observed
_TARGET_DECREASE = 0.3  # decrease of the log violation below the smallest, while no network is feasible
_MOST_FITTED = 128


class Feasibility:
    """Weights between 0 and 1 for candidates.

    Until a violation is observed, predicted violations are used. From then on a surrogate is fitted to the observed
    violations, with the prediction as its prior. While no network is feasible, a weight is the probability of a
    violation well below the smallest observed one.
    """

    def __init__(self, *, cards: tuple[int, ...], ordinal: tuple[bool, ...]) -> None:
        self._surrogate = Surrogate(cards=cards, ordinal=ordinal, warped=False)
        self._scale = 0.0  # median observed violation; 0 before the first
        self._least = 0.0  # smallest observed violation while no network is feasible, then 0

    def learn(self, history: History, describe: Describe) -> None:
        """Fit to the latest evaluations, up to half of them infeasible."""
        violations = history.violations
        broken, fitting = np.flatnonzero(violations > 0), np.flatnonzero(violations <= 0)
        if not len(broken):
            return
        chosen = np.concatenate([broken[-_MOST_FITTED // 2 :], fitting[-_MOST_FITTED // 2 :]])
        self._scale = float(np.median(violations[broken]))
        self._least = 0.0 if len(fitting) else float(violations[broken].min())
        choices = history.choices(chosen)
        self._surrogate.fit(self._inputs(choices, describe(choices)), self._clipped(violations[chosen]))

    def weights(self, choices: IntArray, description: Description) -> FloatArray:
        """Probability that each candidate is feasible, times its interest, (N,)."""
        probability = self._probability(choices, description)
        return probability if description.interest is None else probability * description.interest

    def _probability(self, choices: IntArray, description: Description) -> FloatArray:
        if self._scale > 0.0:
            predicted = self._surrogate.predict(self._inputs(choices, description), noisy=True)
            middle, above = self._surrogate.values(predicted, np.array([0.0, 1.0])).T
            # the probability of a value below 0, by the logistic approximation
            ratio = np.clip(middle / np.maximum(above - middle, 1e-9), -300.0, 300.0)
            probability: FloatArray = 1.0 / (1.0 + np.exp(1.702 * ratio))
            return probability
        if description.violation is None:
            return np.ones(len(choices))
        return np.where(description.violation > 0, _PREDICTED_INFEASIBLE * np.exp(-description.violation), 1.0)

    def _inputs(self, choices: IntArray, description: Description) -> Inputs:
        violation = description.violation
        prior = None if violation is None else self._clipped(violation)
        return Inputs(choices=choices, features=description.features, prior=prior)

    def _clipped(self, violation: FloatArray) -> FloatArray:
        """Violations from -1 (feasible) to 2 (far outside), or their logarithm while no network is feasible."""
        if self._least > 0.0:
            return _TARGET_DECREASE + np.log(np.maximum(violation, 0.5 * self._least) / self._least)
        return np.where(violation > 0, np.minimum(violation / self._scale, 2.0), -1.0)
