"""The Optuna studies that a run and its workers share: networks to evaluate, answers, and the state of the workers.

The run adds a waiting trial for each network. A worker starts the trial, which only one worker can do, and finishes
it with an answer in the attributes of the trial. These trials have no parameters, which the study file in the folder
of the run has.

The attributes of one study hold the state of the run and its workers. The trials are in further studies, its parts,
of at most `MOST_TRIALS` each, because Optuna's storage proxy reads all trials of a study.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, Self, TypeVar

import msgspec
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState

from mnv2search.errors import RecordError, StorageError
from mnv2search.study.workers.jobs import Answer, Failure, Job, Presence, Role, RunDescription
from mnv2search.study.workers.proxy_trials import ProxyTrials
from mnv2search.study.workers.storage_url import (
    LostStorageError,
    add_state_index,
    close_storage,
    masked,
    open_storage,
    sqlite_file,
    storage_errors,
)
from mnv2search.study.workers.trials import UNFINISHED, DatabaseTrials, StoredTrial, Trials

T = TypeVar("T")
Status = Literal["running", "finished", "interrupted"]
# How long an operation is tried again while the storage cannot be reached, and the pause before each attempt.
PATIENCE_S, RETRY_S = 120.0, 1.0
# Attributes of the study.
RUN, STATUS, OWNER, WEIGHTS, WORKER = "mnv2search", "status", "owner", "weights", "worker:"
# Ids of the parts: all, and those that may have unfinished trials.
PARTS, OPEN_PARTS = "parts", "open_parts"
MOST_TRIALS = 1000
# Attributes of a trial.
JOB, TAKEN_BY, ANSWER, FAILURE = "job", "worker", "answer", "failure"
DIRECTIONS = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A waiting trial (`worker` is None), or a running one (`worker` is empty until the worker writes its name)."""

    job: Job
    worker: str | None


class Signals(NamedTuple):
    """What a run tells its workers: its status, its count of heartbeats, and the digest of its shared weights."""

    status: str
    beat: object
    weights: str | None


class SharedStudy:
    """A study in a storage, opened by `create` or `join`; a context manager that closes its connections.

    Attributes:
        patience_s: time for which an operation is tried again while the storage cannot be reached. Reports about this
            process (`beat`, `report` and `write_status`) are tried once.

    Raises:
        StorageError: the storage cannot be used (raised by any method).
    """

    def __init__(self, url: str, storage: BaseStorage, study_id: int) -> None:
        self._url, self._storage, self._id = url, storage, study_id
        self._study = self._part(study_id)
        self._parts: dict[int, Trials] = {}  # that may have unfinished trials, in order
        self._room = 0  # in the latest part, if this process added it
        self._has_rivals = False
        self.patience_s = PATIENCE_S

    @classmethod
    def create(cls, url: str, run: RunDescription, *, replaces: bool) -> SharedStudy:
        """Create the study of a run, or open it again, even if the run was renamed; `replaces` ends another run.

        Raises:
            RecordError: the storage holds another run of this name that has not ended.
        """
        with _opened(url) as storage, storage_errors(url):
            earlier = None
            for other in _runs(storage):
                if other.created_at == run.created_at and (other.name == run.name or other.status != "running"):
                    earlier = other
                if other.name != run.name or other.created_at == run.created_at or other.status != "running":
                    continue
                if not replaces:
                    raise RecordError(
                        f"the storage {masked(url)} holds another run named {run.name!r} that has not ended",
                        hint="give this run another --name, or --force to end the other one",
                    )
                storage.set_study_user_attr(other.study_id, STATUS, "interrupted")
            add_state_index(storage)
            study_id = _new_study(storage, run) if earlier is None else earlier.study_id
            storage.set_study_user_attr(study_id, RUN, msgspec.to_builtins(run))
            storage.set_study_user_attr(study_id, STATUS, "running")
            study = cls(url, storage, study_id)
            study.signals()
            return study

    @classmethod
    def join(cls, url: str, name: str) -> SharedStudy:
        """Open the study of the run with a name; of several, the latest that has not ended, or else the latest.

        Raises:
            RecordError: the storage has no such run.
        """
        file = sqlite_file(url)
        missing = RecordError(
            f"the storage {masked(url)} has no run named {name!r}",
            hint="start it with `mnv2search run --storage`, with this --name and this storage",
        )
        if file is not None and not file.is_file():  # opening it would create it
            raise missing
        with _opened(url) as storage, storage_errors(url):
            named = [one for one in _runs(storage) if one.name == name]
            runs = sorted(named, key=lambda one: (one.status == "running", one.created_at))
            if not runs:
                raise missing
            study = cls(url, storage, runs[-1].study_id)
            study.signals()
            return study

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connections to the storage."""
        close_storage(self._storage)

    # -- the run ---------------------------------------------------------------------------------------------------

    def put(self, job: Job) -> int:
        """Add a network to evaluate; returns the id of its trial."""
        if not self._room:
            self._call(self._add_part)
        trial_id = self._call(lambda: self._latest.add({JOB: job}))
        self._room -= 1
        return trial_id

    def unfinished(self) -> dict[int, Unfinished]:
        """The waiting and running trials by id, in order; workers no longer look at parts without such trials."""
        found = {
            study_id: self._call(partial(part.with_states, UNFINISHED)) for study_id, part in self._parts.items()
        }
        if done := [study_id for study_id in list(found)[:-1] if not found[study_id]]:
            for study_id in done:
                del self._parts[study_id]
            self._call(lambda: self._storage.set_study_user_attr(self._id, OPEN_PARTS, list(self._parts)))
        return {trial.trial_id: _unfinished(trial) for trials in found.values() for trial in trials}

    def finished(self, ids: Collection[int]) -> dict[int, Answer | Failure]:
        """The answers or failures of those of these trials that are finished, in order."""
        found = self._call(lambda: self._study.finished(ids, parts=self._parts)) if ids else []
        return {trial.trial_id: _outcome(trial) for trial in found}

    def outcomes(self) -> Iterator[tuple[int, Job, Answer | Failure | None]]:
        """Yield id, network and outcome (None if unfinished) of every trial, in order."""
        for study_id in self._ids(PARTS):
            for trial in self._call(partial(self._part(study_id).with_states, TrialState)):
                yield trial.trial_id, _job(trial), None if trial.state in UNFINISHED else _outcome(trial)

    def presences(self) -> tuple[Presence, ...]:
        """The last reports of all workers that ever joined."""
        found = self.attributes()
        return tuple(_as(Presence, value) for key, value in found.items() if key.startswith(WORKER))

    def write_status(self, status: Status) -> None:
        """Write the status of the run, from which workers see whether the run still needs them."""
        self._write(STATUS, status)

    def write_weights(self, digest: str) -> None:
        """Write the digest of the shared weights, without which workers do not begin."""
        self._call(lambda: self._storage.set_study_user_attr(self._id, WEIGHTS, digest))

    # -- workers ---------------------------------------------------------------------------------------------------

    def claim(self, worker: str, *, only: Role | None = None) -> tuple[int, Job] | None:
        """Start a waiting trial that suits a role; returns its id and network, or None if there is none.

        The first waiting trial is tried first. Once another worker has been quicker, the order is random, because
        otherwise all workers would compete for the first trial.
        """

        def choose(waiting: list[StoredTrial]) -> Iterator[StoredTrial]:
            suitable = [trial for trial in waiting if _job(trial).suits(only)]
            if self._has_rivals:
                random.shuffle(suitable)
            for trial in suitable:
                yield trial
                self._has_rivals = True  # another worker was quicker

        for part in self._parts.values():
            if (claimed := self._call(partial(part.claim, choose, {TAKEN_BY: worker}))) is not None:
                return claimed.trial_id, _job(claimed)
        return None

    def finish(self, trial_id: int, answer: Answer) -> bool:
        """Finish a trial with an answer; returns False if the run has already ended the trial."""
        accuracy = 0.0 if answer.accuracy is None else answer.accuracy.rank
        values = [accuracy, answer.latency.median_ms]
        return self._call(lambda: self._study.end(trial_id, TrialState.COMPLETE, {ANSWER: answer}, values))

    def fail(self, trial_id: int, failure: Failure) -> bool:
        """End a trial without an answer; returns False if it is already finished."""
        return self._call(lambda: self._study.end(trial_id, TrialState.FAIL, {FAILURE: failure}))

    def report(self, presence: Presence) -> None:
        """Write the state of a worker."""
        self._write(f"{WORKER}{presence.worker.name}", msgspec.to_builtins(presence))

    def beat(self, count: int) -> None:
        """Write the heartbeat of the run."""
        self._write(OWNER, count)

    def signals(self) -> Signals:
        """What the run tells its workers; `claim` then knows the parts of the study."""
        found = self._call(lambda: self._study.study_attributes((STATUS, OWNER, WEIGHTS, OPEN_PARTS)))
        weights, ids = found.get(WEIGHTS), _as(list[int], found.get(OPEN_PARTS, []))
        self._parts = {study_id: self._parts.get(study_id) or self._part(study_id) for study_id in ids}
        return Signals(str(found.get(STATUS)), found.get(OWNER), None if weights is None else str(weights))

    @property
    def run(self) -> RunDescription:
        """The description of the run."""
        return _as(RunDescription, self.attributes().get(RUN))

    def attributes(self) -> dict[str, Any]:
        """The attributes of the study: `RUN`, `STATUS`, `OWNER`, `WEIGHTS`, and one for each worker."""
        return self._call(lambda: self._storage.get_study_user_attrs(self._id))

    # -- storage ---------------------------------------------------------------------------------------------------

    @property
    def _latest(self) -> Trials:
        return next(reversed(self._parts.values()))

    def _part(self, study_id: int) -> Trials:
        if isinstance(self._storage, RDBStorage):
            return DatabaseTrials(self._storage, study_id)
        return ProxyTrials(self._storage, study_id)

    def _ids(self, key: str) -> list[int]:
        return _as(list[int], self._call(lambda: self._study.study_attributes([key])).get(key, []))

    def _add_part(self) -> None:
        """Add a part of the study, to which only this process adds trials."""
        name = f"{self.run.name} {self.run.created_at} part {secrets.token_hex(4)}"
        study_id = self._storage.create_new_study(DIRECTIONS, name)
        self._storage.set_study_user_attr(self._id, PARTS, [*self._ids(PARTS), study_id])
        self._storage.set_study_user_attr(self._id, OPEN_PARTS, [*self._parts, study_id])
        self._parts[study_id], self._room = self._part(study_id), MOST_TRIALS

    def _write(self, key: str, value: object) -> None:
        with storage_errors(self._url):
            self._storage.set_study_user_attr(self._id, key, value)

    def _call(self, operation: Callable[[], T]) -> T:
        """Call an operation, and try again while the storage cannot be reached, for instance because it restarts.

        If the connection is lost after the operation succeeded, the operation is done twice. At worst, this wastes an
        evaluation: a trial is added twice, or runs without the name of a worker until the run gives it to another.
        """
        ends = time.monotonic() + self.patience_s
        while True:
            try:
                with storage_errors(self._url):
                    return operation()
            except LostStorageError:
                if time.monotonic() >= ends:
                    raise
            time.sleep(RETRY_S)


@contextlib.contextmanager
def _opened(url: str) -> Iterator[BaseStorage]:
    """Open a storage, and close it after an error."""
    storage = open_storage(url)
    try:
        yield storage
    except BaseException:
        close_storage(storage)
        raise


class _Found(NamedTuple):
    study_id: int
    name: str
    created_at: str
    status: str


def _runs(storage: BaseStorage) -> Iterator[_Found]:
    """Yield the studies of all runs."""
    for one in storage.get_all_studies():
        if RUN in one.user_attrs:
            run = _as(RunDescription, one.user_attrs[RUN])
            yield _Found(one._study_id, run.name, run.created_at, one.user_attrs.get(STATUS, "running"))


def _new_study(storage: BaseStorage, run: RunDescription) -> int:
    name = f"{run.name} {run.created_at}"
    with contextlib.suppress(DuplicatedStudyError):
        storage.create_new_study(DIRECTIONS, name)
    return storage.get_study_id_from_name(name)


def _unfinished(trial: StoredTrial) -> Unfinished:
    is_running = trial.state == TrialState.RUNNING
    return Unfinished(job=_job(trial), worker=str(trial.attributes.get(TAKEN_BY, "")) if is_running else None)


def _job(trial: StoredTrial) -> Job:
    return _as(Job, trial.attributes.get(JOB))


def _outcome(trial: StoredTrial) -> Answer | Failure:
    if trial.state == TrialState.COMPLETE:
        return _as(Answer, trial.attributes.get(ANSWER))
    return _as(Failure, trial.attributes.get(FAILURE, {"reason": "lost"}))


def _as(kind: type[T], value: object) -> T:
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as error:
        raise StorageError(
            f"a trial in the storage was not written by this version of mnv2search: {error}",
            hint="use the same version for the run and all of its workers",
        ) from error
