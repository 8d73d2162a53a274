"""Workers as tasks of a Ray cluster of two nodes on this machine."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from postgresql_server import postgresql_url
from run_requests import run_request

from mnv2search.errors import MissingExtraError, OptionError, UnknownNameError
from mnv2search.results.manifest import read_manifest
from mnv2search.results.records import read_records
from mnv2search.study.types import Progress
from mnv2search.workflows.search.ray_workers import RayOptions, RayWorkers, check_launcher, ray_options
from mnv2search.workflows.search.run import run

URL = "postgresql://me@db/runs"
# Ray warns of files and sockets that it leaves open.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.filterwarnings("ignore:.*ray")]
# The first worker that is asked for an accuracy kills itself.
DEADLY = """
import os, pathlib, signal
MARK = pathlib.Path(__file__).with_name("killed")
def accuracy(spec, seed):
    if "RAY_JOB_ID" in os.environ and not MARK.exists():
        MARK.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 0.5
"""


def nothing(_: Progress) -> None:
    """A listener to nothing."""


def succeed() -> tuple[str, str]:
    """A task that evaluates nothing."""
    return "one", ""


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with postgresql_url() as url:
        yield url


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with one processor each."""
    pytest.importorskip("ray", reason="needs the extra ray")
    from ray import cluster_utils

    made: Any = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@pytest.fixture
def address(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    return str(cluster.address)


@pytest.mark.usefixtures("address")
def test_tasks_of_ray_evaluate_every_network_once_even_if_one_dies(tmp_path: Path, postgresql: str) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    before = signal.getsignal(signal.SIGTERM)
    asked = run_request(
        tmp_path,
        trials=8,
        evaluator=f"python:{tmp_path}/deadly.py:accuracy",
        storage=postgresql,
        workers=2,
        launcher="ray",
        name="ray",
    )
    done = run(asked, on_progress=nothing)
    records = [record for record in read_records(done.folder) if record.pick]
    assert (tmp_path / "killed").exists()
    assert len({record.pick for record in records}) == len(records) == 8
    own = f"{socket.gethostname()}-{os.getpid()}"
    assert {r.worker is None or r.worker.name != own for r in records} == {True}
    assert read_manifest(done.folder).status == "finished"
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.usefixtures("address")
def test_an_error_on_the_cluster_is_reported() -> None:
    noted: list[str] = []

    def fail() -> tuple[str, str]:
        return "one", "no such file"

    workers = RayWorkers(fail, RayOptions(), count=3, leave_s=60.0, noted=noted.append)
    try:
        workers.start()
        assert noted[0].startswith("the Ray cluster has ")
        ended: tuple[str, ...] = ()
        while len(ended) < 3:
            ended = workers.ended()
        assert ended == ("one",) * 3
        assert noted[1:] == ["worker one on the Ray cluster failed: no such file"] * 3
    finally:
        workers.stop(at_once=True)


def test_a_run_without_a_cluster_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="needs the extra ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.init", lambda **_: (_ for _ in ()).throw(ConnectionError("no cluster is running")))
    with pytest.raises(OptionError, match="no Ray cluster to connect to: no cluster is running") as error:
        RayWorkers(succeed, RayOptions(), count=1, leave_s=1.0, noted=print)
    assert "ray start --head" in error.value.hint


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="--launcher ray needs the package ray"):
        RayWorkers(succeed, RayOptions(), count=1, leave_s=1.0, noted=print)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ray", RayOptions()),
        ("ray:cpus=4,gpus=0.5,only=accuracy", RayOptions(cpus=4.0, gpus=0.5, only="accuracy")),
    ],
    ids=["defaults", "all"],
)
def test_options_of_ray_are_read(text: str, expected: RayOptions) -> None:
    assert ray_options(text) == expected


@pytest.mark.parametrize(
    ("launcher", "storage", "error", "message"),
    [
        ("slurm", URL, UnknownNameError, "launcher 'slurm'"),
        ("local:cpus=1", URL, UnknownNameError, "launcher 'local:cpus=1'"),
        ("ray:cpu=1", URL, UnknownNameError, "option of launcher ray 'cpu'"),
        ("ray:cpus=many", URL, OptionError, "--launcher is 'ray:cpus=many'"),
        ("ray:gpus=-1", URL, OptionError, "--launcher is 'ray:gpus=-1'"),
        ("ray:only=speed", URL, OptionError, "--launcher is 'ray:only=speed'"),
        ("ray", "", OptionError, "needs a storage that every node"),
        ("ray", "shared.sqlite3", OptionError, "needs a storage that every node"),
        ("ray", "sqlite:///shared.sqlite3", OptionError, "needs a storage that every node"),
    ],
)
def test_launchers_that_cannot_be_used_are_refused(
    launcher: str, storage: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        check_launcher(launcher, storage)
