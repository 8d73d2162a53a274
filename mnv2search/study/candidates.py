"""Descriptions of unmeasured networks: counts, a predicted latency, and an estimated accuracy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mnv2search.accuracy.evaluator import Evaluator
from mnv2search.cost import cost_of, unit_cost
from mnv2search.evaluation import Budget
from mnv2search.latency.prediction.predictor import LatencyPredictor
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan, Unit, plan
from mnv2search.spec.space import Pick, SearchSpace, canonical, resolve
from mnv2search.study.hybrid.candidates import Description
from mnv2search.study.hybrid.surrogate import FloatArray, IntArray

T = TypeVar("T")

# The upper end of a measured interval must fit, so a prediction leaves room for half an interval.
HEADROOM = 0.015
# Highest interest of networks that are faster than the region of interest.
OF_FAST = 1e-3
# Picks whose features are cached, at about 1 kB each; more than the sampler considers between two fits.
REMEMBERED = 20_000
# Fewest picks of a band, if the space has as many.
FEWEST = 50


FEATURES = (
    "log_madds",
    "log_body_params",
    "log_activations",
    "log_blocks",
    "depthwise_share",
    "large_kernel_share",
    "mean_log_hidden",
    "log_resolution",
    "log_stage_blocks",
    "log_expansion",
)
LARGE_KERNEL = 5


def features_of(laid_out: Plan) -> tuple[float, ...]:
    """The features of a network without its classifier, in the order of `FEATURES`.

    Blocks of the same output size form a stage: blocks spread evenly over stages help more than as many in one.
    """
    columns = zip(*(_counts(unit) for unit in laid_out.features), strict=True)
    madds, params, activations, depthwise_madds, blocks, large_kernels, log_hidden, log_expansion = map(sum, columns)
    blocks = max(1, blocks)
    stages = Counter(unit.layers[-1].size_out for unit in laid_out.features if unit.kind == "block")
    return (
        math.log(madds),
        math.log(params),
        math.log(activations),
        math.log(blocks),
        depthwise_madds / madds,
        large_kernels / blocks,
        log_hidden / blocks,
        math.log(math.sqrt(laid_out.spec.size.area)),
        sum(math.log1p(count) for count in stages.values()),
        math.log1p(log_expansion),
    )


@lru_cache(maxsize=16_384)
def _counts(unit: Unit) -> tuple[float, ...]:
    """Additive counts of a unit, in the order in which `features_of` sums them."""
    cost = unit_cost(unit)
    depthwise = [layer for layer in unit.layers if layer.role == "depthwise"]
    hidden = max((layer.c_in for layer in unit.layers if layer.role in ("depthwise", "projection")), default=1)
    is_block = unit.kind == "block"
    return (
        cost.madds,
        cost.params,
        sum(layer.c_out * layer.size_out.area for layer in unit.layers),
        sum(layer.weights * layer.size_out.area for layer in depthwise),
        int(is_block),
        int(is_block and any(layer.kernel >= LARGE_KERNEL for layer in unit.layers)),
        math.log(hidden) if is_block else 0.0,
        max(0.0, math.log(hidden / unit.layers[0].c_in)) if is_block else 0.0,
    )


class _Figures:
    """Features of picks that never change, one row per pick; plans would take several times as much memory."""

    def __init__(self) -> None:
        self.rows: dict[Pick, int] = {}
        self._columns: dict[str, NDArray[Any]] = {}

    def add(self, picks: Sequence[Pick], **columns: NDArray[Any]) -> None:
        begin = len(self.rows)
        for name, values in columns.items():
            held = self._columns.setdefault(name, np.empty((1024, *values.shape[1:]), dtype=values.dtype))
            while len(held) < begin + len(picks):
                held = self._columns[name] = np.concatenate([held, np.empty_like(held)])
            held[begin : begin + len(picks)] = values
        self.rows.update(zip(picks, range(begin, begin + len(picks)), strict=True))

    def columns(self, picks: Sequence[Pick]) -> dict[str, NDArray[Any]]:
        rows = [self.rows[pick] for pick in picks]
        return {name: values[rows] for name, values in self._columns.items()}


class Candidates:
    """Describes picks of a space for a sampler, with the latencies that the predictor currently predicts.

    Args:
        space: search space of the picks.
        budget: limits for predicted violations.
        evaluator: source of lower bounds if its method is arithmetic.
        predictor: latency predictor of the device.
        least: share of the latency budget below which networks are of little interest.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        budget: Budget,
        evaluator: Evaluator,
        predictor: LatencyPredictor,
        least: float = 0.0,
    ) -> None:
        self.space = space
        self._least = least
        self._budget = budget
        self._bounds = evaluator if evaluator.method == "arithmetic" else None
        self._predictor = predictor
        self._figures = _Figures()
        self.predicted = 0

    def spec(self, pick: Pick, *, name: str) -> ModelSpec:
        """The network of a pick, renamed."""
        return replace(resolve(self.space, pick), name=name)

    def check_bounds(self) -> None:
        """Compute the bound of every single option, so that errors occur before anything is measured.

        Raises:
            EvaluatorError: an option has no bound.
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
        """Describe picks, (N, axes)."""
        figures = self._looked_up(list(map(tuple, picks.tolist())))
        cost, _ = self._predictor.predict_features(figures["latency"])
        violation = figures["violation"] + [self._budget.latency_violation(float(ms) * (1 + HEADROOM)) for ms in cost]
        shortfall = self._shortfall(cost)
        return Description(
            cost=cost,
            features=figures["features"],
            prior=figures["bound"] if self._bounds is not None else None,
            violation=violation,
            interest=np.where(shortfall > 0, OF_FAST * np.exp(-shortfall), 1.0) if self._least else None,
            identity=figures["identity"],
        )

    def _shortfall(self, cost: FloatArray) -> FloatArray:
        """How far latencies are below the region of interest, as shares of the budget; 0 within the region."""
        return np.maximum(0.0, self._least - cost / self._budget.latency_ms)

    def fits(self, pick: Pick, *, share: float = 1.0) -> bool:
        """Whether a pick is predicted to be within all limits, and within a share of the latency budget."""
        described = self.describe(np.array([pick]))
        assert described.violation is not None
        return not described.violation.any() and float(described.cost[0]) <= share * self._budget.latency_ms

    def spread(self, picks: Sequence[Pick], *, count: int, top: float = 1.3) -> tuple[Pick, ...]:
        """Choose `count` picks, spread evenly over predicted latencies up to `top` times the budget."""
        cost = self.describe(np.array(picks)).cost
        order = [int(i) for i in np.argsort(cost)]
        within = [i for i in order if cost[i] <= top * self._budget.latency_ms] or order[:count]
        return tuple(picks[place] for place in evenly(within, count))

    def band(self, picks: Sequence[Pick], *, count: int = 1000) -> tuple[Pick, ...]:
        """At most `count` picks that are predicted to fit, sorted by multiply-adds.

        If more fit, they are thinned evenly; if fewer than `FEWEST` fit, the picks nearest to the budget are added.
        """
        described = self.describe(np.array(picks))
        assert described.violation is not None
        outside = described.violation + self._shortfall(described.cost)
        order = np.argsort(outside, kind="stable")
        fitting = int((outside == 0).sum())
        if fitting > count:
            order = order[np.arange(count) * fitting // count]
        else:
            order = order[: max(fitting, min(FEWEST, len(picks)))]
        chosen = [picks[int(i)] for i in order]
        by_madds = np.argsort(self._looked_up(chosen)["madds"], kind="stable")
        return tuple(chosen[int(i)] for i in by_madds)

    def _looked_up(self, picks: Sequence[Pick]) -> dict[str, NDArray[Any]]:
        missing = [pick for pick in dict.fromkeys(picks) if pick not in self._figures.rows]
        if len(self._figures.rows) + len(missing) > REMEMBERED:
            self._figures, missing = _Figures(), list(dict.fromkeys(picks))
        if missing:
            self._compute(missing)
        return self._figures.columns(picks)

    def _compute(self, picks: Sequence[Pick]) -> None:
        plans = [plan(resolve(self.space, pick)) for pick in picks]
        costs = [cost_of(laid_out) for laid_out in plans]
        self.predicted += len(plans)
        self._figures.add(
            picks,
            latency=self._predictor.features(plans),
            features=np.array([features_of(laid_out) for laid_out in plans]),
            bound=np.zeros(len(plans)) if self._bounds is None else self._bounds.lower_bounds(plans),
            violation=np.array([self._budget.cost_violation(cost) for cost in costs]),
            identity=np.array([hash(canonical(self.space, pick)) for pick in picks], dtype=np.int64),
            madds=np.array([cost.madds for cost in costs], dtype=np.int64),
        )


def evenly(items: Sequence[T], count: int) -> tuple[T, ...]:
    """At most `count` of the items, evenly spaced from the first to the last.

    >>> evenly("abcdefg", 3), evenly("ab", 5)
    (('a', 'd', 'g'), ('a', 'b'))
    """
    places = np.unique(np.linspace(0, len(items) - 1, num=min(count, len(items))).round().astype(int))
    return tuple(items[place] for place in places)


def by_halves(picks: Sequence[T]) -> tuple[T, ...]:
    """The items in bit-reversed order, last item first, so that every prefix is spread over all items.

    >>> by_halves([(0,), (1,), (2,), (3,)])
    ((3,), (1,), (2,), (0,))
    """
    bits = max(1, (len(picks) - 1).bit_length())
    order = sorted(range(len(picks)), key=lambda place: int(f"{place:0{bits}b}"[::-1], 2))
    return tuple(picks[len(picks) - 1 - place] for place in order)
