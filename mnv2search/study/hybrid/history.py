"""What has been evaluated, and which part of it is worth fitting to."""

from __future__ import annotations

import numpy as np

from mnv2search.study.hybrid.gain import Staircase
from mnv2search.study.hybrid.surrogate import FloatArray, IntArray

Choice = tuple[int, ...]


class History:
    """Evaluated networks in the order they were told; those without an accuracy broke a constraint."""

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

        The lower quarter of the first design is not where anybody ships from; nothing dearer than its dearest member
        was thought worth a look.
        """
        design = self.rated[:first]
        floor = float(np.quantile(self.accuracies[design], 0.25))
        return floor, 1.05 * float(self.costs[design].max()) if ceiling is None else ceiling

    def staircase(self, reference: tuple[float, float]) -> Staircase:
        """The evaluated front above a reference."""
        rated = self.rated
        return Staircase(self.costs[rated], self.accuracies[rated], reference=reference)

    def nearest_to_front(self, stairs: Staircase, count: int) -> IntArray:
        """Indices of the networks with the least accuracy missing to the front, cheapest first."""
        rated = self.rated
        costs = self.costs[rated]
        missing = stairs.level(costs) - self.accuracies[rated]
        near = np.argsort(missing, kind="stable")[:count]
        return rated[near[np.argsort(costs[near], kind="stable")]]

    def to_fit(self, stairs: Staircase, rng: np.random.Generator, *, most: int) -> IntArray:
        """Indices of at most `most` networks to fit to: three quarters near the front, the others at random."""
        rated = self.rated
        if len(rated) <= most:
            return rated
        near = self.nearest_to_front(stairs, most * 3 // 4)
        rest = np.setdiff1d(rated, near)
        return np.concatenate([near, rng.choice(rest, most - len(near), replace=False)])
