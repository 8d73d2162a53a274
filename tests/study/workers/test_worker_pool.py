"""What a run does with its workers: answers in any order, and networks of dead workers given to others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from clocks import CountingClock
from inline_workers import InlineWorker, answer, job, pool_of, shared_study

from mnv2search.errors import EvaluatorError
from mnv2search.study.workers.heartbeat import GRACE_S
from mnv2search.study.workers.jobs import Failure
from mnv2search.study.workers.pool import MOST_FAILURES, Pending
from mnv2search.study.workers.shared_study import SharedStudy


@pytest.fixture
def study(tmp_path: Path) -> Iterator[SharedStudy]:
    with shared_study(tmp_path) as opened:
        yield opened


def nothing(_: float) -> None:
    """Waits for nothing."""


def test_a_slow_worker_holds_nobody_up(study: SharedStudy) -> None:
    slow, quick = InlineWorker(study, name="slow"), InlineWorker(study, name="quick")
    pool = pool_of(study, quick.step)
    for number in range(3):
        pool.submit(Pending(job=job(number)))
    slow.claim()
    found = [pending.job.number for _ in range(2) for pending, _ in pool.collect()]
    assert found == [1, 2]
    assert [pending.job.number for pending in pool.pending.values()] == [0]


def test_the_network_of_a_silent_worker_is_given_to_another_and_answered_once(study: SharedStudy) -> None:
    noted: list[str] = []
    dead, alive = InlineWorker(study, name="dead"), InlineWorker(study, name="alive")
    pool = pool_of(study, alive.step, clock=CountingClock(GRACE_S / 8), noted=noted.append)
    pool.submit(Pending(job=job(0)))
    claimed = dead.claim()
    assert claimed is not None
    ((pending, found),) = pool.collect(most_s=100 * GRACE_S)
    assert (pending.failures, found.worker.name) == (1, "alive")
    assert not dead.finish(*claimed)
    assert not list(pool.collect())
    assert noted == ["worker dead has died: net-0 is given to another"]


def test_the_network_of_an_ended_process_is_given_to_another_at_once(study: SharedStudy) -> None:
    ended: list[str] = []
    dead, alive = InlineWorker(study, name="dead"), InlineWorker(study, name="alive")
    pool = pool_of(study, alive.step, ended=lambda: tuple(ended))
    pool.submit(Pending(job=job(0)))
    dead.claim()
    ended.append("dead")
    ((_, found),) = pool.collect(most_s=1000)
    assert found.worker.name == "alive"


def test_a_network_that_a_leaving_worker_returned_is_no_failure(study: SharedStudy) -> None:
    worker = InlineWorker(study)
    pool = pool_of(study, nothing)
    pool.submit(Pending(job=job(0)))
    claimed = worker.claim()
    assert claimed is not None
    study.fail(claimed[0], Failure(reason="returned"))
    list(pool.collect(most_s=0.0))
    assert [pending.failures for pending in pool.pending.values()] == [0]


def test_a_network_at_which_several_workers_failed_ends_the_run(study: SharedStudy) -> None:
    worker = InlineWorker(study)

    def fail(_: float) -> None:
        claimed = worker.claim()
        assert claimed is not None
        study.fail(claimed[0], Failure(reason="error", worker="one", message="no memory", hint="buy some"))

    pool = pool_of(study, fail)
    pool.submit(Pending(job=job(0)))
    with pytest.raises(EvaluatorError, match=f"net-0 was given up after {MOST_FAILURES} workers failed: no memory"):
        list(pool.collect(most_s=1000))


def test_a_run_whose_workers_have_all_ended_ends(study: SharedStudy) -> None:
    noted: list[str] = []
    pool = pool_of(study, nothing, ended=lambda: ("one",), noted=noted.append)
    pool.submit(Pending(job=job(0)))
    with pytest.raises(EvaluatorError, match="all workers have ended"):
        list(pool.collect())
    assert noted == ["worker one ended before its first network"]


def test_more_networks_are_wanted_when_workers_join(study: SharedStudy) -> None:
    pool = pool_of(study, nothing)
    before = pool.wanted
    [InlineWorker(study, name=str(number)) for number in range(8)]
    list(pool.collect(most_s=0.0))
    assert (before, pool.wanted) == (2, 10)


def test_waiting_networks_can_be_withdrawn_and_running_ones_too(study: SharedStudy) -> None:
    worker = InlineWorker(study)
    pool = pool_of(study, nothing)
    for number in range(3):
        pool.submit(Pending(job=job(number)))
    claimed = worker.claim()
    pool.withdraw(running=False)
    assert [pending.job for pending in pool.pending.values()] == [job(0)]
    pool.withdraw(running=True)
    assert not pool.pending
    assert claimed is not None
    assert not study.finish(claimed[0], answer())
