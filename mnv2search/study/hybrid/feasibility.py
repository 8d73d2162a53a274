"""How likely candidates are to fit the constraints, by prediction and by what was told."""

from __future__ import annotations

import numpy as np

from mnv2search.study.hybrid.description import Describe, Description
from mnv2search.study.hybrid.history import History
from mnv2search.study.hybrid.surrogate import FloatArray, Inputs, IntArray, Surrogate

UNLIKELY = 0.2  # weight under which a candidate is one for want of others, whatever it would gain
_DOUBT = 1e-3  # weight of a candidate that is predicted not to fit, before any violation was told
_AIM = 0.3  # by which logarithm the least violation is to be undercut while nothing fits
_MOST_FITTED = 128


class Feasibility:
    """Weights between 0 and 1 for candidates.

    Until a violation is told, the predicted one is believed. From then on a surrogate is fitted to the told ones,
    with the predicted one among its inputs, so that a prediction counts for as much as it proves right. While nothing
    fits, a weight is the probability of a violation well under the least one told.
    """

    def __init__(self, *, cards: tuple[int, ...], ordinal: tuple[bool, ...] | None) -> None:
        self._surrogate = Surrogate(cards=cards, ordinal=ordinal, warps=False)
        self._scale = 0.0  # typical told violation; 0 before any
        self._least = 0.0  # told violation while nothing fits; 0 once something does

    def learn(self, history: History, describe: Describe) -> None:
        """Fit to the latest networks told, half of them infeasible where there are as many."""
        violations = history.violations
        broken, fitting = np.flatnonzero(violations > 0), np.flatnonzero(violations <= 0)
        if not len(broken):
            return
        chosen = np.concatenate([broken[-_MOST_FITTED // 2 :], fitting[-_MOST_FITTED // 2 :]])
        self._scale = float(np.median(violations[broken]))
        self._least = 0.0 if len(fitting) else float(violations[broken].min())
        choices = history.choices(chosen)
        self._surrogate.fit(self._inputs(choices, describe(choices)), self._squashed(violations[chosen]))

    def weights(self, choices: IntArray, description: Description) -> FloatArray:
        """How much each candidate, (N,), counts: the probability that it fits."""
        if self._scale > 0.0:
            predicted = self._surrogate.predict(self._inputs(choices, description), noisy=True)
            middle, above = self._surrogate.values(predicted, np.array([0.0, 1.0])).T
            return _below_zero(middle, above - middle)
        if description.violation is None:
            return np.ones(len(choices))
        return np.where(description.violation > 0, _DOUBT * np.exp(-description.violation), 1.0)

    def _inputs(self, choices: IntArray, description: Description) -> Inputs:
        violation = description.violation
        prior = None if violation is None else self._squashed(violation)
        return Inputs(choices=choices, features=description.features, prior=prior)

    def _squashed(self, violation: FloatArray) -> FloatArray:
        """Violations from -1 (fits) to 2 (far outside): which side matters, not how far, unless nothing fits."""
        if self._least > 0.0:
            return _AIM + np.log(np.maximum(violation, 0.5 * self._least) / self._least)
        return np.where(violation > 0, np.minimum(violation / self._scale, 2.0), -1.0)


def _below_zero(mean: FloatArray, sd: FloatArray) -> FloatArray:
    """Probability that a normal value is below 0, by the logistic approximation."""
    ratio = np.clip(mean / np.maximum(sd, 1e-9), -300.0, 300.0)
    return 1.0 / (1.0 + np.exp(1.702 * ratio))
