"""Expected hypervolume improvement of candidates of known cost and predicted accuracy."""

from __future__ import annotations

import numpy as np

from mnv2search.study.hybrid.surrogate import FloatArray

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
NODES: FloatArray = _NODES  # standard normal deviates of the quadrature
NODE_WEIGHTS: FloatArray = _WEIGHTS / _WEIGHTS.sum()


class ParetoFront:
    """The best accuracy at or below each cost, a step function that is never below a reference accuracy.

    Args:
        costs: of the evaluated networks, (N,), in any order; N may be 0.
        accuracies: of the same networks, (N,).
        reference: accuracy and cost that bound the hypervolume from below and above.
    """

    def __init__(self, costs: FloatArray, accuracies: FloatArray, *, reference: tuple[float, float]) -> None:
        floor, ceiling = reference
        inside = (costs < ceiling) & (accuracies > floor)
        costs, accuracies = costs[inside], accuracies[inside]
        order = np.lexsort((-accuracies, costs))
        costs, accuracies = costs[order], accuracies[order]
        before = np.maximum.accumulate(np.concatenate([[floor], accuracies[:-1]])) if len(costs) else accuracies
        better = accuracies > before
        self.costs, self.accuracies, self._floor, self._ceiling = costs[better], accuracies[better], floor, ceiling
        # step j holds between edges j and j + 1
        self._edges = np.concatenate([[-np.inf], self.costs, [ceiling]])
        self._levels = np.concatenate([[floor], self.accuracies])
        widths = np.diff(self._edges[1:])
        self._area = np.concatenate([[0.0], np.cumsum(self.accuracies * widths)])

    def with_points(self, costs: FloatArray, accuracies: FloatArray) -> ParetoFront:
        """The front with more networks evaluated."""
        return ParetoFront(
            np.concatenate([self.costs, costs]),
            np.concatenate([self.accuracies, accuracies]),
            reference=(self._floor, self._ceiling),
        )

    def level(self, cost: FloatArray) -> FloatArray:
        """Best accuracy at or below each cost."""
        return self._levels[np.searchsorted(self.costs, cost, side="right")]

    def gain(self, cost: FloatArray, accuracy: FloatArray) -> FloatArray:
        """Hypervolume that a network of each cost and accuracy adds; the two arrays broadcast."""
        cost, accuracy = np.broadcast_arrays(cost, accuracy)
        passed = np.searchsorted(self.accuracies, accuracy, side="left")  # steps lower than the candidate
        until = np.append(self.costs, self._ceiling)[passed]
        span = np.maximum(until - cost, 0.0)
        covered = self._integral(np.maximum(until, cost)) - self._integral(cost)
        return np.where(accuracy > self._floor, np.maximum(accuracy * span - covered, 0.0), 0.0)

    def _integral(self, cost: FloatArray) -> FloatArray:
        """Integral of the front from its cheapest network to each cost."""
        first = self.costs[0] if len(self.costs) else self._ceiling
        step = np.searchsorted(self.costs, cost, side="right")
        left = np.append(first, self.costs)[step]
        before = np.append(0.0, self._area[: len(self.costs)])[step]
        total: FloatArray = before + self._levels[step] * (cost - left)
        return total


def expected_gain(front: ParetoFront, cost: FloatArray, accuracy: FloatArray) -> FloatArray:
    """Expected hypervolume gain, (N,), for accuracies (N, 5) at `NODES` standard deviations."""
    return front.gain(cost[:, None], accuracy) @ NODE_WEIGHTS
