"""Searches whose networks are evaluated by workers."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from inline_workers import SPACE, InlineWorker, pool_of, search_with, shared_study

from mnv2search.evaluation import Budget
from mnv2search.spec.space import Pick
from mnv2search.study.types import Evaluated, Worker
from mnv2search.study.workers.jobs import Job


def picks(items: list[Evaluated]) -> list[tuple[int, ...]]:
    return [item.pick for item in items]


def run(folder: Path, *, trials: int = 20, seed: int = 0, sampler: str = "hybrid") -> list[Evaluated]:
    folder.mkdir()
    study = shared_study(folder)
    pool = pool_of(study, InlineWorker(study).step)
    return search_with(pool, trials=trials, seed=seed, sampler=sampler)[1]


def test_a_single_worker_and_the_same_seed_reproduce_the_same_trials(tmp_path: Path) -> None:
    first, again = run(tmp_path / "first"), run(tmp_path / "again")
    assert [(item.trial, item.pick) for item in first] == [(item.trial, item.pick) for item in again]
    assert picks(first) != picks(run(tmp_path / "other", seed=1))


@pytest.mark.parametrize("sampler", ["hybrid", "tpe", "random"])
def test_every_sampler_evaluates_as_many_different_networks_as_asked_for(tmp_path: Path, sampler: str) -> None:
    found = picks(run(tmp_path / "run", trials=26, sampler=sampler))
    assert len(found) == len(set(found)) == 26


def test_workers_in_any_order_evaluate_every_network_once_and_are_recorded(tmp_path: Path) -> None:
    study = shared_study(tmp_path)
    slow, quick = InlineWorker(study, name="slow"), InlineWorker(study, name="quick")
    held = []

    def step(_: float) -> None:
        quick.step()
        held.append(slow.claim())
        if len(held) > 2 and (oldest := held.pop(0)) is not None:
            slow.finish(*oldest)

    pool = pool_of(study, step)
    result, items = search_with(pool, trials=24)
    assert len(set(picks(items))) == len({item.trial for item in items}) == result.trials == 24
    assert {item.worker for item in items} == {Worker(name="slow", host="here"), Worker(name="quick", host="here")}
    assert [item.trial for item in items] != sorted(item.trial for item in items)


def test_roles_share_the_evaluation_of_a_network(tmp_path: Path) -> None:
    study = shared_study(tmp_path)
    phone, gpu = InlineWorker(study, name="phone", only="latency"), InlineWorker(study, name="gpu", only="accuracy")

    def step(_: float) -> None:
        phone.step()
        gpu.step()

    _, items = search_with(pool_of(study, step), trials=16)
    fitting = [item for item in items if item.evaluation.is_feasible]
    assert {item.worker.name for item in fitting if item.worker} == {"gpu"}
    assert all(item.evaluation.accuracy is not None for item in fitting)
    assert all(done.latency is not None for done in gpu.done)
    assert len(phone.done) == 16


def test_networks_outside_of_counted_limits_are_recorded_without_a_worker(tmp_path: Path) -> None:
    study = shared_study(tmp_path)
    worker = InlineWorker(study, budget=Budget(latency_ms=5.0, params=2_000_000))
    _, items = search_with(pool_of(study, worker.step), budget=worker.budget, trials=20)
    excluded = [item for item in items if item.evaluation.latency is None]
    assert excluded
    assert all(item.worker is None for item in excluded)
    assert len(items) == 20


def test_a_resumed_run_records_what_workers_finished_in_between_and_waits_for_the_rest(tmp_path: Path) -> None:
    study = shared_study(tmp_path)
    worker = InlineWorker(study)
    _, first = search_with(pool_of(study, worker.step), trials=8)
    known = {item.pick for item in first}
    left = [Job(number=100 + i, name=f"left-{i}", stage="search", pick=pick) for i, pick in enumerate(free(known, 3))]
    for one in left:
        study.put(one)
    worker.step()  # finishes the first, with no run to record it
    _, later = search_with(pool_of(study, worker.step), trials=16, previous=first)
    assert [item.evaluation.name for item in later][:3] == ["left-0", "left-1", "left-2"]
    assert len({*picks(first), *picks(later)}) == 16
    assert min(item.trial for item in later[3:]) > 102


def free(known: set[Pick], count: int) -> list[Pick]:
    """Picks that are not known."""
    every = itertools.product(*map(range, SPACE.cards))
    return [pick for pick in every if pick not in known][:count]


def test_a_network_that_is_recorded_already_is_not_recorded_again(tmp_path: Path) -> None:
    study = shared_study(tmp_path)
    worker = InlineWorker(study)
    _, first = search_with(pool_of(study, worker.step), trials=8)
    _, later = search_with(pool_of(study, worker.step), trials=12, previous=first)
    assert len(later) == 4
    assert not {*picks(first)} & {*picks(later)}
