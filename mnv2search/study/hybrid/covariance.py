"""The covariance of the surrogate: its parts, what is believed of their amplitudes, and a climb to likely ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

LINEAR, SMOOTH, SMOOTH_LENGTH, ADDITIVE, JOINT, JOINT_LENGTH, PRIOR, NOISE = range(8)
_LOWEST_NOISE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Belief:
    """What is believed of the log hyperparameters before any value: the likeliest, and standard deviations around."""

    likely: FloatArray
    spread: FloatArray


FREE = Belief(
    likely=np.log(np.array([1.0, 0.3, 1.0, 0.1, 0.3, 0.5, 1.0, 0.01])),
    spread=np.array([1.5, 1.5, 0.7, 1.5, 1.5, 0.7, 1.5, 1.5]),
)
# A few dozen values say little of hyperparameters, and those that fit them best follow chance.
STEADY = Belief(
    likely=np.log(np.array([0.12, 0.5, 2.0, 0.04, 0.1, 0.92, 1.0, 0.05])),
    spread=np.array([0.5, 0.5, 0.25, 0.5, 0.5, 0.25, 1.5, 1.0]),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grams:
    """The parts of the covariance between two sets that do not depend on hyperparameters."""

    linear: FloatArray
    distance: FloatArray
    additive: FloatArray
    prior: FloatArray

    def covariance(self, log_hyper: FloatArray) -> FloatArray:
        """The covariance of what the values are of."""
        h = np.exp(log_hyper)
        total: FloatArray = 1.0 + h[LINEAR] * self.linear + h[ADDITIVE] * self.additive + h[PRIOR] * self.prior
        total += h[SMOOTH] * np.exp(-self.distance / h[SMOOTH_LENGTH] ** 2)
        total += h[JOINT] * np.exp((self.additive - 1.0) / h[JOINT_LENGTH] ** 2)
        return total

    def noisy(self, log_hyper: FloatArray) -> FloatArray:
        """The covariance of values of one set, each with noise of its own."""
        total = self.covariance(log_hyper)
        total[np.diag_indices_from(total)] += np.exp(log_hyper[NOISE]) + _LOWEST_NOISE
        return total


def climbed(grams: Grams, target: FloatArray, start: FloatArray, *, belief: Belief, steps: int) -> FloatArray:
    """Log hyperparameters after `steps` of resilient gradient ascent on the penalised likelihood; the best seen."""
    lowest, highest = belief.likely - 3.0 * belief.spread, belief.likely + 3.0 * belief.spread
    current, best, best_value = start.copy(), start, -np.inf
    stride, last = np.full(len(start), 0.3), np.zeros(len(start))
    for _ in range(steps):
        value, gradient = _evidence(grams, target, current, belief)
        if value > best_value:
            best, best_value = current.copy(), value
        agreement = np.sign(gradient) * np.sign(last)
        stride = np.clip(
            np.where(agreement > 0, stride * 1.3, np.where(agreement < 0, stride * 0.5, stride)), 0.01, 1.0
        )
        last = np.where(agreement < 0, 0.0, gradient)
        current = np.clip(current + np.sign(last) * stride, lowest, highest)
    return best


def _evidence(grams: Grams, target: FloatArray, log_hyper: FloatArray, belief: Belief) -> tuple[float, FloatArray]:
    """Log marginal likelihood plus the log prior of the hyperparameters, and its gradient."""
    h = np.exp(log_hyper)
    smooth = h[SMOOTH] * np.exp(-grams.distance / h[SMOOTH_LENGTH] ** 2)
    joint = h[JOINT] * np.exp((grams.additive - 1.0) / h[JOINT_LENGTH] ** 2)
    covariance = 1.0 + h[LINEAR] * grams.linear + h[ADDITIVE] * grams.additive + h[PRIOR] * grams.prior
    covariance += smooth + joint
    covariance[np.diag_indices_from(covariance)] += h[NOISE] + _LOWEST_NOISE
    root = np.linalg.cholesky(covariance)
    inverse_root = np.linalg.inv(root)
    weights = inverse_root.T @ (inverse_root @ target)
    slope = 0.5 * (np.outer(weights, weights) - inverse_root.T @ inverse_root)
    gradient = np.array(
        [
            h[LINEAR] * np.vdot(slope, grams.linear),
            np.vdot(slope, smooth),
            np.vdot(slope, smooth * grams.distance) * 2.0 / h[SMOOTH_LENGTH] ** 2,
            h[ADDITIVE] * np.vdot(slope, grams.additive),
            np.vdot(slope, joint),
            np.vdot(slope, joint * (1.0 - grams.additive)) * 2.0 / h[JOINT_LENGTH] ** 2,
            h[PRIOR] * np.vdot(slope, grams.prior),
            h[NOISE] * np.trace(slope),
        ]
    )
    away = (log_hyper - belief.likely) / belief.spread
    value = -0.5 * float(target @ weights) - float(np.log(np.diag(root)).sum()) - 0.5 * float(away @ away)
    return value, gradient - away / belief.spread
