"""Fronts and hypervolumes against definitions written out by brute force."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2search.errors import OptionError
from mnv2search.pareto import front, hypervolume

Point = tuple[float, float]

# few distinct values, so that ties and duplicates are common
whole = st.integers(0, 8).map(float)
points = st.lists(st.tuples(whole, whole), max_size=14)
REFERENCE = (2.0, 7.0)


def front_of(items: list[Point]) -> tuple[Point, ...]:
    return front(items, maximise=lambda p: p[0], minimise=lambda p: p[1])


def beats(a: Point, b: Point) -> bool:
    return a[0] >= b[0] and a[1] <= b[1] and a != b


def counted_cells(items: list[Point]) -> int:
    """Unit cells of the reference box whose worse corner some point reaches."""
    return sum(
        any(accuracy >= a + 1 and cost <= c for accuracy, cost in items)
        for a in range(int(REFERENCE[0]), 8)
        for c in range(int(REFERENCE[1]))
    )


@given(points)
def test_the_front_is_what_nothing_beats(items: list[Point]) -> None:
    unbeaten = {p for p in items if not any(beats(q, p) for q in items)}
    assert set(front_of(items)) == unbeaten


@given(points)
def test_the_front_comes_cheapest_first_without_repeats(items: list[Point]) -> None:
    costs = [cost for _, cost in front_of(items)]
    assert costs == sorted(set(costs))


def test_of_equal_items_the_first_remains() -> None:
    items = [("b", 0.5, 3.0), ("a", 0.5, 3.0)]
    assert front(items, maximise=lambda i: i[1], minimise=lambda i: i[2]) == (("b", 0.5, 3.0),)


@pytest.mark.parametrize("broken", [(math.nan, 1.0), (9.0, math.nan)], ids=["accuracy", "cost"])
def test_an_item_with_a_nan_is_left_out(broken: Point) -> None:
    assert front_of([broken, (1.0, 2.0)]) == ((1.0, 2.0),)


@pytest.mark.parametrize("items", [[(-math.inf, 1.0)], [(math.inf, -math.inf)]], ids=["worst", "best"])
def test_infinities_are_values(items: list[Point]) -> None:
    assert front_of(items) == tuple(items)


@given(points)
def test_hypervolume_counts_the_cells_dominated(items: list[Point]) -> None:
    assert hypervolume(items, reference=REFERENCE) == counted_cells(items)


@given(points.filter(bool), st.data())
def test_a_dominated_point_changes_no_hypervolume(items: list[Point], data: st.DataObject) -> None:
    accuracy, cost = data.draw(st.sampled_from(items))
    worse = (accuracy - data.draw(whole), cost + data.draw(whole))
    assert hypervolume([*items, worse], reference=REFERENCE) == hypervolume(items, reference=REFERENCE)


@given(points, st.tuples(whole, whole))
def test_another_point_never_lowers_the_hypervolume(items: list[Point], another: Point) -> None:
    assert hypervolume([*items, another], reference=REFERENCE) >= hypervolume(items, reference=REFERENCE)


def test_a_nan_adds_no_hypervolume() -> None:
    assert hypervolume([(math.nan, 1.0), (3.0, math.nan), (3.0, 6.0)], reference=REFERENCE) == 1.0


def test_an_infinite_reference_is_refused() -> None:
    with pytest.raises(OptionError, match="reference is"):
        hypervolume([(1.0, 1.0)], reference=(0.0, math.inf))
