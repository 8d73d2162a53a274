"""Latency prediction, with its error, from networks measured on the same device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from mnv2search.latency.prediction.features import NAMES, PRIOR_MS, FeatureTable, Matrix
from mnv2search.latency.types import DeviceInfo, Latency
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan, plan

# Candidates for the ridge penalty on deviations from the prior, relative to the noise; chosen by leave-one-out error.
STRICTNESS = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0)
# Relative error of a prediction before any measurement, and the minimum reported error.
UNKNOWN_ERROR = 0.4
LEAST_ERROR = 0.01
# Observations of earlier processes are dropped if their median error on the current ones exceeds this.
STALE = 0.06
ANCHORS = 3
# Number of parts of the observations, each of which is predicted from the others.
FOLDS = 5
# An observation with an error above this many times the typical error has less weight.
HUBER = 2.0
# A prediction extrapolates if a feature's share of the latency exceeds every measured share by this much, or if the
# latency exceeds the measured range by this factor.
MORE_SHARE = 0.05
FARTHER = 1.5
REMEMBERED = 600
# Weight of a factor of e in latency, relative to a share of the latency.
SIZE_WEIGHT = 0.1
# Minimum number of observations for fitting the residual.
LEAST = 40
# Candidates for the length scale of the residual, in units of the typical spread of an input, and for the variance of
# one observation over that of the residual; the best pair is chosen by leave-one-out error.
LENGTHS = (2.0, 3.0, 5.0, 8.0)
NOISES = (0.05, 0.1, 0.3, 1.0, 3.0)
# Larger errors of an observation are clipped to this.
CAP = 0.1
# The pair is chosen again when the number of observations has grown by this factor.
GROWN = 1.1
# Prior precision of a rate before any measurement, relative to the noise of one measurement.
CHOICE_STRICTNESS = 0.03


class Observation(NamedTuple):
    """A measured network as stored by the predictor."""

    features: tuple[float, ...]
    ms: float


class Breakdown(NamedTuple):
    """A predicted latency in ms, divided among the units of a network; `fixed_ms` does not depend on the network."""

    units_ms: tuple[float, ...]
    fixed_ms: float


class _Fit(NamedTuple):
    """Fitted rates and their uncertainty, relative to the scaled prior `unit`."""

    rates: Matrix
    unit: Matrix
    covariance: Matrix
    noise: float
    shares: Matrix
    range_ms: tuple[float, float]


class LatencyPredictor:
    """A predictor of latencies on one device, which every measurement improves.

    A latency is the sum of the network's features times the device's rates. The rates come from ridge regression on
    relative errors, with a prior that is scaled to the measurements. The observations of an earlier process on the
    same device are dropped if they disagree with the current measurements.
    """

    def __init__(
        self,
        device: DeviceInfo,
        *,
        earlier: Sequence[Observation] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._device = device
        self._now = now
        self._table = FeatureTable()
        self._earlier = tuple(o for o in earlier if len(o.features) == len(NAMES))
        self._current: dict[tuple[float, ...], float] = {}
        self._residual: Residual | None = None
        self._cross_validated: Matrix | None = None
        self._learn(self._earlier)

    @property
    def error(self) -> float | None:
        """The mean prediction error: the mean of the relative errors of `cross_validated`.

        None for fewer than three networks.
        """
        if len(self.observations) < ANCHORS:
            return None
        measured_ms = _arrays(self.observations)[1]
        return float(np.mean(np.abs(self.cross_validated() / measured_ms - 1)))

    def cross_validated(self) -> Matrix:
        """(N,) the latency of every observation in ms as predicted from the others, in five folds.

        Only the kernel of the residual, one of a few, was chosen with all observations.
        """
        if self._cross_validated is None:
            self._cross_validated = self._predicted_from_others()
        return self._cross_validated

    def _predicted_from_others(self) -> Matrix:
        observations = self.observations
        fold = np.random.default_rng(0).permutation(len(observations)) % FOLDS
        predicted_ms = np.zeros(len(observations))
        for number in range(min(FOLDS, len(observations))):
            rest = [one for one, own in zip(observations, fold, strict=True) if own != number]
            held_out = [one for one, own in zip(observations, fold, strict=True) if own == number]
            others = LatencyPredictor(self._device)
            others._learn(rest, kernel=None if self._residual is None else self._residual.kernel.kept_for(len(rest)))
            predicted_ms[fold == number] = others.predict_features(_arrays(held_out)[0])[0]
        return predicted_ms

    @property
    def scale(self) -> Matrix:
        """(F,) the assumed cost of each feature on this device in ms: its rate, or more if the rate is uncertain."""
        return np.maximum(self._fit.rates, self._fit.unit)

    @property
    def observations(self) -> tuple[Observation, ...]:
        """The observations that were fitted, latest last, to be stored for later processes."""
        current = [Observation(features, ms) for features, ms in self._current.items()]
        return (*self._earlier, *current)[-REMEMBERED:]

    def fit(self, measured: Sequence[tuple[ModelSpec, float]]) -> None:
        """Fit (network, latency in ms) pairs, which replace those of earlier calls."""
        features = self._table.matrix_of([plan(spec) for spec, _ in measured])
        self._current = {
            tuple(float(v) for v in row): ms for row, (_, ms) in zip(features, measured, strict=True) if ms > 0
        }
        if self._earlier and self._is_stale():
            self._earlier = ()
        self._learn(self.observations, kernel=None if self._residual is None else self._residual.kernel)

    def predict_many(self, plans: Sequence[Plan]) -> tuple[Matrix, Matrix]:
        """Latencies in ms and their relative standard errors, (N,) each."""
        return self.predict_features(self.features(plans))

    def features(self, plans: Sequence[Plan]) -> Matrix:
        """The features of networks, (N, len(NAMES)), which do not depend on measurements."""
        return self._table.matrix_of(plans)

    def predict_features(self, features: Matrix) -> tuple[Matrix, Matrix]:
        """Like `predict_many`, but takes the `features` of networks."""
        ms, noise = _predicted(self._fit, features), self._fit.noise
        relative = self._relative(features, ms)
        if self._residual is not None:
            noise = max(float(np.sqrt(np.mean(self._residual.errors**2))), LEAST_ERROR)
            ms = ms * np.exp(self._residual.predict(_inputs(self._shares(features, ms), ms)))
        return ms, np.sqrt(noise**2 * (1 + _leverages(self._fit, relative)))

    def breakdown(self, network: Plan) -> Breakdown:
        """The predicted latency of a network, divided among its units in proportion to rates times features."""
        fit, features = self._fit, self.features([network])
        is_linear = float(features[0] @ fit.rates) >= float(_predicted(fit, features)[0])
        rates = fit.rates if is_linear else fit.unit
        scale = float(self.predict_features(features)[0][0]) / float(features[0] @ rates)
        units_ms = scale * (self._table.units_of(network) @ rates)
        return Breakdown(tuple(map(float, units_ms)), scale * float(rates[NAMES.index("networks")]))

    def has_seen(self, network: Plan) -> bool:
        """Whether a network with the same features was fitted."""
        features = tuple(float(v) for v in self._table.matrix_of([network])[0])
        return features in self._current or any(features == known.features for known in self._earlier)

    def extrapolates(self, plans: Sequence[Plan]) -> tuple[bool, ...]:
        """Whether each network is unlike all measured networks, so that its prediction is a guess."""
        fit = self._fit
        features = self._table.matrix_of(plans)
        ms = _predicted(fit, features)
        beyond = (self._relative(features, ms) > fit.shares + MORE_SHARE).any(axis=1)
        low, high = fit.range_ms[0] / FARTHER, fit.range_ms[1] * FARTHER
        return tuple(bool(b) for b in beyond | (ms < low) | (ms > high))

    def predict(self, spec: ModelSpec) -> Latency:
        """The predicted latency of one network, with a 95 % interval."""
        ms, errors = self.predict_many([plan(spec)])
        median_ms, margin = float(ms[0]), min(1.96 * float(errors[0]), 0.99)
        return Latency(
            median_ms=median_ms,
            ci_low_ms=median_ms * (1 - margin),
            ci_high_ms=median_ms * (1 + margin),
            p90_ms=median_ms * (1 + margin),
            samples=0,
            dropped=0,
            kind="predicted",
            device=self._device,
            taken_at=self._now().isoformat(timespec="seconds"),
        )

    def _learn(self, observations: Sequence[Observation], *, kernel: Kernel | None = None) -> None:
        """Fit the rates and, with enough observations, the residual; `kernel` is that of an earlier fit."""
        features, ms = _arrays(observations)
        self._fit = _fitted((features, ms))
        self._residual = self._cross_validated = None
        if len(ms) >= LEAST:
            summed = _predicted(self._fit, features)
            inputs = _inputs(self._shares(features, summed), summed)
            self._residual = Residual(inputs, np.log(ms / summed), known=kernel)

    def _relative(self, features: Matrix, ms: Matrix) -> Matrix:
        return np.asarray(features * self._fit.unit / ms[:, None])

    def _shares(self, features: Matrix, ms: Matrix) -> Matrix:
        """The share of each feature in the latency, at its assumed cost."""
        return np.asarray(features * self.scale / ms[:, None])

    def _is_stale(self) -> bool:
        features, ms = _arrays([Observation(f, ms) for f, ms in self._current.items()])
        if len(ms) < ANCHORS:
            return False
        ratios = ms / _predicted(_fitted(_arrays(self._earlier)), features)
        return bool(abs(np.median(ratios) - 1) > STALE)


def _arrays(observations: Sequence[Observation]) -> tuple[Matrix, Matrix]:
    features = np.array([o.features for o in observations], dtype=np.float64).reshape(-1, len(NAMES))
    return features, np.array([o.ms for o in observations], dtype=np.float64)


def _inputs(relative: Matrix, ms: Matrix) -> Matrix:
    """The inputs of the residual: the features' shares of the latency, and the latency itself."""
    return np.column_stack([relative, SIZE_WEIGHT * np.log(ms)])


def _predicted(fit: _Fit, features: Matrix) -> Matrix:
    """The predicted latencies, which are at least a tenth of the prediction of the scaled prior."""
    return np.asarray(np.maximum(features @ fit.rates, 0.1 * (features @ fit.unit)))


def _leverages(fit: _Fit, relative: Matrix) -> Matrix:
    return np.asarray(((relative @ fit.covariance) * relative).sum(axis=1))


def _fitted(observed: tuple[Matrix, Matrix]) -> _Fit:
    """The rates fitted to the observations, with the strictness of the smallest leave-one-out error."""
    features, ms = observed
    size = len(NAMES)
    if not len(ms):
        return _Fit(
            rates=PRIOR_MS,
            unit=PRIOR_MS,
            covariance=np.eye(size) / STRICTNESS[-1],
            noise=UNKNOWN_ERROR,
            shares=np.zeros(size),
            range_ms=(0.0, 0.0),
        )
    unit = PRIOR_MS * float(np.median(ms / (features @ PRIOR_MS)))
    relative = features * unit / ms[:, None]
    missed = 1 - relative.sum(axis=1)
    weights = np.ones(len(ms))
    strictness = STRICTNESS[-1]
    for _ in range(3):
        scored = [(_left_out(relative, missed, weights, s), s) for s in STRICTNESS]
        (errors, strictness) = min(scored, key=lambda item: float(np.mean(weights * item[0] ** 2)))
        typical = max(float(np.median(np.abs(errors))) / 0.6745, LEAST_ERROR)
        weights = np.minimum(1.0, HUBER * typical / np.maximum(np.abs(errors), 1e-12))
    inverse = _inverse(relative, weights, strictness)
    change = inverse @ (relative.T @ (weights * missed))
    noise = max(float(np.sqrt(np.mean(weights * errors**2))), LEAST_ERROR)
    return _Fit(
        rates=unit * (1 + change),
        unit=unit,
        covariance=inverse,
        noise=noise if len(ms) >= ANCHORS else UNKNOWN_ERROR / 2,
        shares=relative.max(axis=0),
        range_ms=(float(ms.min()), float(ms.max())),
    )


def _inverse(relative: Matrix, weights: Matrix, strictness: float) -> Matrix:
    return np.asarray(np.linalg.inv((relative.T * weights) @ relative + strictness * np.eye(relative.shape[1])))


def _left_out(relative: Matrix, missed: Matrix, weights: Matrix, strictness: float) -> Matrix:
    """The leave-one-out error on each observation, in closed form."""
    inverse = _inverse(relative, weights, strictness)
    change = inverse @ (relative.T @ (weights * missed))
    own = weights * ((relative @ inverse) * relative).sum(axis=1)
    return np.asarray((missed - relative @ change) / np.maximum(1 - own, 1e-6))


class Kernel(NamedTuple):
    """The best of `LENGTHS` and of `NOISES`, and the number of observations they were chosen with."""

    length: float
    noise: float
    found_at: int

    def kept_for(self, count: int) -> Kernel:
        """The kernel, to be reused with another number of observations."""
        return self._replace(found_at=count)


class Residual:
    """A Gaussian process that models the logarithm of measured over summed latency by the features' shares.

    `inputs` are (N, D), of N >= `LEAST` observations, and `targets` (N,) logarithms. `known` is the kernel of an
    earlier fit to fewer observations, which is reused unless there are many more now.

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, sections 2.2 and 5.4.2.
    """

    def __init__(self, inputs: Matrix, targets: Matrix, *, known: Kernel | None = None) -> None:
        self._scale = max(float(np.sqrt((inputs.std(axis=0) ** 2).mean())), 1e-9)
        self._inputs = inputs / self._scale
        squared = _squared_distances(self._inputs, self._inputs)
        count = len(targets)
        if known is None or count > GROWN * known.found_at or count < known.found_at:
            known = _best(squared, targets)
        self.kernel = known
        inverse = np.linalg.inv(_similar(squared, known.length) + known.noise * np.eye(count))
        self._weights: Matrix = inverse @ targets
        self.errors: Matrix = self._weights / np.diag(inverse)
        """(N,) the leave-one-out error of each observation."""

    def predict(self, inputs: Matrix) -> Matrix:
        """(M,) the logarithm to add for inputs (M, D); 0 far from all observations."""
        squared = _squared_distances(inputs / self._scale, self._inputs)
        return np.asarray(_similar(squared, self.kernel.length) @ self._weights)


def _squared_distances(one: Matrix, other: Matrix) -> Matrix:
    products = one @ other.T
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None, :]
    return np.asarray(np.maximum(squares - 2 * products, 0.0))


def _similar(squared: Matrix, length: float) -> Matrix:
    return np.asarray(np.exp(squared / (-2 * length**2)))


def _best(squared: Matrix, targets: Matrix) -> Kernel:
    """The pair with the smallest leave-one-out error."""
    best, least = Kernel(LENGTHS[-1], NOISES[-1], len(targets)), np.inf
    for length in LENGTHS:
        values, vectors = np.linalg.eigh(_similar(squared, length))
        turned = vectors.T @ targets
        for noise in NOISES:
            shrunk = 1 / (np.maximum(values, 0.0) + noise)
            errors = (vectors @ (shrunk * turned)) / ((vectors**2) @ shrunk)
            missed = float(np.mean(np.minimum(errors**2, CAP**2)))
            if missed < least:
                best, least = Kernel(length, noise, len(targets)), missed
    return best


def most_informative(
    shares: Matrix, *, known: Sequence[int], count: int, scale: Matrix | None = None
) -> tuple[int, ...]:
    """Candidates to measure, by the greedy D-optimal rule: each is the most uncertain so far.

    >>> shares = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> most_informative(shares, known=[0], count=1)
    (2,)

    `shares` are (N, F) features over the predicted latency of each candidate, so that errors are relative; `known`
    are the measured candidates; `scale` is (F,), a factor for every feature, such as its rate in ms.
    """
    weighted = shares if scale is None else shares * scale
    covariance = np.eye(weighted.shape[1]) / CHOICE_STRICTNESS
    for row in weighted[list(known)]:
        covariance = _learned(covariance, row)
    open_rows = np.ones(len(weighted), dtype=bool)
    open_rows[list(known)] = False
    chosen: list[int] = []
    for _ in range(min(count, int(open_rows.sum()))):
        leverages = np.einsum("ij,jk,ik->i", weighted, covariance, weighted)
        best = int(np.argmax(np.where(open_rows, leverages, -np.inf)))
        chosen.append(best)
        open_rows[best] = False
        covariance = _learned(covariance, weighted[best])
    return tuple(chosen)


def _learned(covariance: Matrix, row: Matrix) -> Matrix:
    """The covariance after one more measurement. Source: the Sherman-Morrison formula."""
    toward = covariance @ row
    return np.asarray(covariance - np.outer(toward, toward) / (1.0 + row @ toward))
