"""Generate and describe candidates: random networks spread over cost, and offspring of the best ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mnv2search.errors import OptionError
from mnv2search.study.hybrid.surrogate import FloatArray, Inputs, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Properties of N networks that are cheap to compute.

    Attributes:
        cost: objective to minimise, (N,), above 0: exact or predicted.
        features: generic features, (N, F), in any unit, such as log multiply-adds and log depth; F may be 0.
        prior: estimated accuracy, (N,), in the unit of accuracies, or None; its weight is learned.
        violation: predicted constraint violation, (N,), 0 if all constraints hold, or None without constraints.
        interest: factor of the probability that each network is feasible, (N,), 0 to 1; None for 1.
        identity: hash of each network, (N,), equal if different choices result in the same network, or None.
    """

    cost: FloatArray
    features: FloatArray
    prior: FloatArray | None = None
    violation: FloatArray | None = None
    interest: FloatArray | None = None
    identity: IntArray | None = None

    def rows(self, index: IntArray) -> Description:
        """The description of some of the networks."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        return Description(**{name: values[index] for name, values in columns.items() if values is not None})

    def inputs(self, choices: IntArray) -> Inputs:
        """Inputs of a surrogate of the accuracy of these networks."""
        return Inputs(choices=choices, features=self.features, prior=self.prior)

    @staticmethod
    def joined(parts: Sequence[Description]) -> Description:
        """Concatenate descriptions."""
        columns = {name: [getattr(part, name) for part in parts] for name in _COLUMNS}
        known = {name: values for name, values in columns.items() if all(v is not None for v in values)}
        return Description(**{name: np.concatenate(values) for name, values in known.items()})


_COLUMNS = tuple(field.name for field in fields(Description))
Describe = Callable[[IntArray], Description]


def checked_describe(describe: Describe) -> Describe:
    """Wrap `describe` in a check that all costs are above 0, and all values finite and complete."""

    def described(choices: IntArray) -> Description:
        description = describe(choices)
        values = [getattr(description, name) for name in _COLUMNS if name != "identity"]
        if any(len(v) != len(choices) or not np.isfinite(v).all() for v in values if v is not None):
            raise OptionError(
                f"the description of {len(choices)} networks has another length, or a value that is not finite",
                hint="describe every network in every array, with finite numbers",
            )
        if not (description.cost > 0).all():
            raise OptionError(
                f"a network is described with a cost of {description.cost.min():g}", hint="costs must be above 0"
            )
        return description

    return described


BoolArray = NDArray[np.bool_]
Merit = Callable[[IntArray, Description], FloatArray]

_GENERATIONS = 6
_FIRST_GENERATIONS = 24  # in the first call, if there is a prior
_OFFSPRING = 200  # per generation, before known candidates are dropped
_NICHES, _PER_NICHE = 30, 3  # parents of a generation, chosen at each cost
_DESIGN_POOL = 1_000
_ROUNDS = 4  # rounds of evolution towards feasible candidates, if few random ones are feasible
_LARGEST_BIAS = 3.0  # log odds of an option, at the ends of the cost
_MATE_DISTANCE = 4  # in parents, by order of cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Candidates and their description."""

    choices: IntArray
    description: Description

    def rows(self, index: IntArray) -> Pool:
        """Some of the candidates."""
        return Pool(choices=self.choices[index], description=self.description.rows(index))

    @staticmethod
    def joined(parts: list[Pool]) -> Pool:
        """Concatenate pools."""
        return Pool(
            choices=np.concatenate([part.choices for part in parts]),
            description=Description.joined([part.description for part in parts]),
        )


IsNew = Callable[[Pool], BoolArray]


class CandidateGenerator:
    """Generates candidates of a space too large to enumerate; `cards` are the numbers of options per dimension."""

    def __init__(self, *, cards: tuple[int, ...], describe: Describe, rng: np.random.Generator) -> None:
        self._cards, self._describe, self._rng = cards, describe, rng
        self._ranks: tuple[FloatArray, ...] | None = None
        self._elite = np.zeros((0, len(cards)), dtype=np.int64)

    def diverse(self, weights: Merit, is_new: IsNew) -> Pool:
        """Random new candidates of all costs; if few are feasible, also offspring of the most feasible ones."""
        pool = self._new_candidates(self._cost_biased(_DESIGN_POOL), is_new)
        for _ in range(_ROUNDS):
            fits = weights(pool.choices, pool.description)
            if not len(fits) or (fits >= 0.5).mean() > 0.1:
                break
            best = np.argsort(-fits, kind="stable")[:60]
            parents = pool.choices[best[np.argsort(pool.description.cost[best], kind="stable")]]
            pool = Pool.joined([pool, self._new_candidates(self._offspring(parents), is_new, known=pool)])
        return pool

    def evolved(self, parents: IntArray, merit: Merit, is_new: IsNew) -> Pool:
        """New candidates by evolution from the best by merit at each cost, and random ones.

        The elite of the last generation is kept as parents for the next call. `parents`, (N, D), are sorted cheapest
        first.
        """
        parents = self._with_elite(parents)
        pool = self._new_candidates(
            np.concatenate([self._offspring(parents), self._cost_biased(_OFFSPRING), self._elite]), is_new
        )
        value = merit(pool.choices, pool.description)
        is_first = pool.description.prior is not None and not len(self._elite)
        for _ in range((_FIRST_GENERATIONS if is_first else _GENERATIONS) - 1):
            if not len(value):
                break
            best = best_in_niches(pool.description.cost, value, niches=_NICHES, each=_PER_NICHE)
            offspring = self._new_candidates(self._offspring(pool.choices[best]), is_new, known=pool)
            value = np.concatenate([value, merit(offspring.choices, offspring.description)])
            pool = Pool.joined([pool, offspring])
        if len(value):
            best = best_in_niches(pool.description.cost, value, niches=_NICHES, each=_PER_NICHE)
            self._elite = pool.choices[best]
        return pool

    def _with_elite(self, parents: IntArray) -> IntArray:
        if not len(self._elite):
            return parents
        both = np.unique(np.concatenate([parents, self._elite]), axis=0)
        return both[np.argsort(self._describe(both).cost, kind="stable")]

    def _new_candidates(self, choices: IntArray, is_new: IsNew, *, known: Pool | None = None) -> Pool:
        """The distinct new candidates among index tuples, without the candidates of a known pool."""
        choices = np.unique(choices, axis=0)
        if known is not None:
            old = set(map(tuple, known.choices.tolist()))
            choices = choices[[choice not in old for choice in map(tuple, choices.tolist())]]
            if not len(choices):
                return known.rows(np.zeros(0, dtype=np.int64))
        pool = Pool(choices=choices, description=self._describe(choices))
        return pool.rows(np.flatnonzero(is_new(pool)))

    def _cost_biased(self, count: int) -> IntArray:
        """Random index tuples (count, D), each biased by a random amount towards cheap or expensive options.

        Uniform choices in many dimensions concentrate at the middle cost; the bias covers both ends.
        """
        if self._ranks is None:
            self._ranks = _cost_ranks(self._rng, self._cards, self._describe)
        bias = self._rng.uniform(-_LARGEST_BIAS, _LARGEST_BIAS, size=(count, 1))
        columns = [(bias * rank + self._rng.gumbel(size=(count, len(rank)))).argmax(axis=1) for rank in self._ranks]
        return np.stack(columns, axis=1).astype(np.int64)

    def _offspring(self, parents: IntArray) -> IntArray:
        """Mutated crossovers of parents of similar cost; parents are sorted cheapest first."""
        rng, shape = self._rng, (_OFFSPRING, len(self._cards))
        first = rng.integers(len(parents), size=_OFFSPRING)
        reach = rng.integers(-_MATE_DISTANCE, _MATE_DISTANCE + 1, size=_OFFSPRING)
        mate = np.clip(first + reach, 0, len(parents) - 1)
        swapped = (rng.random((_OFFSPRING, 1)) < 0.5) & (rng.random(shape) < 0.5)
        offspring = np.where(swapped, parents[mate], parents[first])
        expected_changes = rng.geometric(0.5, size=(_OFFSPRING, 1))
        mutated = rng.random(shape) < expected_changes / len(self._cards)
        return np.where(mutated, rng.integers(0, np.array(self._cards), size=shape), offspring)


def all_choices(cards: tuple[int, ...]) -> IntArray:
    """All index tuples of a small space, (prod(cards), D).

    >>> all_choices((2, 2)).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    return np.stack(np.unravel_index(np.arange(int(np.prod(cards))), cards), axis=1).astype(np.int64)


def best_in_niches(cost: FloatArray, merit: FloatArray, *, niches: int, each: int) -> IntArray:
    """Rows of the best by merit in every niche of log cost, `each` per niche, cheapest niche first.

    >>> best_in_niches(np.array([1.0, 1.1, 9.0]), np.array([0.2, 0.5, 0.1]), niches=2, each=1).tolist()
    [1, 2]
    """
    log_cost = np.log(cost)
    low, high = float(log_cost.min()), float(log_cost.max())
    niche = np.minimum((log_cost - low) / max(high - low, 1e-12) * niches, niches - 1).astype(np.int64)
    order = np.lexsort((-merit, niche))
    ordered = niche[order]
    return order[np.arange(len(order)) - np.searchsorted(ordered, ordered, side="left") < each]


def stratified_design(rng: np.random.Generator, description: Description, count: int) -> list[int]:
    """Rows of a design: from each stratum of log cost, the candidate farthest from those already chosen.

    With a prior, only the half of a stratum with the higher prior is considered. There are fewer rows than `count` if
    there are too few candidates.
    """
    log_cost = np.log(description.cost)
    edges = np.linspace(log_cost.min(), log_cost.max(), count + 1)
    stratum = np.clip(np.searchsorted(edges, log_cost, side="right") - 1, 0, count - 1)
    shape = (description.features - description.features.mean(axis=0)) / (description.features.std(axis=0) + 1e-9)
    free = np.ones(len(log_cost), dtype=bool)
    picks: list[int] = []
    for j in rng.permutation(count):
        inside = np.flatnonzero(free & (stratum == j))
        if not len(inside):
            inside = np.flatnonzero(free)
            away = np.abs(log_cost[inside] - (edges[j] + edges[j + 1]) / 2)
            inside = inside[np.argsort(away, kind="stable")[:5]]
        if not len(inside):
            break
        if description.prior is not None:
            inside = inside[description.prior[inside] >= np.median(description.prior[inside])]
        inside = rng.permutation(inside)[:200]
        apart = ((shape[inside][:, None] - shape[picks][None]) ** 2).sum(axis=2).min(axis=1, initial=np.inf)
        pick = int(inside[apart.argmax()])
        picks.append(pick)
        free[pick] = False
        if description.identity is not None:
            free &= description.identity != description.identity[pick]
    return picks


def _cost_ranks(rng: np.random.Generator, cards: tuple[int, ...], describe: Describe) -> tuple[FloatArray, ...]:
    """For each dimension, the rank of each option by its effect on cost, from -1 (cheapest) to 1."""
    background = rng.integers(0, np.array(cards), size=(8, len(cards)))
    ranks = []
    for dimension, card in enumerate(cards):
        rows = np.repeat(background[None], card, axis=0)
        rows[:, :, dimension] = np.arange(card)[:, None]
        cost = np.log(describe(rows.reshape(-1, len(cards))).cost).reshape(card, -1).mean(axis=1)
        places = 2.0 * cost.argsort().argsort() / max(card - 1, 1) - 1.0
        ranks.append(places if np.ptp(cost) > 1e-9 else np.zeros(card))
    return tuple(ranks)
