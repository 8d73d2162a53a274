"""A Gaussian process over choices and generic features, for tens to hundreds of evaluated networks.

The covariance is a sum of terms whose amplitudes are fitted to the data: a linear and a smooth term in the generic
features (learned from a handful of evaluations), an additive and an interacting term in the choices (learned from
hundreds), a linear term in a prior estimate (weighted by how well it predicts), and noise. Values are warped to
stretch the top, where the front is, if that increases the likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

LINEAR, SMOOTH, SMOOTH_LENGTH, ADDITIVE, JOINT, JOINT_LENGTH, PRIOR, NOISE = range(8)
_LOWEST_NOISE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HyperPrior:
    """A normal prior of the log hyperparameters."""

    mean: FloatArray
    sd: FloatArray


WEAK_PRIOR = HyperPrior(
    mean=np.log(np.array([1.0, 0.3, 1.0, 0.1, 0.3, 0.5, 1.0, 0.01])),
    sd=np.array([1.5, 1.5, 0.7, 1.5, 1.5, 0.7, 1.5, 1.5]),
)
# A few dozen values determine hyperparameters poorly: maximum likelihood overfits.
STRONG_PRIOR = HyperPrior(
    mean=np.log(np.array([0.12, 0.5, 2.0, 0.04, 0.1, 0.92, 1.0, 0.05])),
    sd=np.array([0.5, 0.5, 0.25, 0.5, 0.5, 0.25, 1.5, 1.0]),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTerms:
    """The terms of the covariance between two sets that do not depend on hyperparameters."""

    linear: FloatArray
    distance: FloatArray
    additive: FloatArray
    prior: FloatArray

    def covariance(self, log_hyper: FloatArray) -> FloatArray:
        """The covariance of the latent values."""
        h = np.exp(log_hyper)
        total: FloatArray = 1.0 + h[LINEAR] * self.linear + h[ADDITIVE] * self.additive + h[PRIOR] * self.prior
        smooth, joint = self.exponentials(h)
        total += smooth
        total += joint
        return total

    def exponentials(self, h: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The smooth term in the features and the interacting term in the choices."""
        smooth: FloatArray = h[SMOOTH] * np.exp(-self.distance / h[SMOOTH_LENGTH] ** 2)
        joint: FloatArray = h[JOINT] * np.exp((self.additive - 1.0) / h[JOINT_LENGTH] ** 2)
        return smooth, joint

    def noisy(self, log_hyper: FloatArray) -> FloatArray:
        """The covariance of one set of observations, with independent noise."""
        total = self.covariance(log_hyper)
        total[np.diag_indices_from(total)] += np.exp(log_hyper[NOISE]) + _LOWEST_NOISE
        return total


def maximize_likelihood(
    grams: KernelTerms, target: FloatArray, start: FloatArray, *, prior: HyperPrior, steps: int
) -> FloatArray:
    """The best log hyperparameters in `steps` of resilient gradient ascent on the penalized likelihood."""
    lowest, highest = prior.mean - 3.0 * prior.sd, prior.mean + 3.0 * prior.sd
    current, best, best_value = start.copy(), start, -np.inf
    stride, last = np.full(len(start), 0.3), np.zeros(len(start))
    for _ in range(steps):
        value, gradient = _evidence(grams, target, current, prior)
        if value > best_value:
            best, best_value = current.copy(), value
        agreement = np.sign(gradient) * np.sign(last)
        stride = np.clip(
            np.where(agreement > 0, stride * 1.3, np.where(agreement < 0, stride * 0.5, stride)), 0.01, 1.0
        )
        last = np.where(agreement < 0, 0.0, gradient)
        current = np.clip(current + np.sign(last) * stride, lowest, highest)
    return best


def _evidence(
    grams: KernelTerms, target: FloatArray, log_hyper: FloatArray, prior: HyperPrior
) -> tuple[float, FloatArray]:
    """Log marginal likelihood plus the log prior of the hyperparameters, and its gradient."""
    h = np.exp(log_hyper)
    smooth, joint = grams.exponentials(h)
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
    away = (log_hyper - prior.mean) / prior.sd
    value = -0.5 * float(target @ weights) - float(np.log(np.diag(root)).sum()) - 0.5 * float(away @ away)
    return value, gradient - away / prior.sd


_WARPS = (0.1, 0.4, 1.6, np.inf)  # warps to try, in standard deviations of the values; inf is no warp
_FIT_STEPS, _REFIT_STEPS = 12, 4  # steps of likelihood ascent; each fit starts from the previous hyperparameters
_MANY = 120  # number of values from which hyperparameters change little


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Inputs for N networks, as in `Description`; `prior` is an estimate of the value to predict."""

    choices: IntArray
    features: FloatArray
    prior: FloatArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Mean and standard deviation in warped units, (N,) each; `Surrogate.values` converts them."""

    mean: FloatArray
    sd: FloatArray


class Surrogate:
    """A Gaussian process for at most a few hundred values; the caller limits their number.

    Args:
        ordinal: for each dimension, whether neighbouring options are similar; by default no dimension is ordinal.
        warped: whether the top of the values may be stretched.
        steady: use a strong prior of the hyperparameters. With a few dozen values, it ranks other networks better,
            but a search that relies on the predictions finds worse networks.
    """

    def __init__(
        self, *, cards: tuple[int, ...], ordinal: tuple[bool, ...] = (), warped: bool = True, steady: bool = False
    ) -> None:
        self._shortfalls = _WARPS if warped else (np.inf,)
        self._codes = _codes(cards, ordinal or (False,) * len(cards))
        self._offsets = np.concatenate([[0], np.cumsum(cards)[:-1]])
        self._hyperprior = STRONG_PRIOR if steady else WEAK_PRIOR
        self._log_hyper = self._hyperprior.mean

    def fit(self, inputs: Inputs, values: FloatArray) -> None:
        """Condition on `values`, (N,), after a few steps of likelihood ascent from the last hyperparameters."""
        self._centre = inputs.features.mean(axis=0)
        self._scale = inputs.features.std(axis=0) + 1e-9
        prior = inputs.prior
        self._prior_centre = 0.0 if prior is None else float(prior.mean())
        self._prior_scale = 1.0 if prior is None else float(prior.std()) + 1e-9
        self._rows = self._embedded(inputs)
        grams = self._grams(self._rows, self._rows)
        self._choose_warp(grams, values)
        target = self._warped(values)
        steps = _FIT_STEPS if len(values) < _MANY else _REFIT_STEPS
        self._log_hyper = maximize_likelihood(grams, target, self._log_hyper, prior=self._hyperprior, steps=steps)
        inverse_root = np.linalg.inv(np.linalg.cholesky(grams.noisy(self._log_hyper)))
        self._inverse_root = inverse_root
        self._weights = inverse_root.T @ (inverse_root @ target)

    def predict_mean(self, inputs: Inputs) -> FloatArray:
        """Predicted means, (N,), in warped units: cheaper than `predict`, and sufficient for ranking."""
        return self._grams(self._embedded(inputs), self._rows).covariance(self._log_hyper) @ self._weights

    def predict(self, inputs: Inputs, *, noisy: bool = False) -> Prediction:
        """Predict mean and standard deviation for N networks, of the latent value or (`noisy`) of one observation."""
        rows = self._embedded(inputs)
        covariance = self._grams(rows, self._rows).covariance(self._log_hyper)
        h = np.exp(self._log_hyper)
        features, _, prior = rows
        own = 1.0 + h[SMOOTH] + h[JOINT] + h[ADDITIVE]
        own = own + h[LINEAR] * (features**2).sum(axis=1) + h[PRIOR] * prior[:, 0] ** 2
        own = own + h[NOISE] * noisy
        explained = ((covariance @ self._inverse_root.T) ** 2).sum(axis=1)
        return Prediction(mean=covariance @ self._weights, sd=np.sqrt(np.maximum(own - explained, 1e-12)))

    def values(self, prediction: Prediction, deviates: FloatArray) -> FloatArray:
        """Values in the unit of the data at K standard deviates from each of N predictions, (N, K)."""
        warped = prediction.mean[:, None] + prediction.sd[:, None] * deviates
        z = warped * self._warp_scale + self._warp_centre
        if np.isinf(self._shortfall):
            return z
        return self._top + self._shortfall - np.exp(-z)

    def _warped(self, values: FloatArray) -> FloatArray:
        z = values if np.isinf(self._shortfall) else -np.log(self._shortfall + np.maximum(self._top - values, 0.0))
        return (z - self._warp_centre) / self._warp_scale

    def _choose_warp(self, grams: KernelTerms, values: FloatArray) -> None:
        spread = float(np.std(values)) + 1e-9
        best = -np.inf
        self._top = float(values.max())
        root = np.linalg.inv(np.linalg.cholesky(grams.noisy(self._log_hyper)))
        chosen = (np.inf, float(values.mean()), spread)
        for shortfall in self._shortfalls:
            amount = shortfall * spread
            gap = amount + self._top - values
            z = values if np.isinf(amount) else -np.log(gap)
            stretch = 0.0 if np.isinf(amount) else -float(np.log(gap).sum())
            centre, scale = float(z.mean()), float(z.std()) + 1e-12
            fit = -0.5 * float(((root @ ((z - centre) / scale)) ** 2).sum()) - len(z) * np.log(scale) + stretch
            if fit > best:
                best, chosen = fit, (amount, centre, scale)
        self._shortfall, self._warp_centre, self._warp_scale = chosen

    def _embedded(self, inputs: Inputs) -> tuple[FloatArray, FloatArray, FloatArray]:
        count = len(inputs.choices)
        width = max(inputs.features.shape[1], 1)
        features = (inputs.features - self._centre) / self._scale / np.sqrt(width)
        additive = self._codes[inputs.choices + self._offsets].reshape(count, -1)
        prior = np.zeros(count) if inputs.prior is None else (inputs.prior - self._prior_centre) / self._prior_scale
        return features, additive, prior[:, None]

    @staticmethod
    def _grams(
        left: tuple[FloatArray, FloatArray, FloatArray], right: tuple[FloatArray, FloatArray, FloatArray]
    ) -> KernelTerms:
        linear = left[0] @ right[0].T
        distance = (left[0] ** 2).sum(axis=1)[:, None] + (right[0] ** 2).sum(axis=1)[None] - 2.0 * linear
        return KernelTerms(
            linear=linear,
            distance=np.maximum(distance, 0.0),
            additive=left[1] @ right[1].T,
            prior=left[2] @ right[2].T,
        )


def _codes(cards: tuple[int, ...], ordinal: tuple[bool, ...]) -> FloatArray:
    """A vector for each option; inner products, summed over dimensions, are similarities, and 1 for equal choices.

    Nominal options are one-hot codes; ordinal options are thermometer codes, whose similarity decreases linearly.
    """
    width = max(cards)
    rows = np.zeros((sum(cards), width))
    at = 0
    for card, is_ordinal in zip(cards, ordinal, strict=True):
        for option in range(card):
            if is_ordinal and card > 1:
                signs = np.where(np.arange(card - 1) < option, 1.0, -1.0)
                rows[at, : card - 1] = signs / np.sqrt(card - 1)
            else:
                rows[at, option] = 1.0
            at += 1
    scaled: FloatArray = rows / np.sqrt(len(cards))
    return scaled
