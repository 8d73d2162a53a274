"""The result of a search from its finished evaluations."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from mnv2search.display import Listing
from mnv2search.evaluation import Evaluation
from mnv2search.pareto import front
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.study.types import Evaluated, SearchResult

# Share of the latency budget at which the region of interest begins.
REGION_BEGINS = 0.35
# Most networks measured side by side at the end; more would leave too little time for each.
FINALISTS = 14
# Slots of the region of interest, of equal latency ratios, and the number of finalists from each.
SLOTS, OF_SLOT = 5, 2


def result_of(items: Iterable[Evaluated], *, grid: Collection[ModelSpec] = (), elapsed_s: float) -> SearchResult:
    """The result of evaluations in order; a later evaluation of a network replaces an earlier one.

    The front consists only of networks of the last side-by-side measurement. A run that is resumed and interrupted
    keeps its earlier front. `grid` is the whole MobileNetV2 grid, if known.
    """
    space, final, baseline, beside = _by_stage(items)
    finalists = tuple(e for e in final.values() if e.is_feasible and e.accuracy is not None)
    members = front_of(_by_value(finalists))
    on_front = {e.name for e in members}
    measured = [e for e in {**space, **final}.values() if e.latency is not None]
    return SearchResult(
        front=Listing(members),
        baseline=tuple(baseline.values()),
        dominated=tuple(e for e in measured if e.name not in on_front),
        ship=max(members, key=rank_of, default=None),
        finalists=finalists,
        rivals=tuple(e for e in beside.values() if e.is_feasible),
        fastest=min(measured, key=median_ms_of, default=None),
        closest=min((e for e in space.values() if e.latency is None), key=lambda e: e.violation, default=None),
        trials=len(space),
        elapsed_s=elapsed_s,
        stopped=sum(e.is_stopped for e in space.values()),
        given=sum(e.spec not in grid for e in baseline.values()) if grid else 0,
        has_whole_baseline={e.spec for e in baseline.values()} >= set(grid),
    )


def _by_value(finalists: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
    """The finalists that are on a front by accuracy, if they are ranked by something else, such as a likelihood.

    If any of them is more accurate than a trivial answer, the others are left out.
    """
    if any(e.accuracy is None or e.accuracy.merit is None for e in finalists):
        return tuple(finalists)
    members = front(finalists, maximise=_value_of, minimise=median_ms_of)
    above = [e for e in members if e.accuracy and _value_of(e) > (e.accuracy.commonest or 0.0)]
    return tuple(above or members)


def _value_of(evaluation: Evaluation) -> float:
    return 0.0 if evaluation.accuracy is None else evaluation.accuracy.value


def _by_stage(items: Iterable[Evaluated]) -> tuple[dict[str, Evaluation], ...]:
    """The latest evaluations by name, of the space and of the baseline, each before and in the final measurement."""
    space: dict[str, Evaluation] = {}
    final: dict[str, Evaluation] = {}
    baseline: dict[str, Evaluation] = {}
    beside: dict[str, Evaluation] = {}
    goes_on = False
    for item in items:
        if item.stage in ("calibration", "search"):
            goes_on = True
        elif goes_on and item.stage in ("final", "final-baseline"):
            goes_on = False
            final.clear()
            beside.clear()
        target = {"baseline": baseline, "final-baseline": baseline, "final": final}.get(item.stage, space)
        target[item.evaluation.name] = item.evaluation
        if item.stage == "final-baseline":
            beside[item.evaluation.name] = item.evaluation
    return space, final, baseline, beside


def rank_of(evaluation: Evaluation) -> float:
    """The value that a search maximises (`Accuracy.rank`); 0 if the accuracy is unknown."""
    return evaluation.accuracy.rank if evaluation.accuracy is not None else 0.0


def median_ms_of(evaluation: Evaluation) -> float:
    """Measured median latency in ms, which a search minimises; infinite if not measured."""
    return evaluation.latency.median_ms if evaluation.latency is not None else float("inf")


def front_of(evaluations: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
    """The non-dominated evaluations by `rank_of` and `median_ms_of`, fastest first."""
    return tuple(front(evaluations, maximise=rank_of, minimise=median_ms_of))


def reference_of(baseline: Iterable[Evaluation], *, budget_ms: float) -> tuple[float, float] | None:
    """Accuracy of a far smaller MobileNetV2 and latency budget, which bound the region of interest.

    None, if the baseline has no such accuracy, leaves the bounds to the sampler.
    """
    limit_ms = REGION_BEGINS * budget_ms
    small = [e for e in baseline if e.accuracy is not None and median_ms_of(e) <= limit_ms]
    return (max(rank_of(e) for e in small), budget_ms) if small else None


def finalists_of(known: Sequence[Evaluation], *, budget_ms: float, of_region: bool) -> tuple[Evaluation, ...]:
    """The networks to measure again, side by side: the front or, if large enough, its part in the region of interest.

    With `of_region`, faster networks count only if the region has none, since short training favours them, and the
    best of every slot of the region are added, because separate trainings may put them on the front.
    """

    def within(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
        return [e for e in evaluations if median_ms_of(e) >= REGION_BEGINS * budget_ms]

    members = front_of((within(known) or known) if of_region else known)
    asked_for = within(members)
    chosen = thinned(asked_for if len(asked_for) >= FINALISTS else members, FINALISTS)
    if not of_region:
        return chosen
    others = [e for slot in slots_of(known) for e in slot[:OF_SLOT] if e not in chosen]
    others = sorted(others, key=rank_of, reverse=True)[: FINALISTS - len(chosen)]
    return tuple(sorted((*chosen, *others), key=median_ms_of))


def slots_of(evaluations: Iterable[Evaluation], *, count: int = SLOTS) -> tuple[tuple[Evaluation, ...], ...]:
    """Networks of the region of interest in slots of equal latency ratios, fastest slot first, best network first."""
    slots: list[list[Evaluation]] = [[] for _ in range(count)]
    for evaluation in evaluations:
        share = median_ms_of(evaluation) / evaluation.budget.latency_ms
        if REGION_BEGINS <= share <= 1:
            place = math.log(share / REGION_BEGINS) / -math.log(REGION_BEGINS)
            slots[min(int(place * count), count - 1)].append(evaluation)
    return tuple(tuple(sorted(slot, key=rank_of, reverse=True)) for slot in slots)


def thinned(members: Sequence[Evaluation], most: int) -> tuple[Evaluation, ...]:
    """At most `most` members: half of them the slowest and most accurate, the others spread evenly."""
    if len(members) <= most:
        return tuple(members)
    slow = most // 2
    rest = members[: len(members) - slow]
    step = len(rest) / (most - slow)
    return (*(rest[int(i * step)] for i in range(most - slow)), *members[len(members) - slow :])
