"""Groups of networks whose accuracies do not differ significantly (near-equals)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mnv2search.evaluation import Evaluation
from mnv2search.study.results import median_ms_of, rank_of
from mnv2search.tasks.metrics import Difference, difference_of

# Largest difference of near-equals, as a ratio; needed because with few images, even large differences may have
# intervals that include 0.
LARGEST_DIFFERENCE = 0.01

Group = tuple[Evaluation, ...]
"""Near-equals; the first member is the cheapest."""


def difference_between(one: Evaluation, other: Evaluation) -> Difference | None:
    """The difference of two accuracies, as a ratio, with its 90 % interval.

    None if an accuracy is unknown, if the accuracies differ in kind or metric, or if they are scores. Two estimates
    share the unknown training recipe, so the interval of their difference is computed separately and is narrower.
    Other accuracies are treated as independent.
    """
    own, its = one.accuracy, other.accuracy
    if own is None or its is None or own.kind == "proxy" or (own.kind, own.metric) != (its.kind, its.metric):
        return None
    if own.kind != "estimated":
        return difference_of(own, its)
    from mnv2search.accuracy.estimate import gain
    from mnv2search.accuracy.evaluators.imagenet import features_of
    from mnv2search.spec.plan import plan

    return Difference(*gain(features_of(plan(one.spec)), features_of(plan(other.spec))))


def are_near_equal(one: Evaluation, other: Evaluation) -> bool:
    """Whether the difference of two accuracies is at most a point, and its interval includes 0."""
    found = difference_between(one, other)
    return found is not None and found.low <= 0 <= found.high and abs(found.value) <= LARGEST_DIFFERENCE


def near_equals(front: Sequence[Evaluation]) -> tuple[Group, ...]:
    """Group the networks, most accurate group first; a network without near-equals forms a group by itself.

    A group consists of the most accurate network that is in no group yet, and of this network's near-equals. The
    first member is the smallest of those members whose latency interval overlaps that of the fastest.
    """
    left = sorted(front, key=rank_of, reverse=True)
    groups: list[Group] = []
    while left:
        members = [left[0], *(e for e in left[1:] if are_near_equal(left[0], e))]
        groups.append(_cheapest_first(members))
        left = [e for e in left if e not in members]
    return tuple(groups)


def _cheapest_first(members: Iterable[Evaluation]) -> Group:
    fastest, *others = sorted(members, key=median_ms_of)
    limit_ms = fastest.latency.ci_high_ms if fastest.latency else float("inf")
    as_fast = [fastest, *(e for e in others if e.latency and e.latency.ci_low_ms <= limit_ms)]
    cheapest = min(as_fast, key=lambda e: e.cost.size_bytes)
    return (cheapest, *(e for e in (fastest, *others) if e is not cheapest))


def groups_by_name(front: Sequence[Evaluation]) -> Mapping[str, Group]:
    """The group of each network, by the name of the network."""
    return {e.spec.name: group for group in near_equals(front) for e in group}
