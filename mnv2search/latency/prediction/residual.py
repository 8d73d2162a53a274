"""What a sum of features leaves over: a Gaussian process on what the latency is made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mnv2search.latency.prediction.features import Matrix

# Observations below which there is nothing to be seen.
LEAST = 40
# Distances over which the residual stays alike, in units of the typical spread of an input, and the variance of one
# observation over that of the residual; the best pair is found by leaving one out.
LENGTHS = (2.0, 3.0, 5.0, 8.0)
NOISES = (0.05, 0.1, 0.3, 1.0, 3.0)
# An observation that is missed by more counts as missed by so much.
CAP = 0.1
# The pair is looked for anew when there are so many times more observations.
GROWN = 1.1


class Kernel(NamedTuple):
    """Distance and noise that were found best.

    Attributes:
        length: see `LENGTHS`.
        noise: see `NOISES`.
        found_at: observations at which it was found.
    """

    length: float
    noise: float
    found_at: int


class Residual:
    """The logarithm of measured over summed latency as a smooth function of the features' shares.

    Args:
        inputs: (N, D), of N >= `LEAST` observations.
        targets: (N,), logarithms.
        known: kernel of an earlier fit to fewer observations; used again unless there are many more.

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
        """(N,) by how much each observation is missed if it is left out."""

    def predict(self, inputs: Matrix) -> Matrix:
        """(M,) the logarithm to add for inputs (M, D); nothing far from all observations."""
        squared = _squared_distances(inputs / self._scale, self._inputs)
        return np.asarray(_similar(squared, self.kernel.length) @ self._weights)


def _squared_distances(one: Matrix, other: Matrix) -> Matrix:
    products = one @ other.T
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None, :]
    return np.asarray(np.maximum(squares - 2 * products, 0.0))


def _similar(squared: Matrix, length: float) -> Matrix:
    return np.asarray(np.exp(squared / (-2 * length**2)))


def _best(squared: Matrix, targets: Matrix) -> Kernel:
    """The pair that predicts each observation from the others best."""
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
