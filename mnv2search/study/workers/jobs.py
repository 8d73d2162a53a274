"""Jobs of workers, their answers and failures, and descriptions of runs and workers, as stored in attributes."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from mnv2search.accuracy.types import Accuracy
from mnv2search.latency.types import Latency
from mnv2search.study.types import Worker

Role = Literal["accuracy", "latency"]
"""The only value that a worker determines; without a role, it determines both."""

Reason = Literal["error", "lost", "returned", "withdrawn"]
JobStage = Literal["calibration", "search"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDescription:
    """The description of a run for its workers.

    Attributes:
        created_at: time of creation, which distinguishes runs of the same name.
        manifest: manifest of the run as JSON.
        work: path of the folder for weights on the machine of the run.
        store: place of the shared weights, see `WeightsStore`; empty if the evaluator has none.
    """

    name: str
    created_at: str
    manifest: str
    work: str
    store: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A network to evaluate.

    Attributes:
        number: number of the network in the run.
        stage: stage of the search that the network belongs to.
        pick: option index on each axis of the space.
        latency: latency, if it is known and only the accuracy is to be determined.
    """

    number: Annotated[int, Meta(ge=0)]
    name: str
    stage: JobStage
    pick: tuple[Annotated[int, Meta(ge=0)], ...]
    latency: Latency | None = None

    def is_of(self, cards: Sequence[int]) -> bool:
        """Whether the pick belongs to a space whose axes have these numbers of options."""
        return len(self.pick) == len(cards) and all(map(operator.lt, self.pick, cards))

    def suits(self, only: Role | None) -> bool:
        """Whether a worker with this role can take the job."""
        return only is None or (only == "accuracy") == (self.latency is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The result of a job.

    Attributes:
        accuracy: accuracy; None if the network does not fit the budget, or if the worker determines only latencies.
        is_whole: whether the worker also determines the accuracies of networks that fit.
        elapsed_s: wall time of the evaluation.
        curve: intermediate accuracies as (step, value).
    """

    worker: Worker
    latency: Latency
    accuracy: Accuracy | None
    is_whole: bool
    elapsed_s: Annotated[float, Meta(ge=0)]
    curve: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The reason why a job ended without an answer.

    `error`: the evaluation failed; `lost`: the worker died; `returned`: the worker was interrupted; `withdrawn`: the
    run no longer needs the job.
    """

    reason: Reason
    worker: str = ""
    message: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """The state of a worker, as reported by the worker.

    Attributes:
        device: name of the device; empty if the worker determines only accuracies.
        beat: count of heartbeats, which grows while the worker is alive.
        left: reason why the worker left; None before it leaves.
    """

    worker: Worker
    device: str = ""
    only: Role | None = None
    beat: int = 0
    left: str | None = None
