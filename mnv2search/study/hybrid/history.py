"""Evaluated networks, and the subset that the surrogate is fitted to."""

from __future__ import annotations

import numpy as np

from mnv2search.study.hybrid.surrogate import FloatArray, IntArray

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
NODES: FloatArray = _NODES  # standard normal deviates of the quadrature
NODE_WEIGHTS: FloatArray = _WEIGHTS / _WEIGHTS.sum()


class ParetoFront:
    """The best accuracy at or below each cost, a step function that is never below a reference accuracy.

    Costs and accuracies are (N,) in any order; the reference (accuracy, cost) bounds the hypervolume.
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
        # step j is between edges j and j + 1
        self._edges = np.concatenate([[-np.inf], self.costs, [ceiling]])
        self._levels = np.concatenate([[floor], self.accuracies])
        widths = np.diff(self._edges[1:])
        self._area = np.concatenate([[0.0], np.cumsum(self.accuracies * widths)])

    def with_points(self, costs: FloatArray, accuracies: FloatArray) -> ParetoFront:
        """The front with more evaluated networks."""
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


Choice = tuple[int, ...]


class History:
    """Evaluated networks in order: accuracies (NaN if unknown), costs, and violations (at most 0 if feasible)."""

    def __init__(self) -> None:
        self._choices: list[Choice] = []
        self.accuracies: FloatArray = np.zeros(0)
        self.costs: FloatArray = np.zeros(0)
        self.violations: FloatArray = np.zeros(0)

    def __len__(self) -> int:
        return len(self._choices)

    def add(self, choice: Choice, *, accuracy: float | None, cost: float, violation: float) -> None:
        """Append one network."""
        self._choices.append(choice)
        self.accuracies = np.append(self.accuracies, np.nan if accuracy is None else accuracy)
        self.costs = np.append(self.costs, cost)
        self.violations = np.append(self.violations, violation)

    def choices(self, index: IntArray) -> IntArray:
        """Index tuples of some of the networks, (N, D)."""
        return np.array([self._choices[i] for i in index], dtype=np.int64)

    @property
    def rated(self) -> IntArray:
        """Indices of the networks with an accuracy."""
        return np.flatnonzero(~np.isnan(self.accuracies))

    def reference(self, *, first: int, ceiling: float | None = None) -> tuple[float, float]:
        """Accuracy and cost that bound the region of interest, from the `first` networks with an accuracy.

        The lower quartile of accuracy is the lower bound; without a `ceiling`, 1.05 times the highest cost is the
        upper bound.
        """
        design = self.rated[:first]
        floor = float(np.quantile(self.accuracies[design], 0.25))
        return floor, 1.05 * float(self.costs[design].max()) if ceiling is None else ceiling

    def front(self, reference: tuple[float, float]) -> ParetoFront:
        """The evaluated front above a reference."""
        rated = self.rated
        return ParetoFront(self.costs[rated], self.accuracies[rated], reference=reference)

    def nearest_to_front(self, front: ParetoFront, count: int) -> IntArray:
        """Indices of the networks nearest to the front in accuracy, cheapest first."""
        rated = self.rated
        costs = self.costs[rated]
        missing = front.level(costs) - self.accuracies[rated]
        near = np.argsort(missing, kind="stable")[:count]
        return rated[near[np.argsort(costs[near], kind="stable")]]

    def training_subset(self, front: ParetoFront, rng: np.random.Generator, *, most: int) -> IntArray:
        """Indices of at most `most` networks: three quarters nearest to the front, the others at random."""
        rated = self.rated
        if len(rated) <= most:
            return rated
        near = self.nearest_to_front(front, most * 3 // 4)
        rest = np.setdiff1d(rated, near)
        return np.concatenate([near, rng.choice(rest, most - len(near), replace=False)])
