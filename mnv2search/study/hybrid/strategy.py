"""The default search strategy: Bayesian optimization of expected hypervolume improvement with evolved candidates.

The initial design is a dozen networks spread over cost. For each of the small batches that follow, a Gaussian
process is fitted to the evaluations (`surrogate`), candidates are evolved from the front and ranked by the predicted
mean, and the candidates with the largest expected hypervolume improvement are chosen greedily: the predicted accuracy
of each is added to the front before the next is chosen. The cost of a candidate is known from its description, so
only the accuracy is uncertain.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import TypedDict, Unpack

import numpy as np

from mnv2search.errors import Mnv2SearchError, OptionError
from mnv2search.study.hybrid.candidates import (
    BoolArray,
    CandidateGenerator,
    Describe,
    Description,
    Pool,
    all_choices,
    best_in_niches,
    checked_describe,
    stratified_design,
)
from mnv2search.study.hybrid.feasibility import MIN_PROBABILITY, Feasibility
from mnv2search.study.hybrid.history import NODES, History, ParetoFront, expected_gain
from mnv2search.study.hybrid.surrogate import FloatArray, IntArray, Prediction, Surrogate

_FIRST_DESIGN = 12  # networks before the first prediction
_FEWEST_RATED = 3  # accuracies required for a fit
_EARLY = 50  # evaluations up to which batches are small
_EARLY_BATCH = 4
_ENUMERABLE = 10_000  # networks of the largest space that is enumerated
_MOST_FITTED = 256
_PARENTS = 60
_DESCRIBED = 512  # number of networks of an earlier part of a search that are described at once, to limit memory
_NICHES, _PER_NICHE, _BEST = 30, 20, 300  # candidates whose uncertainty is predicted

Choice = tuple[int, ...]


class SpaceExhausted(Mnv2SearchError, RuntimeError):  # noqa: N818  (an end, not a fault)
    """Every network of the space has already been suggested."""


class Limits(TypedDict, total=False):
    """Limits of a search.

    Attributes:
        batch: networks suggested between two fits, 8 by default.
        budget: expected total number of evaluations, if known; the initial design takes at most a quarter.
        reference: accuracy and cost that bound the region of interest; by default taken from the initial design.
        ceiling: upper bound of cost if there is no `reference`; by default taken from the initial design.
    """

    batch: int
    budget: int | None
    reference: tuple[float, float] | None
    ceiling: float | None


class HybridStrategy:
    """Suggests distinct index tuples, and learns from their accuracy and cost.

    Args:
        describe: describes index tuples (N, D) before evaluation; descriptions may change between calls.
        ordinal: for each dimension, whether neighbouring options are similar; by default no dimension is ordinal.

    Raises:
        OptionError: a dimension has no options, the batch is below 1, or (raised by any method) a described cost is
            not above 0 or a described value is not finite.
    """

    def __init__(
        self,
        *,
        cards: tuple[int, ...],
        describe: Describe,
        seed: int,
        ordinal: tuple[bool, ...] = (),
        **limits: Unpack[Limits],
    ) -> None:
        batch, budget = limits.get("batch", 8), limits.get("budget")
        if not cards or min(cards) < 1 or batch < 1:
            raise OptionError(
                f"cards are {cards}, batch is {batch}", hint="give each dimension an option, and a batch of 1 or more"
            )
        self._cards, self._describe, self._batch = cards, checked_describe(describe), batch
        self._rng = np.random.default_rng(seed)
        self._size = math.prod(cards)
        self._first = _FIRST_DESIGN if budget is None else max(_FEWEST_RATED + 1, min(_FIRST_DESIGN, budget // 4))
        self._reference, self._ceiling = limits.get("reference"), limits.get("ceiling")
        self._surrogate = Surrogate(cards=cards, ordinal=ordinal)
        self._feasibility = Feasibility(cards=cards, ordinal=ordinal)
        self._generator = CandidateGenerator(cards=cards, describe=self._describe, rng=self._rng)
        self._history = History()
        self._seen: set[Choice] = set()
        self._identities: set[int] = set()
        self._unidentified: list[Choice] = []
        self._pending: dict[Choice, None] = {}
        self._queue: deque[Choice] = deque()

    def ask(self) -> Choice:
        """Suggest the next network to evaluate; a network that was suggested or reported before is never repeated.

        Raises:
            SpaceExhausted: no network is left.
        """
        if not self._queue:
            self._queue.extend(self._next_batch())
        choice = self._queue.popleft()
        self._pending[choice] = None
        return choice

    def tell(self, choice: Choice, accuracy: float | None, cost: float, violation: float = 0.0) -> None:
        """Report the evaluation of a network, whether or not it was suggested.

        The accuracy is None if the network violates a constraint, the cost is in the unit of the described cost, and
        the violation is at most 0 if the network is feasible.

        Raises:
            OptionError: a value is not finite, or an index is out of range.
        """
        if len(choice) != len(self._cards) or any(not 0 <= i < n for i, n in zip(choice, self._cards, strict=True)):
            raise OptionError(f"choice is {choice}", hint=f"give an index below each of {self._cards}")
        if not all(map(math.isfinite, (cost, violation, 0.0 if accuracy is None else accuracy))):
            raise OptionError(
                f"told accuracy {accuracy}, cost {cost}, violation {violation}",
                hint="tell finite numbers, and None for an accuracy that was not determined",
            )
        if choice not in self._seen:
            self._unidentified.append(choice)
            self._seen.add(choice)
        self._pending.pop(choice, None)
        if choice in self._queue:
            self._queue.remove(choice)
        self._history.add(choice, accuracy=accuracy, cost=cost, violation=violation)

    def forget(self, choice: Choice) -> None:
        """Stop waiting for a network that will not be reported; the network is not suggested again."""
        self._pending.pop(choice, None)

    def _next_batch(self) -> list[Choice]:
        self._identify()
        self._feasibility.learn(self._history, self._describe)
        rated, asked = len(self._history.rated), len(self._history) + len(self._pending)
        fewest = max(_FEWEST_RATED, self._first // 2) if self._pending else _FEWEST_RATED
        if asked < self._first or rated < fewest:
            return self._initial_design(max(self._first - asked, _EARLY_BATCH))
        reference = self._reference or self._history.reference(first=self._first, ceiling=self._ceiling)
        # while most of the design is pending, the reference is only a guess
        if not self._pending or rated >= self._first:
            self._reference = reference
        batch = min(_EARLY_BATCH, self._batch) if rated < _EARLY else self._batch
        return self._acquisition_batch(reference, batch)

    def _identify(self) -> None:
        for begin in range(0, len(self._unidentified), _DESCRIBED):
            choices = np.array(self._unidentified[begin : begin + _DESCRIBED], dtype=np.int64)
            identity = self._describe(choices).identity
            self._identities.update([] if identity is None else identity.tolist())
        self._unidentified.clear()

    def _initial_design(self, count: int) -> list[Choice]:
        """Choose a design over log cost from candidates that are probably feasible."""
        pool = self._all_unseen() or self._generator.diverse(self._feasibility.weights, self._is_new)
        self._check_not_empty(pool)
        weights = self._feasibility.weights(pool.choices, pool.description)
        likely = np.flatnonzero(weights >= 0.5)
        if len(likely) < count:
            likely = np.argsort(-weights, kind="stable")[: 2 * count]
        pool = pool.rows(likely)
        return self._mark_seen(pool, stratified_design(self._rng, pool.description, count))

    def _acquisition_batch(self, reference: tuple[float, float], batch: int) -> list[Choice]:
        history, surrogate = self._history, self._surrogate
        front = history.front(reference)
        fitted = history.training_subset(front, self._rng, most=_MOST_FITTED)
        choices = history.choices(fitted)
        known = self._describe(choices)
        surrogate.fit(known.inputs(choices), history.accuracies[fitted])
        # use a smoothed front: a lucky evaluation would hide candidates that are as good
        smoothed = surrogate.values(surrogate.predict(known.inputs(choices)), np.zeros(1))[:, 0]
        front = ParetoFront(history.costs[fitted], smoothed, reference=reference)
        # correct a constant factor of the described costs, such as that of a latency predictor at first
        factor = float(np.median(history.costs[fitted] / known.cost))
        pool = self._all_unseen() or self._generator.evolved(
            history.choices(history.nearest_to_front(front, _PARENTS)), self._merit, self._is_new
        )
        self._check_not_empty(pool)
        pool = replace(pool, description=replace(pool.description, cost=factor * pool.description.cost))
        pool = pool.rows(self._shortlist(pool, front))
        weights = self._feasibility.weights(pool.choices, pool.description)
        accuracy = surrogate.values(surrogate.predict(pool.description.inputs(pool.choices)), NODES)
        front = self._with_pending(front, factor)
        return self._mark_seen(pool, _greedy_batch(front, pool.description, accuracy, weights, batch))

    def _merit(self, choices: IntArray, description: Description) -> FloatArray:
        mean = self._surrogate.predict_mean(description.inputs(choices))
        return mean - 10.0 * (self._feasibility.weights(choices, description) < MIN_PROBABILITY)

    def _shortlist(self, pool: Pool, front: ParetoFront) -> IntArray:
        """Rows of the candidates whose uncertainty is predicted: the best at each cost, and the best overall."""
        if len(pool.choices) <= _NICHES * _PER_NICHE:
            return np.arange(len(pool.choices))
        cost, merit = pool.description.cost, self._merit(pool.choices, pool.description)
        accuracy = self._surrogate.values(Prediction(mean=merit, sd=np.zeros_like(merit)), np.zeros(1))[:, 0]
        ahead = accuracy - front.level(cost)
        return np.union1d(
            best_in_niches(cost, merit, niches=_NICHES, each=_PER_NICHE), np.argsort(-ahead, kind="stable")[:_BEST]
        )

    def _with_pending(self, front: ParetoFront, factor: float) -> ParetoFront:
        if not self._pending:
            return front
        choices = np.array(list(self._pending), dtype=np.int64)
        described = self._describe(choices)
        predicted = self._surrogate.predict(described.inputs(choices))
        return front.with_points(factor * described.cost, self._surrogate.values(predicted, np.zeros(1))[:, 0])

    def _all_unseen(self) -> Pool | None:
        if self._size > _ENUMERABLE:
            return None
        choices = all_choices(self._cards)
        pool = Pool(choices=choices, description=self._describe(choices))
        return pool.rows(np.flatnonzero(self._is_new(pool)))

    def _check_not_empty(self, pool: Pool) -> None:
        if not len(pool.choices):
            raise SpaceExhausted(
                f"the space is exhausted: no network was found besides the {len(self._seen)} suggested before",
                hint="widen the space to search on",
            )

    def _is_new(self, pool: Pool) -> BoolArray:
        """Whether each candidate, (N,), is unseen under its own choices and equivalent ones."""
        new = np.array([choice not in self._seen for choice in map(tuple, pool.choices.tolist())], dtype=bool)
        if pool.description.identity is not None:
            identities = pool.description.identity.tolist()
            new &= np.array([identity not in self._identities for identity in identities], dtype=bool)
        return new

    def _mark_seen(self, pool: Pool, picks: list[int]) -> list[Choice]:
        taken = [tuple(choice) for choice in pool.choices[picks].tolist()]
        self._seen.update(taken)
        if pool.description.identity is not None:
            self._identities.update(pool.description.identity[picks].tolist())
        return taken


def _greedy_batch(
    front: ParetoFront, described: Description, accuracy: FloatArray, weights: FloatArray, batch: int
) -> list[int]:
    """Choose rows of largest expected gain greedily, adding the mean of each to the front before the next choice."""
    cost, middle = described.cost, accuracy[:, len(NODES) // 2]
    free = np.ones(len(cost), dtype=bool)
    picks: list[int] = []
    while len(picks) < batch and free.any():
        likely = free & (weights >= MIN_PROBABILITY)
        rows = np.flatnonzero(likely if likely.any() else free)
        gain = weights[rows] * expected_gain(front, cost[rows], accuracy[rows])
        if not gain.any():  # take the candidate nearest to the front
            gain = accuracy[rows, -1] - front.level(cost[rows])
        pick = int(rows[gain.argmax()])
        picks.append(pick)
        free[pick] = False
        if described.identity is not None:
            free &= described.identity != described.identity[pick]
        front = front.with_points(cost[[pick]], middle[[pick]])
    return picks
