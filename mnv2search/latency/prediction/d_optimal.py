"""Which networks to measure next: those whose features are least determined by the ones measured before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnv2search.latency.prediction.features import Matrix

# How firmly a rate is believed before anything is measured, relative to the noise of one measurement.
STRICTNESS = 0.03


def most_informative(
    shares: Matrix, *, known: Sequence[int], count: int, scale: Matrix | None = None
) -> tuple[int, ...]:
    """Candidates to measure, by the greedy D-optimal rule: each is the one that is predicted worst so far.

    >>> shares = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> most_informative(shares, known=[0], count=1)
    (2,)

    `shares` are (N, F) features over the predicted latency of each candidate, so that errors are relative; `known`
    are candidates that were measured; `scale` is (F,), a factor for every feature, such as its rate in ms.
    """
    weighted = shares if scale is None else shares * scale
    covariance = np.eye(weighted.shape[1]) / STRICTNESS
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
    """The covariance after one more measurement. Source: Sherman and Morrison's formula."""
    toward = covariance @ row
    return np.asarray(covariance - np.outer(toward, toward) / (1.0 + row @ toward))
