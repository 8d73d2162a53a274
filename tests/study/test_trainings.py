"""A search whose evaluator trains each network, by a clock that trainings alone move on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from searches import run_search

from mnv2search.accuracy.evaluator import Fitting, Preparation, Report
from mnv2search.accuracy.types import Accuracy, EvaluatorInfo
from mnv2search.errors import OptionError
from mnv2search.evaluation import Budget
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import loads
from mnv2search.study.types import Evaluated, Listener, SearchResult, Settings, Storage

SPACE = """
mnv2search: 1
name: small
resolution: [96, 128, 160]
width: [0.35, 0.5, 0.75]
blocks: [[1, 16, 1, 1], {t: [3, 6], c: 24, n: [1, 2], s: 2}, {t: [3, 6], c: 32, n: [1, 2, 3], s: 2}]
"""


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Trains:
    """Takes its time for every network, and knows how long that is."""

    clock: Clock
    takes_s: float
    expects_s: float = 0.0
    limits_s: list[float | None] = field(default_factory=list)
    offered_s: float | None = None
    left_s: Callable[[], float | None] = lambda: None

    info = EvaluatorInfo(name="trains", version="1", kind="trained", dataset="none", metric="top1")

    def fit(self, preparation: Preparation, *, left_s: Callable[[], float | None]) -> Fitting:
        self.left_s, self.offered_s = left_s, preparation.time_s
        if preparation.time_s is None:
            return Fitting(trainings=None)
        return Fitting(
            trainings=int(preparation.time_s / self.takes_s),
            least_s=self.takes_s,
            wanted_s=4 * self.takes_s,
            told=f"one takes {self.takes_s:g} s",
        )

    def expected_s(self, spec: ModelSpec) -> float:
        return self.expects_s or self.takes_s

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        self.limits_s.append(self.left_s())
        self.clock.now_s += self.takes_s
        value = 0.1 + spec.width * spec.size.width / 400
        return Accuracy(value=value, low=value, high=value, metric="top1", kind="trained", dataset="none")


@dataclass
class Heard:
    items: list[Evaluated] = field(default_factory=list)
    notes: list[tuple[str, int]] = field(default_factory=list)

    def listener(self, evaluator: Trains) -> Listener:
        return Listener(
            evaluated=self.items.append,
            progress=lambda _: None,
            noted=lambda text: self.notes.append((text, len(evaluator.limits_s))),
        )


def searched(
    evaluator: Trains,
    *,
    time_s: float | None,
    trials: int | None = None,
    heard: Heard | None = None,
    previous: tuple[Evaluated, ...] = (),
    spent_s: float = 0.0,
) -> SearchResult:
    space = loads(SPACE)
    assert isinstance(space, SearchSpace)
    return run_search(
        space,
        budget=Budget(latency_ms=2.0),
        evaluator=evaluator,
        settings=Settings(time_s=time_s, trials=trials),
        listener=(heard or Heard()).listener(evaluator),
        clock=evaluator.clock,
        storage=Storage(previous=previous),
        spent_s=spent_s,
    )


@pytest.mark.parametrize(("time_s", "trained"), [(200.0, 5), (100.0, 2), (36.0, 1)])
def test_no_training_begins_that_would_not_end_in_time(time_s: float, trained: int) -> None:
    evaluator = Trains(Clock(), takes_s=30.0)
    result = searched(evaluator, time_s=time_s)
    assert len(evaluator.limits_s) == trained
    assert evaluator.clock.now_s <= 0.85 * time_s
    assert result.front


def test_what_was_used_up_before_the_search_is_inside_its_time() -> None:
    evaluator = Trains(Clock(), takes_s=30.0)
    searched(evaluator, time_s=200.0, spent_s=60.0)
    assert evaluator.offered_s == pytest.approx(110.0)
    assert len(evaluator.limits_s) == 3


def test_a_training_is_told_when_it_has_to_end() -> None:
    evaluator = Trains(Clock(), takes_s=30.0)
    searched(evaluator, time_s=100.0)
    assert evaluator.limits_s == [pytest.approx(88.0), pytest.approx(58.0)]


def test_a_time_without_a_single_training_is_refused_with_the_time_that_would_do() -> None:
    evaluator, heard = Trains(Clock(), takes_s=300.0), Heard()
    with pytest.raises(OptionError, match="no time for a single training in 120 s: one takes 300 s") as refused:
        searched(evaluator, time_s=120.0, heard=heard)
    assert evaluator.limits_s == []
    assert "--time 8m for a single short training" in refused.value.hint
    assert "or 31m or more for a search" in refused.value.hint
    assert heard.items, "what was measured is kept for a run that goes on for longer"
    assert searched(Trains(Clock(), takes_s=300.0), time_s=480.0).front


def test_a_run_that_goes_on_without_time_for_more_keeps_what_it_has() -> None:
    heard = Heard()
    searched(Trains(Clock(), takes_s=30.0), time_s=100.0, heard=heard)
    evaluator = Trains(Clock(), takes_s=30.0)
    result = searched(evaluator, time_s=20.0, previous=tuple(heard.items))
    assert evaluator.limits_s == []
    assert result.front


def test_a_user_is_told_what_fits_before_the_first_training() -> None:
    evaluator, heard = Trains(Clock(), takes_s=30.0), Heard()
    result = searched(evaluator, time_s=100.0, heard=heard)
    assert [count for _, count in heard.notes] == [0, 0]
    assert heard.notes[0][0] == "one takes 30 s"
    assert "a first guess; --time 4m or more" in heard.notes[1][0]
    assert result.notes == tuple(text for text, _ in heard.notes)


@pytest.mark.parametrize(("time_s", "rivals"), [(100.0, 0), (200.0, 1), (1200.0, 3)])
def test_mobilenet_v2_is_trained_where_there_is_time_for_others_too(time_s: float, rivals: int) -> None:
    heard = Heard()
    searched(Trains(Clock(), takes_s=30.0), time_s=time_s, trials=None if time_s < 1000 else 8, heard=heard)
    trained = [i for i in heard.items if i.stage == "baseline" and i.evaluation.accuracy is not None]
    assert len(trained) == rivals


def test_without_a_time_every_training_is_made() -> None:
    evaluator = Trains(Clock(), takes_s=30.0)
    result = searched(evaluator, time_s=None, trials=5)
    assert result.trials == 5
    assert set(evaluator.limits_s) == {None}


def test_a_search_that_trained_nothing_says_why() -> None:
    evaluator = Trains(Clock(), takes_s=10.0, expects_s=500.0)
    result = searched(evaluator, time_s=100.0)
    assert not result.front
    assert any("no network was trained" in note for note in result.notes)
