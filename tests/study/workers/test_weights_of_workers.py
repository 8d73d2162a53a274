"""A worker that needs shared weights loads them once, and takes no network before the run has written them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from inline_workers import BUDGET, SPACE, answer, job, shared_study

from mnv2search.accuracy.evaluator import Evaluator, Report
from mnv2search.accuracy.types import Accuracy, EvaluatorInfo
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import SearchSpace
from mnv2search.study.types import Worker
from mnv2search.study.workers.jobs import Presence
from mnv2search.study.workers.weights_store import WeightsStore
from mnv2search.study.workers.worker import NetworkEvaluator, work


@dataclass
class Weighted(Evaluator):
    """Keeps the weights that it gets; every network has the same accuracy."""

    loaded: list[bytes] = field(default_factory=list)

    @property
    def info(self) -> EvaluatorInfo:
        raise NotImplementedError

    def use_shared_weights(self, space: SearchSpace, content: bytes) -> None:
        assert space is SPACE
        self.loaded.append(content)

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        found = answer().accuracy
        assert found is not None
        return found


def networks(evaluator: Evaluator | None, store: WeightsStore | None) -> NetworkEvaluator:
    return NetworkEvaluator(space=SPACE, budget=BUDGET, seed=0, evaluator=evaluator, latency=None, store=store)


def test_weights_are_loaded_once_for_each_digest(tmp_path: Path) -> None:
    store, evaluator = WeightsStore(str(tmp_path)), Weighted()
    first, second = store.write(b"first"), store.write(b"second")
    found = networks(evaluator, store)
    assert [found.is_ready(digest) for digest in (None, first, first, second)] == [False, True, True, True]
    assert evaluator.loaded == [b"first", b"second"]


@pytest.mark.parametrize("evaluator", [None, Weighted()], ids=["only latencies", "no shared weights"])
def test_a_worker_without_shared_weights_waits_for_none(evaluator: Evaluator | None) -> None:
    assert networks(evaluator, None).is_ready(None)


def test_a_worker_waits_for_the_weights_before_it_takes_a_network(tmp_path: Path) -> None:
    store, evaluator = WeightsStore(str(tmp_path / "store")), Weighted()
    with shared_study(tmp_path) as study:
        study.put(job(0, latency=answer().latency))
        steps = [
            lambda: None,
            lambda: study.write_weights(store.write(b"weights")),
            lambda: study.write_status("finished"),
        ]
        waiting: list[int] = []

        def sleep(_: float) -> None:
            waiting.append(len(study.unfinished()))
            steps.pop(0)()

        presence = Presence(worker=Worker(name="one", host="here"), only="accuracy")
        count = work(study, networks(evaluator, store), presence, told=lambda *_: None, sleep=sleep)
    assert (count, waiting, evaluator.loaded) == (1, [1, 1, 0], [b"weights"])
