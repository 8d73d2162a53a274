"""Successive halving among networks of similar latency."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from searches import run_search
from test_engine import BUDGET_MS, Heard, small

from mnv2search.accuracy.evaluator import Halving, Report, StopEarly
from mnv2search.accuracy.types import Accuracy, EvaluatorInfo
from mnv2search.evaluation import Budget
from mnv2search.report.search.run import run_json, ship_lines
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.study.results import median_ms_of
from mnv2search.study.successive_halving import Rungs
from mnv2search.study.types import Evaluated, SearchResult, Settings, Storage

THIRDS = Halving(rungs=(1, 3), reduction=3)


def climbed(rungs: Rungs, values: Sequence[float], *, median_ms: float = 10.0) -> list[bool]:
    """Whether each of these goes on from step 1, one after the other."""
    found = []
    for value in values:
        found.append(not rungs.is_behind(median_ms, 1, value))
        rungs.add(median_ms, ((1, value),), None)
    return found


def test_one_in_three_goes_on_once_three_were_there() -> None:
    assert climbed(Rungs(THIRDS), [0.3, 0.1, 0.2, 0.4, 0.3, 0.35, 0.39]) == [
        True,  # the first two have too few to be compared with
        True,
        False,  # of three the best one
        True,
        False,
        True,  # of six the best two
        True,
    ]


def test_equal_ones_go_on_together() -> None:
    assert climbed(Rungs(THIRDS), [0.3] * 6) == [True] * 6


@pytest.mark.parametrize(
    ("median_ms", "is_compared"),
    [(13.4, False), (13.3, True), (10.0, True), (9.6, True), (9.5, False)],
    ids=["much slower", "slower", "alike", "as measured", "faster"],
)
def test_only_what_is_about_as_fast_is_compared_with(median_ms: float, is_compared: bool) -> None:
    rungs = Rungs(THIRDS)
    climbed(rungs, [0.5, 0.6], median_ms=10.0)
    assert rungs.is_behind(median_ms, 1, 0.1) is is_compared


def test_steps_between_rungs_stop_nothing() -> None:
    rungs = Rungs(THIRDS)
    for value in (0.5, 0.6, 0.7):
        rungs.add(10.0, tuple((step, value) for step in range(1, 5)), value)
    watch = rungs.watch(10.0)
    watch(2, 0.0)
    assert [rungs.is_behind(10.0, step, 0.0) for step in (1, 2, 3, 4)] == [True, False, True, False]
    with pytest.raises(StopEarly, match="at step 3"):
        watch(3, 0.1)
    assert watch.curve == ((2, 0.0), (3, 0.1))


@given(st.lists(st.floats(0, 1), max_size=30), st.integers(2, 5))
def test_the_best_so_far_always_goes_on(values: list[float], reduction: int) -> None:
    rungs = Rungs(Halving(rungs=(1,), reduction=reduction))
    found = climbed(rungs, values)
    assert all(found[: reduction - 1])
    assert not rungs.is_behind(10.0, 1, max(values, default=0.0))


def test_what_was_stopped_is_reckoned_with_by_the_growth_of_the_others() -> None:
    rungs = Rungs(THIRDS)
    assert rungs.expected(((1, 0.2),)) == 0.2
    rungs.add(10.0, ((1, 0.2), (3, 0.5)), 0.6)
    rungs.add(10.0, ((1, 0.3),), None)
    rungs.add(10.0, ((1, 0.2), (3, 0.4)), 0.8)
    assert rungs.expected(((1, 0.1),)) == pytest.approx(0.1 * (3 + 4) / 2)
    assert rungs.expected(((1, 0.2), (3, 0.3))) == pytest.approx(0.3 * (1.2 + 2) / 2)
    assert rungs.expected(((1, 0.9),)) == 1.0


class Climbing:
    """Nine steps of a training that comes to what width, resolution and depth are worth, and to some luck."""

    info = EvaluatorInfo(name="climbing", version="1", kind="trained", dataset="none", metric="top1")

    def __init__(self, halving: Halving | None) -> None:
        self.halving = halving
        self.steps = 0

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        rng = random.Random(f"{spec.blocks} {spec.width} {spec.resolution}")
        worth = spec.width * spec.size.width / 60 + 0.02 * sum(row.repeats for row in spec.blocks)
        final = 0.9 * (1 - math.exp(-worth)) + rng.gauss(0, 0.01)
        for step in range(1, 10):
            self.steps += 1
            report(step, final * (1 - math.exp(-0.4 * step)) + rng.gauss(0, 0.01))
        return Accuracy(value=final, low=final, high=final, metric="top1", kind="trained", dataset="none", seed=seed)


def searched(
    halving: Halving | None, *, trials: int = 40, previous: Sequence[Evaluated] = ()
) -> tuple[SearchResult, Climbing, list[Evaluated]]:
    evaluator, heard = Climbing(halving), Heard()
    result = run_search(
        small(),
        budget=Budget(latency_ms=BUDGET_MS),
        evaluator=evaluator,
        settings=Settings(trials=trials),
        storage=Storage(previous=previous),
        listener=heard.listener(),
    )
    return result, evaluator, heard.items


def test_a_search_stops_what_falls_behind_and_shows_nothing_of_it() -> None:
    halved, thrifty, items = searched(Halving(rungs=(1, 3), reduction=3))
    whole, patient, _ = searched(None)
    stopped = [item.evaluation for item in items if item.evaluation.is_stopped]
    assert halved.stopped == len(stopped) > 0
    assert whole.stopped == 0
    assert thrifty.steps < 0.75 * patient.steps
    assert all(e.accuracy is None and e.curve[-1][0] in (1, 3) for e in stopped)
    shown = {e.spec for e in (*halved.front, *halved.baseline)}
    assert not shown & {e.spec for e in stopped}
    finished = [item.evaluation for item in items if item.stage in ("calibration", "search")]
    assert all(e.accuracy is None or e.curve[-1][0] == 9 for e in finished)


def test_what_was_stopped_is_counted_in_the_answer() -> None:
    result, _, _ = searched(THIRDS, trials=20)
    assert result.stopped
    told = "\n".join(ship_lines(result, folder=Path("results/mine")))
    assert f"{result.stopped} of them stopped early and without an accuracy" in told
    assert run_json(result, folder=Path("results/mine"), status="finished")["stopped"] == result.stopped


def test_a_resumed_search_knows_its_rungs() -> None:
    _, _, items = searched(THIRDS, trials=20)
    kept = [item for item in items if item.stage not in ("final", "final-baseline")]
    resumed, _, more = searched(THIRDS, trials=40, previous=kept)
    assert resumed.stopped > sum(item.evaluation.is_stopped for item in kept)
    rungs = Rungs(THIRDS)
    for item in (*kept, *(item for item in more if item.stage == "search")):
        evaluation = item.evaluation
        behind = [step for step, value in evaluation.curve if rungs.is_behind(median_ms_of(evaluation), step, value)]
        assert behind == ([evaluation.curve[-1][0]] if evaluation.is_stopped else [])
        if evaluation.curve:
            rungs.add(median_ms_of(evaluation), evaluation.curve, None)
