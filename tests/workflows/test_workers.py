"""Runs whose networks are evaluated by other processes, which share a storage with the run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pictures import draw_pictures
from postgresql_server import free_port, postgresql_url, wait_until_open
from run_requests import run_request

from mnv2search.errors import OptionError, RecordError
from mnv2search.results.manifest import manifest_json, read_manifest
from mnv2search.results.records import EVALUATIONS, read_records
from mnv2search.study.types import Progress, Settings, Worker
from mnv2search.study.workers.jobs import Job, Presence, RunDescription
from mnv2search.study.workers.shared_study import SharedStudy
from mnv2search.study.workers.storage_url import close_storage, open_storage
from mnv2search.workflows.search.folder import OWN_STORAGE, STUDY_FILE
from mnv2search.workflows.search.options import RunOptions
from mnv2search.workflows.search.request import request_of
from mnv2search.workflows.search.run import run
from mnv2search.workflows.search.workers import STORAGE_VARIABLE, check_count, join_run

PROXY = """
import sys, warnings
from mnv2search.study.workers.storage_url import open_storage
from optuna.storages import get_storage, run_grpc_proxy_server
warnings.simplefilter("ignore")
run_grpc_proxy_server(get_storage(open_storage(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]))
"""
# The first worker that is asked for an accuracy kills itself; the run itself is not a worker.
DEADLY = f"""
import os, pathlib, signal
MARK = pathlib.Path(__file__).with_name("killed")
def accuracy(spec, seed):
    if {STORAGE_VARIABLE!r} in os.environ and not MARK.exists():
        MARK.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 0.5
"""


def nothing(_: Progress) -> None:
    """A listener to nothing."""


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with postgresql_url() as url:
        yield url


@pytest.fixture
def grpc(postgresql: str) -> Iterator[str]:
    """The URL of a storage proxy in front of PostgreSQL."""
    pytest.importorskip("grpc", reason="needs the extra storage")
    close_storage(open_storage(postgresql))  # creates the tables
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", PROXY, postgresql, str(port)]) as server:
        wait_until_open(port, server)
        yield f"grpc://127.0.0.1:{port}"
        server.terminate()


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return str(tmp_path / "shared.sqlite3")


def workers_of(folder: Path) -> set[str]:
    return {record.worker.name for record in read_records(folder) if record.worker is not None}


def picks_of(folder: Path) -> list[tuple[int, ...]]:
    return [record.pick for record in read_records(folder) if record.pick]


@pytest.mark.parametrize("storage", ["", "postgresql", "grpc"], ids=["own", "postgresql", "grpc"])
def test_every_network_is_evaluated_once_even_if_a_worker_is_killed(
    storage: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    noted: list[str] = []
    url = storage and request.getfixturevalue(storage)
    accuracy = f"python:{tmp_path}/deadly.py:accuracy"
    asked = run_request(tmp_path, trials=8, evaluator=accuracy, storage=url, workers=2, name=f"run-{storage}")
    done = run(asked, on_progress=nothing, on_note=noted.append)
    assert (tmp_path / "killed").exists()
    assert len(picks_of(done.folder)) == len(set(picks_of(done.folder))) == 8
    assert 1 <= len(workers_of(done.folder)) <= 2
    assert any("has died" in text for text in noted)
    assert (read_manifest(done.folder).status, bool(done.result.front)) == ("finished", True)
    assert (done.folder / OWN_STORAGE).exists() == (not storage)


def test_an_interrupted_run_goes_on_with_workers_and_without(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.trials >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(run_request(tmp_path, trials=12, workers=1), on_progress=interrupt)
    folder = tmp_path / "run"
    assert read_manifest(folder).status == "interrupted"
    left = join_run("run", storage=str(folder / OWN_STORAGE))
    assert (left.evaluated, left.status) == (0, "interrupted")
    done = run(run_request(tmp_path, trials=12), on_progress=nothing)
    assert len(picks_of(folder)) == len(set(picks_of(folder))) == done.result.trials == 12


def test_a_worker_joins_a_run_that_waits_for_it(tmp_path: Path, sqlite: str) -> None:
    words = [sys.executable, "-m", "mnv2search", "run", "--latency-ms", "5", "--device", "simulated"]
    words += ["--space", "mnv2-multipliers", "--trials", "6", "--name", "team", "--no-confirm", "--json"]
    words += ["--storage", sqlite, "--workers", "0", "--output-dir", str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as owner:
        assert owner.stderr is not None
        started(tmp_path / "team")
        told: list[str] = []
        done = join_run("team", storage=sqlite, on_progress=lambda name, _: told.append(name))
        out, _ = owner.communicate()
    assert owner.returncode == 0
    assert (done.evaluated, done.status) == (len(told), "finished") == (6, "finished")
    assert json.loads(out)["front"]
    assert workers_of(tmp_path / "team") == {f"{socket.gethostname()}-{os.getpid()}"}


def started(folder: Path) -> None:
    """Wait until a run has measured its first network, and so has its study in the storage."""
    while not (folder / EVALUATIONS).exists():
        os.sched_yield()


def test_a_worker_waits_for_its_run(tmp_path: Path, sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def start(seconds: float) -> None:
        waits.append(seconds)
        share_finished_run(tmp_path, sqlite, evaluator="imagenet")
        with SharedStudy.join(sqlite, "run") as study:
            study.write_status("finished")

    monkeypatch.setattr("mnv2search.workflows.search.workers.sleep", start)
    done = join_run("run", storage=sqlite, trust=True, wait=600.0)
    assert (done.evaluated, len(waits)) == (0, 1)


def test_a_worker_that_need_not_wait_says_that_there_is_no_run(sqlite: str) -> None:
    with pytest.raises(RecordError, match="has no run named 'run'"):
        join_run("run", storage=sqlite, trust=True)


def test_a_worker_does_not_take_the_name_of_an_earlier_one(tmp_path: Path, sqlite: str) -> None:
    share_finished_run(tmp_path, sqlite, evaluator="imagenet")
    own = f"{socket.gethostname()}-{os.getpid()}"
    with SharedStudy.join(sqlite, "run") as study:
        study.report(Presence(worker=Worker(name=own, host="here"), beat=3))
        claimed = study.put(Job(number=0, name="net", stage="search", pick=(0,)))
        study.claim(own)
        study.write_status("finished")
        done = join_run("run", storage=sqlite, trust=True)
        assert done.worker.startswith(f"{own}-")
        assert {one.worker.name: one.beat for one in study.presences()}[own] == 3
        assert study.unfinished()[claimed].worker == own


def test_a_worker_with_a_device_of_another_kind_is_refused(tmp_path: Path, sqlite: str) -> None:
    share_finished_run(tmp_path, sqlite, evaluator="imagenet")
    with pytest.raises(OptionError, match="torch:threads=1 cannot measure for this run: its hardware is"):
        join_run("run", storage=sqlite, device="torch", trust=True)


def test_a_worker_opens_nothing_that_a_stranger_named(tmp_path: Path, sqlite: str) -> None:
    (tmp_path / "mine.py").write_text("def accuracy(spec, seed):\n    return 0.5\n")
    share_finished_run(tmp_path, sqlite, evaluator=f"python:{tmp_path}/mine.py:accuracy")
    for trusted in (tmp_path / "cache" / "trusted").iterdir():
        trusted.unlink()
    with pytest.raises(RecordError, match=r"(?s)is not a run that you started.*import and call"):
        join_run("run", storage=sqlite)


def share_finished_run(folder: Path, url: str, *, evaluator: str) -> None:
    """Put a run into a storage as if it were still running."""
    done = run(run_request(folder, trials=2, evaluator=evaluator), on_progress=nothing)
    manifest = read_manifest(done.folder)
    described = RunDescription(
        name="run", created_at=manifest.created_at, manifest=manifest_json(manifest), work=str(folder)
    )
    with SharedStudy.create(url, described, replaces=False):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "--workers 0 needs --storage"),
    ],
    ids=["no worker"],
)
def test_workers_that_cannot_help_are_refused_before_anything_is_read(options: RunOptions, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        request_of({"latency_ms": 5.0, "space": "tiny32", **options})


def test_the_study_file_of_a_run_is_no_storage(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="is the study of a run"):
        run(run_request(tmp_path, storage=str(tmp_path / STUDY_FILE)), on_progress=nothing)


def test_a_run_without_workers_says_how_to_start_one(tmp_path: Path, sqlite: str) -> None:
    notes: list[str] = []

    def stop(progress: Progress) -> None:
        if progress.phase == "search":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(run_request(tmp_path, workers=0, storage=sqlite), on_progress=stop, on_note=notes.append)
    assert f"waiting for workers: mnv2search worker run --storage {sqlite}" in notes


def test_trainings_of_workers_are_not_fitted_into_a_time(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "photos", count=8)
    text = f"train:data={tmp_path}/photos"
    asked = run_request(tmp_path, space="tiny32", evaluator=text, settings=Settings(time_s=60.0), workers=1)
    with pytest.raises(OptionError, match="workers cannot fit their trainings into --time"):
        run(asked, on_progress=nothing)
    assert not (tmp_path / "run").exists()


def test_more_workers_than_the_memory_holds_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(
        OptionError, match=r"100000 workers need at least [0-9,.]+ GB of memory, but .* has"
    ) as caught:
        run(run_request(tmp_path, workers=100_000), on_progress=nothing)
    assert "give at most --workers " in caught.value.hint
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("count", "notes"),
    [(2, []), (3, ["3 workers share 2 processors: more workers than processors help only if an evaluation waits"])],
    ids=["as many", "more"],
)
def test_workers_that_share_processors_are_noted(count: int, notes: list[str]) -> None:
    told: list[str] = []
    check_count(count, each=1 << 20, memory=1 << 40, cores=2, noted=told.append)
    assert [text.partition(", for instance")[0] for text in told] == notes
