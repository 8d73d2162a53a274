"""What a run asks of its workers, and what they answer, as values of trial attributes."""

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
"""What a worker determines if it does not determine both."""

Reason = Literal["error", "lost", "returned", "withdrawn"]
JobStage = Literal["calibration", "search"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDescription:
    """What workers know of a run.

    Attributes:
        created_at: time of creation, which tells runs of the same name apart.
        manifest: manifest of the run as JSON.
        work: folder of weights on the machine of the run.
    """

    name: str
    created_at: str
    manifest: str
    work: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A network to evaluate.

    Attributes:
        number: number of the network in the run.
        stage: stage of the search that the network belongs to.
        pick: option index on each axis of the space.
        latency: latency, if it is known and only the accuracy is wanted.
    """

    number: Annotated[int, Meta(ge=0)]
    name: str
    stage: JobStage
    pick: tuple[Annotated[int, Meta(ge=0)], ...]
    latency: Latency | None = None

    def is_of(self, cards: Sequence[int]) -> bool:
        """Whether the pick is one of a space with these numbers of options."""
        return len(self.pick) == len(cards) and all(map(operator.lt, self.pick, cards))

    def suits(self, only: Role | None) -> bool:
        """Whether a worker with this role can take the job."""
        return only is None or (only == "accuracy") == (self.latency is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The result of a job.

    Attributes:
        accuracy: None if the network does not fit, or was not to be evaluated by this worker.
        is_whole: whether the accuracy was determined if the network fits.
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
    """Why a job ended without an answer.

    `error` is an error of the evaluation, `lost` the death of the worker, `returned` a worker that left, and
    `withdrawn` a job that the run no longer needs.
    """

    reason: Reason
    worker: str = ""
    message: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """A worker of a run, as it reports itself: `beat` counts up while it is alive.

    Attributes:
        left: why the worker left; None while it is there.
    """

    worker: Worker
    device: str = ""
    only: Role | None = None
    beat: int = 0
    left: str | None = None
