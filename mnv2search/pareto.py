"""Pareto fronts of accuracy against cost, and their hypervolume."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeVar

from mnv2search.errors import OptionError

_T = TypeVar("_T")


def front(items: Iterable[_T], *, maximise: Callable[[_T], float], minimise: Callable[[_T], float]) -> tuple[_T, ...]:
    """The non-dominated items, cheapest first.

    An item is dominated by another that is at least as good in both values and better in one. Of items equal in both
    values, only the first is kept. Items with a NaN are left out; infinities are compared like other values.

    >>> front([(0.7, 9.0), (0.6, 4.0), (0.5, 5.0)], maximise=lambda p: p[0], minimise=lambda p: p[1])
    ((0.6, 4.0), (0.7, 9.0))
    """
    valued = [(minimise(item), maximise(item), item) for item in items]
    known = [row for row in valued if not (math.isnan(row[0]) or math.isnan(row[1]))]
    members: list[_T] = []
    best: float | None = None
    for _, high, item in sorted(known, key=lambda row: (row[0], -row[1])):
        if best is None or high > best:
            members.append(item)
            best = high
    return tuple(members)


def hypervolume(points: Iterable[tuple[float, float]], *, reference: tuple[float, float]) -> float:
    """Area dominated by points of (accuracy, cost), bounded by a reference of lower accuracy and higher cost.

    Points that are not better than the reference in both values, have a NaN, or are dominated add nothing.

    Raises:
        OptionError: the reference is not finite.

    >>> hypervolume([(0.75, 10.0), (0.5, 4.0)], reference=(0.25, 20.0))
    6.5
    """
    floor, ceiling = reference
    if not (math.isfinite(floor) and math.isfinite(ceiling)):
        raise OptionError(f"reference is {reference}", hint="give a finite accuracy and a finite cost")
    inside = [point for point in points if point[0] > floor and point[1] < ceiling]
    area, reached = 0.0, floor
    for accuracy, cost in front(inside, maximise=lambda p: p[0], minimise=lambda p: p[1]):
        area += (accuracy - reached) * (ceiling - cost)
        reached = accuracy
    return area
