"""The search on a simulated device, whose latencies are exact and cost nothing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from searches import run_search

from mnv2search.accuracy.evaluator import AccuracyEvaluator, Evaluator, Method, Preparation, Report
from mnv2search.accuracy.registry import open_evaluator
from mnv2search.accuracy.types import Accuracy, EvaluatorInfo
from mnv2search.errors import EvaluatorError, OptionError
from mnv2search.evaluation import Budget, Evaluation
from mnv2search.latency.runtimes.simulated import SimulatedDevice
from mnv2search.latency.types import Runner
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import Pick, SearchSpace, resolve
from mnv2search.spec.yaml.codec import load_space, loads
from mnv2search.study.engine import Search
from mnv2search.study.latency_model import FEW
from mnv2search.study.phases import FIRST_PICKS
from mnv2search.study.results import median_ms_of
from mnv2search.study.types import Evaluated, Listener, Progress, SearchResult, Settings, Storage

SMALL = """
mnv2search: 1
name: small
resolution: [96, 128, 160]
width: [0.35, 0.5, 0.75]
blocks:
  - [1, 16, 1, 1]
  - {t: [3, 6], c: 24, n: [1, 2], s: 2}
  - {t: [3, 6], c: 32, n: [1, 2, 3], s: 2}
  - {t: 6, c: 64, n: [2, 4], s: 2}
  - {t: 6, c: 160, n: [1, 3], s: 2}
"""
BUDGET_MS = 2.0
BUDGET = Budget(latency_ms=BUDGET_MS)


def small() -> SearchSpace:
    space = loads(SMALL)
    assert isinstance(space, SearchSpace)
    return space


@dataclass
class Heard:
    items: list[Evaluated] = field(default_factory=list)

    def listener(self) -> Listener:
        return Listener(evaluated=self.items.append, progress=lambda _: None)


class Counting:
    """An evaluator that remembers what it was asked."""

    info = EvaluatorInfo(name="counting", version="1", kind="reported", dataset="none", metric="top1")

    def __init__(self) -> None:
        self.asked: list[ModelSpec] = []

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        self.asked.append(spec)
        value = min(0.99, 0.1 + spec.width * spec.size.width / 400)
        return Accuracy(value=value, low=value, high=value, metric="top1", kind="reported", dataset="none")


def searched(
    *,
    trials: int = 24,
    sampler: str = "hybrid",
    seed: int = 0,
    previous: tuple[Evaluated, ...] = (),
    budget: Budget | None = None,
    heard: Heard | None = None,
) -> SearchResult:
    return run_search(
        small(),
        budget=budget or BUDGET,
        settings=Settings(trials=trials, sampler=sampler, seed=seed),
        storage=Storage(previous=previous),
        listener=(heard or Heard()).listener(),
    )


def judged_by(evaluator: AccuracyEvaluator, *, trials: int, heard: Heard | None = None) -> SearchResult:
    listener = (heard or Heard()).listener()
    return run_search(
        small(), budget=BUDGET, evaluator=evaluator, settings=Settings(trials=trials), listener=listener
    )


def fits(evaluation: Evaluation) -> bool:
    assert evaluation.latency is not None
    return evaluation.latency.ci_high_ms <= evaluation.budget.latency_ms


def test_every_member_of_the_front_is_measured_and_fits() -> None:
    result = searched()
    assert result.front
    assert all(e.latency is not None and e.latency.kind == "measured" and fits(e) for e in result.front)


def test_the_front_rises_with_latency() -> None:
    bounds = [e.accuracy.low for e in searched().front if e.accuracy]
    assert bounds == sorted(bounds)
    assert len(set(bounds)) == len(bounds)


def test_the_network_to_ship_is_the_most_accurate_of_the_front() -> None:
    result = searched()
    assert result.ship is result.front[-1]


@pytest.mark.parametrize("sampler", ["hybrid", "nsga2", "tpe", "random"])
def test_trials_are_counted_exactly_and_no_network_twice(sampler: str) -> None:
    heard = Heard()
    result = searched(sampler=sampler, heard=heard)
    picks = [item.pick for item in heard.items if item.pick]
    assert result.trials == len(picks) == len(set(picks)) == 24
    assert [item.trial for item in heard.items if item.pick] == list(range(24))


def test_equal_seeds_give_equal_fronts() -> None:
    first, second = (
        [e.spec.blocks for e in searched(seed=5).front],
        [e.spec.blocks for e in searched(seed=5).front],
    )
    assert first == second


def test_what_does_not_fit_never_costs_an_accuracy() -> None:
    evaluator, heard = Counting(), Heard()
    judged_by(evaluator, trials=20, heard=heard)
    unfit = {i.evaluation.spec for i in heard.items if not i.evaluation.is_feasible}
    assert unfit
    assert unfit.isdisjoint(evaluator.asked)


def test_a_resumed_search_repeats_nothing_and_loses_nothing() -> None:
    heard, again = Heard(), Heard()
    searched(trials=14, heard=heard)
    before = tuple(heard.items)
    result = searched(trials=20, previous=before, heard=again)
    known = {item.pick for item in before if item.pick}
    new = [item.pick for item in again.items if item.pick]
    assert result.trials == 20
    assert len(new) == 6
    assert known.isdisjoint(new)
    assert not [item for item in again.items if item.stage == "baseline"]


def test_an_impossible_budget_ends_with_the_fastest_network() -> None:
    result = searched(trials=13, budget=Budget(latency_ms=0.001))
    assert result.front == ()
    assert result.ship is None
    assert result.fastest is not None
    assert result.fastest.latency is not None


@pytest.mark.parametrize("evaluator", [open_evaluator("imagenet"), Counting()], ids=["cheap", "dear"])
def test_however_little_time_there_is_networks_of_the_space_are_measured(evaluator: AccuracyEvaluator) -> None:
    budget, clock = Budget(latency_ms=100_000.0), itertools.count().__next__  # a second passes at every look
    result = run_search(small(), budget=budget, evaluator=evaluator, settings=Settings(time_s=1.0), clock=clock)
    assert result.trials > 0
    assert result.front


def test_where_counts_exclude_everything_the_nearest_is_known() -> None:
    result = searched(trials=13, budget=Budget(latency_ms=50.0, params=100))
    assert result.fastest is None
    assert result.closest is not None
    assert result.closest.cost.params > 100


def test_capped_counts_exclude_networks_before_they_are_measured() -> None:
    heard = Heard()
    result = searched(budget=Budget(latency_ms=50.0, params=700_000), heard=heard)
    over = [i for i in heard.items if i.pick and i.evaluation.cost.params > 700_000]
    assert over
    assert all(item.evaluation.latency is None for item in over)
    assert all(e.cost.params <= 700_000 for e in result.front)


def test_a_latency_band_has_a_lower_end() -> None:
    result = searched(budget=Budget(latency_ms=BUDGET_MS, latency_min_ms=1.0))
    assert result.front
    assert all(e.latency is not None and e.latency.median_ms >= 1.0 for e in result.front)


def test_a_space_smaller_than_the_trials_is_exhausted() -> None:
    space = load_space("mnv2-multipliers")
    result = run_search(space, budget=Budget(latency_ms=20.0), settings=Settings(trials=500))
    assert result.exhausted
    assert result.trials == 30


def test_small_images_are_refused_before_anything_is_measured() -> None:
    heard = Heard()
    space, budget, settings = load_space("tiny32"), Budget(latency_ms=5.0), Settings(trials=5)
    with pytest.raises(EvaluatorError, match="no ImageNet estimate"):
        run_search(space, budget=budget, settings=settings, listener=heard.listener())
    assert heard.items == []


def test_an_evaluator_that_costs_something_is_asked_for_few_of_the_baseline() -> None:
    evaluator, heard = Counting(), Heard()
    judged_by(evaluator, trials=16, heard=heard)
    baseline = [i.evaluation for i in heard.items if i.stage == "baseline"]
    assert len(baseline) == 30
    assert sum(e.accuracy is not None for e in baseline) == 3
    assert len(evaluator.asked) == len(set(evaluator.asked))


class SlowToLoad(SimulatedDevice):
    """Takes seconds of the wall clock for every network that it loads."""

    def __init__(self, *, load_s: float) -> None:
        super().__init__()
        self.load_ns = round(1e9 * load_s)

    def prepare(self, spec: ModelSpec) -> Runner:
        self._time.advance(wall_ns=self.load_ns, cpu_ns=0)
        return super().prepare(spec)

    def now_s(self) -> float:
        return self._time.wall_ns() / 1e9


@pytest.mark.parametrize("evaluator", ["imagenet", Counting()], ids=["arithmetic", "asked"])
@pytest.mark.parametrize("load_s", [1.0, 2.5])
def test_a_device_that_loads_slowly_is_given_no_more_than_there_is_time_for(
    load_s: float, evaluator: AccuracyEvaluator | str
) -> None:
    heard, device = Heard(), SlowToLoad(load_s=load_s)
    result = Search(
        small(),
        device=device,
        evaluator=open_evaluator(evaluator) if isinstance(evaluator, str) else evaluator,
        budget=BUDGET,
        settings=Settings(time_s=90.0),
        listener=heard.listener(),
        clock=device.now_s,
    ).run()
    baseline = [i.evaluation for i in heard.items if i.stage == "baseline"]
    assert FEW <= len(baseline) < 30
    assert max(e.latency.median_ms for e in baseline if e.latency and fits(e)) > 0.8 * BUDGET_MS
    assert result.front
    assert device.now_s() <= 90.0 + 2 * load_s
    (note,) = result.notes
    assert note.startswith(
        f"only {len(baseline)} of the 30 networks of the MobileNetV2 grid were measured, because "
        "20 % of the search time is reserved for them and each takes "
    )


def test_where_time_is_short_one_network_of_the_baseline_has_to_do() -> None:
    evaluator, heard = Counting(), Heard()
    clock = itertools.count().__next__  # the time is over at once
    settings, listener = Settings(time_s=1.0), heard.listener()
    run_search(small(), budget=BUDGET, evaluator=evaluator, settings=settings, listener=listener, clock=clock)
    baseline = [i.evaluation for i in heard.items if i.stage == "baseline"]
    known = [e for e in baseline if e.accuracy is not None]
    fitting = [e for e in baseline if fits(e)]
    assert len(baseline) == FEW
    assert known == [max(fitting, key=lambda e: e.latency.median_ms if e.latency else 0.0)]


def test_what_costs_something_is_asked_for_near_the_budget_first() -> None:
    heard = Heard()
    judged_by(Counting(), trials=8, heard=heard)
    first = [i.evaluation.latency.median_ms for i in heard.items if i.stage == "calibration" and i.evaluation.latency]
    assert first[0] == max(first)
    assert first[0] > 0.8 * BUDGET_MS
    assert first[1] < sorted(first)[4]  # and then far from it


def test_what_an_evaluator_reports_is_told_of() -> None:
    class Reporting(Counting):
        def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
            report(2, 0.25)
            return super().evaluate(spec, seed=seed, report=report)

    told: list[Progress] = []
    listener = Listener(evaluated=lambda _: None, progress=told.append)
    run_search(small(), budget=BUDGET, evaluator=Reporting(), settings=Settings(trials=1), listener=listener)
    doing = {(progress.phase, progress.doing.partition(": ")[2]) for progress in told if progress.doing}
    words = ("evaluation begins", "25.0 % top1 at step 2")
    assert doing == {(phase, told_of) for phase in ("baseline", "calibration") for told_of in words}


def test_a_single_network_is_no_space() -> None:
    space, settings = SearchSpace(template=small().template, axes=()), Settings(trials=3)
    with pytest.raises(OptionError, match="nothing to search"):
        run_search(space, budget=BUDGET, settings=settings)


def test_a_rival_beyond_another_limit_still_counts() -> None:
    heard = Heard()
    searched(budget=Budget(latency_ms=BUDGET_MS, params=1_700_000), heard=heard)
    baseline = [i.evaluation for i in heard.items if i.stage == "baseline"]
    assert any(e.cost.params > 1_700_000 for e in baseline)
    assert all(e.accuracy is not None for e in baseline)


class Undertrained(Counting):
    """Prepares itself, and so briefly that smaller networks come out better."""

    def __init__(self) -> None:
        super().__init__()
        self.band: tuple[Pick, ...] = ()

    def prepare(self, preparation: Preparation) -> tuple[str, ...]:
        self.band = tuple(preparation.band)
        return ("prepared",)

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        self.asked.append(spec)
        value = 0.9 / (1 + spec.width * spec.size.width / 400)
        return Accuracy(value=value, low=value, high=value, metric="top1", kind="inherited", dataset="none")


def test_a_prepared_evaluator_is_trusted_within_the_region_it_prepared_itself_for() -> None:
    evaluator = Undertrained()
    result = judged_by(evaluator, trials=24)
    assert "prepared" in result.notes
    assert evaluator.band
    assert result.front
    least = min(e.latency.median_ms for e in result.front if e.latency is not None)
    assert least >= 0.35 * BUDGET_MS
    smaller = [e for e in result.dominated if e.latency is not None and e.latency.median_ms < 0.35 * BUDGET_MS]
    assert any(e.accuracy is not None for e in smaller), "the first networks hold none that would have won"


def test_the_first_networks_reach_up_to_the_budget_however_long_a_preparation_took() -> None:
    spent_s, heard = [0.0], Heard()

    class Prepared(Undertrained):
        def prepare(self, preparation: Preparation) -> tuple[str, ...]:
            spent_s[0] += preparation.time_s or 0.0
            return super().prepare(preparation)

        def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
            spent_s[0] += 0.5
            return super().evaluate(spec, seed=seed, report=report)

    device = SlowToLoad(load_s=0.01)
    Search(
        small(),
        device=device,
        evaluator=Prepared(),
        budget=BUDGET,
        settings=Settings(time_s=60.0),
        listener=heard.listener(),
        clock=lambda: spent_s[0] + device.now_s(),
    ).run()
    first = [i.evaluation for i in heard.items if i.stage == "calibration"]
    fitting = [e.latency.median_ms for e in first if e.latency is not None and fits(e)]
    assert len(first) == FIRST_PICKS
    assert max(fitting) > 0.8 * BUDGET_MS


@pytest.mark.parametrize("trials", [1, 3])
def test_fewer_trials_than_first_networks_are_spread_over_them(trials: int) -> None:
    heard = Heard()
    judged_by(Undertrained(), trials=trials, heard=heard)
    found = [i.evaluation.latency.median_ms for i in heard.items if i.pick and i.evaluation.latency is not None]
    assert len(found) == trials
    assert min(found) < 0.5 * BUDGET_MS
    assert trials == 1 or max(found) > 0.8 * BUDGET_MS


def test_the_limit_of_the_time_is_chosen_by_the_slowest_network_of_the_grid_that_fits() -> None:
    asked: list[ModelSpec] = []

    def limit(spec: ModelSpec) -> float:
        asked.append(spec)
        return 0.0

    settings = Settings(trials=30, time_s=1e6)
    result = run_search(small(), budget=BUDGET, settings=settings, limit=limit)
    fitting = [e for e in result.baseline if e.is_feasible]
    assert asked == [max(fitting, key=median_ms_of).spec]
    assert result.trials < 30


class Given(Evaluator):
    """An evaluator whose initial weights are those of a network of the space that exceeds the budget."""

    info = Counting.info

    def given(self, space: SearchSpace) -> ModelSpec:
        return resolve(space, [len(axis.options) - 1 for axis in space.axes])

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        return Counting().evaluate(spec, seed=seed, report=report)


class FromNothing(Given):
    """The same evaluator with random initial weights."""

    def given(self, space: SearchSpace) -> None:  # type: ignore[override]
        del space


class GivenShared(Given):
    method: Method = "shared weights"


def begun(evaluator: Evaluator) -> list[Pick]:
    """The picks of the initial design, in the order of their evaluation."""
    heard = Heard()
    assert judged_by(evaluator, trials=20, heard=heard).trials == 20
    return [item.pick for item in heard.items if item.stage == "calibration"]


def alike(picks: Sequence[Pick]) -> list[bool]:
    """Whether each network differs from the given one in its resolution and its numbers of blocks only."""
    given = Given().given(small())
    own = [replace(block, repeats=1) for block in given.blocks]
    specs = [resolve(small(), pick) for pick in picks]
    return [spec.width == given.width and [replace(b, repeats=1) for b in spec.blocks] == own for spec in specs]


def test_networks_that_keep_the_given_weights_are_trained_first() -> None:
    assert alike(begun(Given()))[0]
    assert not alike(begun(FromNothing()))[0]


def test_networks_that_keep_the_given_weights_are_in_the_design_of_shared_weights() -> None:
    assert any(alike(begun(GivenShared())))
    assert not all(alike(begun(GivenShared())))
