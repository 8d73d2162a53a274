"""Workers that evaluate in the process of the test, one network whenever the run waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clocks import CountingClock

from mnv2search.accuracy.evaluator import Evaluator
from mnv2search.accuracy.registry import open_evaluator
from mnv2search.accuracy.types import Accuracy
from mnv2search.evaluation import Budget
from mnv2search.latency.runtimes.simulated import SimulatedDevice
from mnv2search.latency.types import Latency
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import load_space
from mnv2search.study.engine import Search
from mnv2search.study.latency_model import LatencyModel
from mnv2search.study.types import Evaluated, Listener, SearchResult, Settings, Storage, Worker
from mnv2search.study.workers.jobs import Answer, Job, Presence, Role, RunDescription
from mnv2search.study.workers.pool import WorkerPool
from mnv2search.study.workers.shared_study import SharedStudy
from mnv2search.study.workers.worker import NetworkEvaluator

__all__ = ["BUDGET", "SPACE", "InlineWorker", "answer", "described", "job", "pool_of", "search_with", "shared_study"]

SPACE = load_space("mnv2-multipliers")
BUDGET = Budget(latency_ms=5.0)


def shared_study(folder: Path, *, created_at: str = "now") -> SharedStudy:
    """The study of a run in an SQLite file."""
    return SharedStudy.create(str(folder / "shared.sqlite3"), described(created_at), replaces=False)


def described(created_at: str, *, name: str = "run") -> RunDescription:
    return RunDescription(name=name, created_at=created_at, manifest="{}", work="work")


def job(number: int, *, latency: Latency | None = None) -> Job:
    pick = (number % SPACE.cards[0], *(0 for _ in SPACE.cards[1:]))
    return Job(number=number, name=f"net-{number}", stage="search", pick=pick, latency=latency)


def answer(worker: str = "one", *, ms: float = 2.0, is_whole: bool = True) -> Answer:
    latency = Latency(
        median_ms=ms,
        ci_low_ms=ms,
        ci_high_ms=ms,
        p90_ms=ms,
        samples=9,
        dropped=0,
        kind="measured",
        device=SimulatedDevice().info,
        taken_at="2026-01-01T00:00:00+00:00",
    )
    accuracy = Accuracy(value=0.5, low=0.4, high=0.6, metric="top1", kind="estimated", dataset="d")
    who = Worker(name=worker, host="here")
    return Answer(worker=who, latency=latency, accuracy=accuracy, is_whole=is_whole, elapsed_s=0.5)


@dataclass
class InlineWorker:
    """Evaluates one network of a run at each `step`."""

    study: SharedStudy
    name: str = "one"
    only: Role | None = None
    space: SearchSpace = SPACE
    budget: Budget = BUDGET
    done: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.worker = Worker(name=self.name, host="here")
        self.study.report(Presence(worker=self.worker, only=self.only))
        evaluator: Evaluator | None = None if self.only == "latency" else open_evaluator("imagenet")
        device = SimulatedDevice()
        latency = LatencyModel(device, budget_ms=self.budget.latency_ms, cache=None, clock=time.monotonic)
        self._networks = NetworkEvaluator(
            space=self.space, budget=self.budget, seed=0, evaluator=evaluator, latency=latency
        )

    def claim(self) -> tuple[int, Job] | None:
        return self.study.claim(self.name, only=self.only)

    def finish(self, trial_id: int, job: Job) -> bool:
        self.done.append(job)
        return self.study.finish(trial_id, self._networks.answer(job, worker=self.worker, clock=time.monotonic))

    def step(self, _: float = 0.0) -> None:
        """Evaluate the next network, if one waits; has the signature of `time.sleep`."""
        claimed = self.claim()
        if claimed is not None:
            self.finish(*claimed)


def pool_of(study: SharedStudy, sleep: Callable[[float], None], **fields: Any) -> WorkerPool:
    usual: dict[str, Any] = {"count": 1, "noted": lambda _: None, "clock": CountingClock(0.001)}
    return WorkerPool(study=study, sleep=sleep, **(usual | fields))


def search_with(
    pool: WorkerPool,
    *,
    trials: int = 20,
    budget: Budget = BUDGET,
    previous: list[Evaluated] | None = None,
    **fields: Any,
) -> tuple[SearchResult, list[Evaluated]]:
    """The result of a search, and its evaluations of networks of the space in their order."""
    items: list[Evaluated] = []
    with SimulatedDevice() as device:
        result = Search(
            SPACE,
            device=device,
            evaluator=open_evaluator("imagenet"),
            budget=budget,
            settings=Settings(trials=trials, **fields),
            listener=Listener(evaluated=items.append),
            storage=Storage(previous=previous or []),
            pool=pool,
        ).run()
    return result, [item for item in items if item.pick]
