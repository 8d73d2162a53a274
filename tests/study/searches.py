"""Searches on the simulated device."""

from __future__ import annotations

from typing import Any

from mnv2search.accuracy.evaluator import AccuracyEvaluator
from mnv2search.accuracy.registry import open_evaluator
from mnv2search.evaluation import Budget
from mnv2search.latency.registry import open_device
from mnv2search.spec.space import SearchSpace
from mnv2search.study.engine import Search
from mnv2search.study.types import SearchResult

__all__ = ["run_search"]


def run_search(
    space: SearchSpace, *, budget: Budget, evaluator: AccuracyEvaluator | None = None, **options: Any
) -> SearchResult:
    """The result of a search, by ImageNet's estimate if no evaluator is given, with other options of `Search`."""
    judge = evaluator or open_evaluator("imagenet")
    with open_device("simulated") as device:
        return Search(space, device=device, evaluator=judge, budget=budget, **options).run()
