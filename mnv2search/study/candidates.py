"""What can be said of networks of a space without measuring them: counts, a predicted latency, an estimate."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np

from mnv2search.accuracy.types import AccuracyEvaluator
from mnv2search.cost import cost_of
from mnv2search.evaluation import Budget
from mnv2search.latency.predictor import LatencyPredictor
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan, plan
from mnv2search.spec.space import SearchSpace, canonical, resolve
from mnv2search.study.features import features_of
from mnv2search.study.hybrid_description import Description
from mnv2search.study.surrogate import FloatArray, IntArray

__all__ = ["Candidates", "Pick", "TellsBounds", "by_halves", "evenly"]

Pick = tuple[int, ...]
T = TypeVar("T")

# The upper end of a measured interval must fit, so a prediction has to leave room for half of one.
HEADROOM = 0.015
REMEMBERED = 100_000
FEWEST = 50


@runtime_checkable
class TellsBounds(Protocol):
    """An evaluator that knows the lower ends of its intervals by arithmetic, before anything is evaluated."""

    def lower_bounds(self, plans: Sequence[Plan]) -> FloatArray:
        """Lower end of each network's accuracy interval, (N,)."""
        ...


class _Static(NamedTuple):
    """What never changes of a pick."""

    plan: Plan
    features: tuple[float, ...]
    violation: float
    bound: float
    identity: int
    madds: int


class Candidates:
    """Describes picks of a space for a sampler; latencies follow what the predictor has learned so far.

    Args:
        space: whose picks are described.
        budget: against which violations are predicted.
        evaluator: asked for bounds where it can tell them by arithmetic.
        predictor: of latency on the device.
        least: part of the latency budget below which a network counts as one that does not fit.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        budget: Budget,
        evaluator: AccuracyEvaluator,
        predictor: LatencyPredictor,
        least: float = 0.0,
    ) -> None:
        self.space = space
        self._least = least
        self._budget = budget
        self._bounds = evaluator if isinstance(evaluator, TellsBounds) else None
        self._predictor = predictor
        self._static: OrderedDict[Pick, _Static] = OrderedDict()
        self.predicted = 0

    def spec(self, pick: Pick, *, name: str) -> ModelSpec:
        """The network of a pick under a name of its own."""
        return replace(resolve(self.space, pick), name=name)

    def check_bounds(self) -> None:
        """Ask for the bound of every option on its own, so that a refusal comes before anything is measured.

        Raises:
            EvaluatorError: the evaluator cannot tell anything of some option.
        """
        if self._bounds is None:
            return
        first = (0,) * len(self.space.axes)
        picks = {first} | {
            (*first[:axis], option, *first[axis + 1 :])
            for axis, card in enumerate(self.space.cards)
            for option in range(card)
        }
        self._bounds.lower_bounds([plan(resolve(self.space, pick)) for pick in sorted(picks)])

    def describe(self, picks: IntArray) -> Description:
        """The description of picks, (N, axes)."""
        static = self._looked_up([tuple(int(i) for i in row) for row in picks])
        cost, _ = self._predictor.predict_many([s.plan for s in static])
        violation = np.array([s.violation for s in static]) + [
            self._budget.latency_violation(float(ms) * (1 + HEADROOM)) for ms in cost
        ]
        violation += np.maximum(0.0, self._least - cost / self._budget.latency_ms)
        return Description(
            cost=cost,
            features=np.array([s.features for s in static]),
            prior=np.array([s.bound for s in static]) if self._bounds is not None else None,
            violation=violation,
            identity=np.array([s.identity for s in static], dtype=np.int64),
        )

    def spread(self, picks: Sequence[Pick], *, count: int, top: float = 1.3) -> tuple[Pick, ...]:
        """`count` of the picks, spread evenly over predicted latency up to `top` times the budget."""
        cost = self.describe(np.array(picks)).cost
        order = [int(i) for i in np.argsort(cost)]
        within = [i for i in order if cost[i] <= top * self._budget.latency_ms] or order[:count]
        return tuple(picks[place] for place in evenly(within, count))

    def band(self, picks: Sequence[Pick], *, count: int = 1000) -> tuple[Pick, ...]:
        """The picks that are predicted to fit, by multiply-adds.

        Where more do than are asked for, every so many-th of them is taken; where hardly any does, those that are
        predicted to come nearest make up `FEWEST` of them.

        Args:
            picks: to choose from.
            count: at most.
        """
        described = self.describe(np.array(picks))
        assert described.violation is not None
        order = np.argsort(described.violation, kind="stable")
        fitting = int((described.violation == 0).sum())
        if fitting > count:
            order = order[np.arange(count) * fitting // count]
        else:
            order = order[: max(fitting, min(FEWEST, len(picks)))]
        chosen = [picks[int(i)] for i in order]
        madds = {pick: found.madds for pick, found in zip(chosen, self._looked_up(chosen), strict=True)}
        return tuple(sorted(chosen, key=lambda pick: madds[pick]))

    def _looked_up(self, picks: Sequence[Pick]) -> list[_Static]:
        missing = [pick for pick in dict.fromkeys(picks) if pick not in self._static]
        if missing:
            self._compute(missing)
        found = [self._static[pick] for pick in picks]
        while len(self._static) > REMEMBERED:
            self._static.popitem(last=False)
        return found

    def _compute(self, picks: Sequence[Pick]) -> None:
        plans = [plan(resolve(self.space, pick)) for pick in picks]
        bounds = np.zeros(len(plans)) if self._bounds is None else self._bounds.lower_bounds(plans)
        self.predicted += len(plans)
        for pick, laid_out, bound in zip(picks, plans, bounds, strict=True):
            cost = cost_of(laid_out)
            self._static[pick] = _Static(
                plan=laid_out,
                features=features_of(laid_out),
                violation=self._budget.cost_violation(cost),
                bound=float(bound),
                identity=hash(canonical(self.space, pick)),
                madds=cost.madds,
            )


def evenly(items: Sequence[T], count: int) -> tuple[T, ...]:
    """At most `count` of the items, from the first to the last at even distances.

    >>> evenly("abcdefg", 3), evenly("ab", 5)
    (('a', 'd', 'g'), ('a', 'b'))
    """
    places = np.unique(np.linspace(0, len(items) - 1, num=min(count, len(items))).round().astype(int))
    return tuple(items[place] for place in places)


def by_halves(picks: Sequence[T]) -> tuple[T, ...]:
    """The same from the last on, each far from those before it: however soon it ends, what was seen is spread.

    >>> by_halves([(0,), (1,), (2,), (3,)])
    ((3,), (1,), (2,), (0,))
    """
    bits = max(1, (len(picks) - 1).bit_length())
    order = sorted(range(len(picks)), key=lambda place: int(f"{place:0{bits}b}"[::-1], 2))
    return tuple(picks[len(picks) - 1 - place] for place in order)
