"""The study that a run shares with its workers: each network is taken once, and answered once."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from inline_workers import answer, described, job, shared_study
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import event

from mnv2search.errors import RecordError, StorageError
from mnv2search.study.workers.jobs import Failure
from mnv2search.study.workers.shared_study import OPEN_PARTS, PARTS, STATUS, SharedStudy, Unfinished
from mnv2search.study.workers.trials import DatabaseTrials

THREADS, NETWORKS = 4, 24


@pytest.fixture
def study(tmp_path: Path) -> Iterator[SharedStudy]:
    with shared_study(tmp_path) as opened:
        yield opened


def test_a_network_is_claimed_once_and_its_answer_comes_back(study: SharedStudy) -> None:
    trial_id = study.put(job(0))
    assert study.claim("one") == (trial_id, job(0))
    assert study.claim("two") is None
    assert study.finish(trial_id, answer())
    assert study.finished([trial_id]) == {trial_id: answer()}
    assert study.unfinished() == {}


def test_networks_are_claimed_in_the_order_in_which_they_were_put(study: SharedStudy) -> None:
    ids = [study.put(job(number)) for number in range(3)]
    assert [study.claim("one") for _ in ids] == [(one, job(number)) for number, one in enumerate(ids)]


def test_workers_of_one_sqlite_file_never_claim_the_same_network(tmp_path: Path, study: SharedStudy) -> None:
    ids = [study.put(job(number)) for number in range(NETWORKS)]
    claimed: list[int] = []

    def claim_all(name: str) -> None:
        own = SharedStudy.join(str(tmp_path / "shared.sqlite3"), "run")
        claimed.extend(taken[0] for taken in iter(lambda: own.claim(name), None))

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(claim_all, map(str, range(THREADS))))
    assert sorted(claimed) == ids


def test_an_answer_after_the_network_was_given_to_another_worker_is_refused(study: SharedStudy) -> None:
    trial_id = study.put(job(0))
    study.claim("one")
    assert study.fail(trial_id, Failure(reason="lost", worker="one"))
    assert not study.finish(trial_id, answer())
    assert study.finished([trial_id]) == {trial_id: Failure(reason="lost", worker="one")}


def test_an_answered_network_cannot_be_taken_back(study: SharedStudy) -> None:
    trial_id = study.put(job(0))
    study.claim("one")
    study.finish(trial_id, answer())
    assert not study.fail(trial_id, Failure(reason="lost"))
    assert study.finished([trial_id]) == {trial_id: answer()}


def test_a_worker_takes_only_networks_of_its_role(study: SharedStudy) -> None:
    unmeasured, measured = study.put(job(0)), study.put(job(1, latency=answer().latency))
    assert study.claim("gpu", only="accuracy") == (measured, job(1, latency=answer().latency))
    assert study.claim("gpu", only="accuracy") is None
    assert study.claim("phone", only="latency") == (unmeasured, job(0))


def test_waiting_and_running_networks_are_told_apart(study: SharedStudy) -> None:
    running, waiting = study.put(job(0)), study.put(job(1))
    study.claim("one")
    assert study.unfinished() == {
        running: Unfinished(job=job(0), worker="one"),
        waiting: Unfinished(job=job(1), worker=None),
    }


def test_a_running_run_of_the_same_name_is_refused_and_can_be_ended(tmp_path: Path, study: SharedStudy) -> None:
    study.put(job(0))
    with pytest.raises(RecordError, match="holds another run named 'run' that has not ended"):
        shared_study(tmp_path, created_at="later")
    url = str(tmp_path / "shared.sqlite3")
    replaced = SharedStudy.create(url, described("later"), replaces=True)
    assert replaced.unfinished() == {}
    assert study.attributes()[STATUS] == "interrupted"
    assert SharedStudy.join(url, "run").run.created_at == "later"


def test_the_same_run_finds_its_networks_again(tmp_path: Path, study: SharedStudy) -> None:
    trial_id = study.put(job(0))
    assert list(shared_study(tmp_path).outcomes()) == [(trial_id, job(0), None)]


def test_a_renamed_run_finds_its_networks_again_by_its_new_name(tmp_path: Path, study: SharedStudy) -> None:
    trial_id, url = study.put(job(0)), str(tmp_path / "shared.sqlite3")
    study.write_status("interrupted")
    renamed = SharedStudy.create(url, described("now", name="team"), replaces=False)
    assert list(renamed.outcomes()) == [(trial_id, job(0), None)]
    assert SharedStudy.join(url, "team").run.name == "team"
    with pytest.raises(RecordError, match="no run named 'run'"):
        SharedStudy.join(url, "run")


def test_a_running_run_is_not_taken_over_by_another_that_began_at_the_same_time(
    tmp_path: Path, study: SharedStudy
) -> None:
    study.put(job(0))
    other = SharedStudy.create(str(tmp_path / "shared.sqlite3"), described("now", name="team"), replaces=False)
    assert list(other.outcomes()) == []


def test_a_run_that_is_not_in_the_storage_cannot_be_joined(tmp_path: Path, study: SharedStudy) -> None:
    url = str(tmp_path / "shared.sqlite3")
    with pytest.raises(RecordError, match="has no run named 'other'"):
        SharedStudy.join(url, "other")


def test_joining_creates_no_file(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="has no run named 'run'"):
        SharedStudy.join(str(tmp_path / "missing.sqlite3"), "run")
    assert not list(tmp_path.iterdir())


def test_attributes_of_another_version_are_an_error(tmp_path: Path, study: SharedStudy) -> None:
    study.put(job(0))
    with sqlite3.connect(tmp_path / "shared.sqlite3") as database:
        database.execute("UPDATE trial_user_attributes SET value_json = '{\"name\": 3}' WHERE key = 'job'")
    with pytest.raises(StorageError, match="not written by this version"):
        study.claim("one")


def test_an_operation_is_repeated_until_the_storage_is_back(
    study: SharedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [StorageInternalError("gone"), StorageInternalError("gone")]
    add = DatabaseTrials.add

    def failing(*arguments: Any) -> int:
        if failures:
            raise failures.pop()
        return add(*arguments)

    monkeypatch.setattr(DatabaseTrials, "add", failing)
    monkeypatch.setattr("mnv2search.study.workers.shared_study.RETRY_S", 0.0)
    trial_id = study.put(job(0))
    assert study.unfinished().keys() == {trial_id}


def test_a_storage_that_stays_away_is_an_error(study: SharedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> int:
        raise StorageInternalError("gone")

    monkeypatch.setattr(DatabaseTrials, "add", failing)
    study.patience_s = 0.0
    with pytest.raises(StorageError, match=r"shared\.sqlite3 cannot be used: gone"):
        study.put(job(0))


def test_a_long_run_has_its_networks_in_parts_that_are_closed_when_all_are_answered(
    tmp_path: Path, study: SharedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnv2search.study.workers.shared_study.MOST_TRIALS", 2)
    url = str(tmp_path / "shared.sqlite3")
    ids = [study.put(job(number)) for number in range(5)]
    with SharedStudy.join(url, "run") as worker:
        assert [worker.claim("one") for _ in ids] == [(one, job(number)) for number, one in enumerate(ids)]
        assert worker.finish(ids[0], answer())
        assert worker.finish(ids[1], answer())
        assert list(study.unfinished()) == ids[2:]
        assert len(worker.attributes()[OPEN_PARTS]) == 2
        later = study.put(job(5))
        worker.signals()
        assert worker.claim("one") == (later, job(5))
    assert list(study.finished(ids)) == ids[:2]
    with shared_study(tmp_path) as resumed:
        assert [trial_id for trial_id, _, _ in resumed.outcomes()] == [*ids, later]
        assert list(resumed.unfinished()) == [*ids[2:], later]


def test_a_resumed_run_adds_networks_to_a_part_of_its_own(tmp_path: Path, study: SharedStudy) -> None:
    first = study.put(job(0))
    with shared_study(tmp_path) as resumed:
        second = resumed.put(job(1))
        assert list(resumed.unfinished()) == [first, second]
        assert len(resumed.attributes()[PARTS]) == 2


@pytest.mark.parametrize("earlier", [0, 40], ids=["first", "later"])
def test_a_network_takes_nine_statements_in_four_transactions_however_many_came_before(
    earlier: int, study: SharedStudy
) -> None:
    counts = Counter[str]()
    study.put(job(0))
    [(study.put(job(number)), study.claim("one")) for number in range(earlier)]
    storage = study._storage
    assert isinstance(storage, RDBStorage)
    event.listen(storage.engine, "before_cursor_execute", lambda *_: counts.update(["statements"]))
    event.listen(storage.engine, "begin", lambda *_: counts.update(["transactions"]))
    trial_id = study.put(job(earlier + 1))
    claimed = study.claim("one")
    assert claimed is not None
    assert study.finish(claimed[0], answer())
    assert study.finished([claimed[0], trial_id]) == {claimed[0]: answer()}
    assert counts == {"statements": 9, "transactions": 4}
