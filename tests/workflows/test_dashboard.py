"""The dashboard shows a copy of a run's networks, with named objectives and constraints, on this machine only."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from run_requests import run_request

from mnv2search.errors import MissingExtraError, RecordError
from mnv2search.results.records import EVALUATIONS
from mnv2search.workflows.dashboard import ServerError, copy_study, dashboard
from mnv2search.workflows.search.folder import STUDY_FILE
from mnv2search.workflows.search.run import run as search

LATENCY_MS = 5.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV2SEARCH_CACHE", str(root / "cache"))
        asked = run_request(root, trials=16, latency_ms=LATENCY_MS)
        return search(asked, on_progress=lambda _: None).folder


@pytest.fixture(scope="module")
def study(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> optuna.Study:
    path = tmp_path_factory.mktemp("copy") / "study.sqlite3"
    copy_study(folder, path)
    return optuna.load_study(study_name=None, storage=f"sqlite:///{path}")


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_the_objectives_have_names(study: optuna.Study) -> None:
    assert study.metric_names == ["accuracy", "latency, ms"]


def test_networks_beyond_the_budget_are_infeasible_trials(study: optuna.Study) -> None:
    feasible = [max(trial.constraints.values()) <= 0 for trial in study.trials]
    assert feasible == [trial.values[0] > 0 for trial in study.trials]
    assert set(feasible) == {True, False}


def test_optuna_dashboard_shows_the_networks(folder: Path, tmp_path: Path) -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    path = tmp_path / "study.sqlite3"
    count = copy_study(folder, path)
    environ: dict[str, Any] = {"PATH_INFO": "/api/studies/1"}
    setup_testing_defaults(environ)
    body = b"".join(dashboard.wsgi(f"sqlite:///{path}")(environ, lambda *_: None))
    shown = json.loads(body)
    assert (len(shown["trials"]), shown["objective_names"]) == (count, ["accuracy", "latency, ms"])


def test_what_a_study_file_says_beyond_the_records_is_not_copied(folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(folder, tmp_path / "run"))
    optuna.load_study(study_name=None, storage=f"sqlite:///{run / STUDY_FILE}").set_user_attr("note", "<script>")
    copy_study(run, tmp_path / "study.sqlite3")
    copied = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'study.sqlite3'}")
    assert copied.user_attrs == {}


def test_a_port_in_use_is_refused(folder: Path, busy_port: int) -> None:
    pytest.importorskip("optuna_dashboard")
    with pytest.raises(ServerError, match=rf"port {busy_port} cannot be used"):
        dashboard(folder, port=busy_port, on_ready=lambda *_: None)


def test_the_dashboard_answers_requests_until_ctrl_c(folder: Path, free_port: int) -> None:
    pytest.importorskip("optuna_dashboard")
    words = [sys.executable, "-m", "mnv2search", "dashboard", str(folder), "--port", str(free_port)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        try:
            with urlopen(f"http://127.0.0.1:{free_port}/api/studies/1") as answer:
                trials = json.loads(answer.read())["trials"]
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.communicate()[1]
    assert first.startswith(f"{len(trials)} networks at http://127.0.0.1:{free_port}")
    assert (process.returncode, rest) == (130, "\ninterrupted\n")


def test_a_missing_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(MissingExtraError, match="optuna-dashboard"):
        dashboard(folder, port=1, on_ready=lambda *_: None)


def test_a_run_without_networks_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes((folder / "manifest.json").read_bytes())
    (tmp_path / EVALUATIONS).touch()
    with pytest.raises(RecordError, match="no network of the space is evaluated yet"):
        copy_study(tmp_path, tmp_path / "study.sqlite3")
