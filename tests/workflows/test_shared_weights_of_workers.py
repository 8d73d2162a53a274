"""A supernet is trained once, by the run, and its workers evaluate networks with the same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pictures import draw_pictures
from run_requests import run_request
from small_spaces import TINY

from mnv2search.accuracy.evaluator import Evaluator, Report
from mnv2search.accuracy.evaluators.supernet import SupernetEvaluator
from mnv2search.accuracy.types import Accuracy, EvaluatorInfo
from mnv2search.errors import EvaluatorError, OptionError, RecordError, StorageError
from mnv2search.evaluation import no_report
from mnv2search.results.manifest import manifest_json, read_manifest
from mnv2search.results.records import read_records
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import load_space
from mnv2search.study.types import Progress
from mnv2search.study.workers.jobs import Job, RunDescription
from mnv2search.study.workers.shared_study import SharedStudy
from mnv2search.study.workers.weights_store import WeightsStore
from mnv2search.workflows.search.folder import WORK
from mnv2search.workflows.search.run import Outcome, Request, run
from mnv2search.workflows.search.workers import join_run, worker_pool

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("pictures"), count=20, side=32)


def request_of(root: Path, pictures: Path, **fields: Any) -> Request:
    (root / "tiny.yaml").write_text(TINY, encoding="utf-8")
    evaluator = f"supernet:data={pictures},epochs=2,fidelity=1"
    usual = {"space": str(root / "tiny.yaml"), "evaluator": evaluator, "workers": 1}
    return run_request(root, trials=14, latency_ms=50.0, **(usual | fields))


def nothing(_: Progress) -> None:
    """A listener to nothing."""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Outcome:
    """A run whose networks a worker evaluated with shared weights from the folder `store`."""
    root = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV2SEARCH_CACHE", str(root / "cache"))
        return run(request_of(root, pictures, weights_store=str(root / "store")), on_progress=nothing)


def test_a_worker_determines_the_accuracies_that_the_run_would(outcome: Outcome, pictures: Path) -> None:
    (file,) = (outcome.folder.parent / "store").iterdir()
    evaluator = SupernetEvaluator(data=str(pictures))
    evaluator.use_shared_weights(load_space(str(outcome.folder / "space.yaml")), file.read_bytes())
    records = [record for record in read_records(outcome.folder) if record.worker is not None]
    specs = [record.evaluation.spec for record in records]
    assert len(records) == 14
    theirs = [record.evaluation.accuracy for record in records]
    ours = [evaluator.evaluate(spec, seed=0, report=no_report) for spec in specs]
    # sums of floats depend on the number of threads of a process
    merits = [found.merit for found in theirs if found is not None and found.merit is not None]
    assert merits == pytest.approx([one.merit for one in ours], rel=1e-5)
    assert [found and replace(found, merit=None) for found in theirs] == [replace(one, merit=None) for one in ours]
    assert outcome.result.front


def shared(outcome: Outcome, root: Path, *, digest: str | None) -> str:
    """Put the run into a storage as if it were still running, with one waiting network; returns the URL."""
    url, manifest = str(root / "shared.sqlite3"), read_manifest(outcome.folder)
    described = RunDescription(
        name="run",
        created_at="now",
        manifest=manifest_json(manifest),
        work=str(outcome.folder / WORK),
        store=str(root / "store"),
    )
    with SharedStudy.create(url, described, replaces=False) as study:
        if digest is not None:
            study.write_weights(digest)
        study.put(Job(number=0, name="net", stage="search", pick=tuple(0 for _ in load(outcome).axes)))
    return url


def load(outcome: Outcome) -> SearchSpace:
    return load_space(str(outcome.folder / "space.yaml"))


def test_a_worker_that_cannot_read_the_weights_leaves_the_network_to_others(outcome: Outcome, tmp_path: Path) -> None:
    url = shared(outcome, tmp_path, digest=64 * "0")
    with pytest.raises(StorageError, match=r"cannot be read from .* on this machine: no such file or directory"):
        join_run("run", storage=url, trust=True)
    with SharedStudy.join(url, "run") as study:
        assert [one.worker for one in study.unfinished().values()] == [None]
        (presence,) = study.presences()
        assert presence.left is not None
        assert "cannot be read" in presence.left


def test_weights_that_changed_since_the_run_wrote_them_are_refused(outcome: Outcome, tmp_path: Path) -> None:
    store = WeightsStore(str(tmp_path / "store"))
    url = shared(outcome, tmp_path, digest=store.write(b"weights"))
    next((tmp_path / "store").iterdir()).write_bytes(b"changed")
    with pytest.raises(StorageError, match="is not what the run wrote"):
        join_run("run", storage=url, only="accuracy", trust=True)


def test_the_store_is_listed_before_a_stranger_s_run_is_joined(outcome: Outcome, tmp_path: Path) -> None:
    url = shared(outcome, tmp_path, digest=None)
    with pytest.raises(RecordError, match=r"read shared weights from .*store"):
        join_run("run", storage=url)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: b"", "the shared weights of the run cannot be read: it is empty"),
        (lambda content: content[:100], "the shared weights of the run cannot be read"),
    ],
    ids=["empty", "cut"],
)
def test_damaged_weights_are_an_error(outcome: Outcome, pictures: Path, change: Any, message: str) -> None:
    content = next((outcome.folder.parent / "store").iterdir()).read_bytes()
    evaluator = SupernetEvaluator(data=str(pictures))
    with pytest.raises(EvaluatorError, match=message):
        evaluator.use_shared_weights(load(outcome), change(content))


def test_weights_for_other_images_are_refused(outcome: Outcome, tmp_path: Path) -> None:
    content = next((outcome.folder.parent / "store").iterdir()).read_bytes()
    others = SupernetEvaluator(data=str(draw_pictures(tmp_path / "others", count=8, side=32)))
    with pytest.raises(EvaluatorError, match="differ from those of the run: train "):
        others.use_shared_weights(load(outcome), content)


class OwnWeights(Evaluator):
    """An evaluator of a plug-in whose weights exist only in its process."""

    method = "shared weights"

    @property
    def info(self) -> EvaluatorInfo:
        raise NotImplementedError

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        raise NotImplementedError


def test_weights_that_cannot_be_passed_on_are_refused(outcome: Outcome, tmp_path: Path) -> None:
    manifest = read_manifest(outcome.folder)
    asked = run_request(tmp_path, workers=1)
    with (
        pytest.raises(OptionError, match="cannot be passed to workers"),
        worker_pool(tmp_path, manifest, OwnWeights(), asked, noted=lambda _: None),
    ):
        pass
