"""Evaluated networks, and the subset that the surrogate is fitted to."""

from __future__ import annotations

import numpy as np

from mnv2search.study.hybrid.gain import ParetoFront
from mnv2search.study.hybrid.surrogate import FloatArray, IntArray

Choice = tuple[int, ...]


class History:
    """Evaluated networks in order; those without an accuracy violate a constraint."""

    def __init__(self) -> None:
        self._choices: list[Choice] = []
        self._accuracies: list[float] = []
        self._costs: list[float] = []
        self._violations: list[float] = []

    def __len__(self) -> int:
        return len(self._choices)

    def add(self, choice: Choice, *, accuracy: float | None, cost: float, violation: float) -> None:
        """Append one network."""
        self._choices.append(choice)
        self._accuracies.append(np.nan if accuracy is None else accuracy)
        self._costs.append(cost)
        self._violations.append(violation)

    def choices(self, index: IntArray) -> IntArray:
        """Index tuples of some of the networks, (N, D)."""
        return np.array([self._choices[i] for i in index], dtype=np.int64)

    @property
    def accuracies(self) -> FloatArray:
        """Accuracies, NaN where there is none."""
        return np.array(self._accuracies)

    @property
    def costs(self) -> FloatArray:
        """Costs as told."""
        return np.array(self._costs)

    @property
    def violations(self) -> FloatArray:
        """Violations as told; at most 0 where the network fits."""
        return np.array(self._violations)

    @property
    def rated(self) -> IntArray:
        """Indices of the networks with an accuracy."""
        return np.flatnonzero(~np.isnan(self.accuracies))

    def reference(self, *, first: int, ceiling: float | None = None) -> tuple[float, float]:
        """Accuracy and cost that bound the region of interest, from the `first` networks with an accuracy.

        Nobody ships from the lower quarter of the initial design, and nothing is searched beyond its most expensive
        member.
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
