"""The pool of workers of a run: networks are sent out, and answers come back in any order."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from mnv2search.errors import EvaluatorError
from mnv2search.study.storage.journal import Asked
from mnv2search.study.workers.heartbeat import BEAT_S, Pulse
from mnv2search.study.workers.jobs import Answer, Failure, Job, Presence
from mnv2search.study.workers.shared_study import SharedStudy, Unfinished
from mnv2search.study.workers.weights_store import WeightsStore

# Shortest and longest interval at which the storage is polled; it doubles while nothing happens.
LEAST_WAIT_S, MOST_WAIT_S = 0.02, 0.25
# Number of workers failing at the same network at which the run ends.
MOST_FAILURES = 3
# Number of networks that wait for the next free worker, as a share of the number of workers; at least one waits.
WAITING_SHARE = 0.25


def wanted_by(workers: int) -> int:
    """Number of networks that should be pending: one for each worker, and some waiting ones.

    >>> wanted_by(1), wanted_by(8)
    (2, 10)
    """
    return workers + max(1, round(WAITING_SHARE * workers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A network that was sent out and has no answer yet.

    Attributes:
        asked: the sampler's trial; None if the sampler of this process did not propose the network.
        failures: number of workers that failed or died while they evaluated the network.
    """

    job: Job
    asked: Asked | None = None
    failures: int = 0


@dataclass(slots=True)
class WorkerPool:
    """Sends networks to workers and collects their answers, each exactly once.

    If a worker leaves, fails or dies, its network is given to another worker.

    Args:
        count: expected number of workers; more may join.
        store: store of shared weights; None if there are none.
        noted: called with messages about workers.
        start: starts the workers of this machine; called after the first networks were sent out.
        ended: returns the names of those child processes of this process that were workers and have ended.

    Attributes:
        pending: networks without an answer, by trial id.

    Raises:
        StorageError: the storage cannot be used (raised by any method).
    """

    study: SharedStudy
    count: int
    noted: Callable[[str], None]
    store: WeightsStore | None = None
    start: Callable[[], None] = lambda: None
    ended: Callable[[], Collection[str]] = tuple
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    pending: dict[int, Pending] = field(default_factory=dict)
    _present: dict[str, Presence] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)
    _pulse: Pulse = field(init=False)
    _looked_at: float = float("-inf")

    def __post_init__(self) -> None:
        self._pulse = Pulse(clock=self.clock)

    @property
    def wanted(self) -> int:
        """Number of networks that should be pending."""
        return wanted_by(max(self.count, len(self._present), 1))

    def share_weights(self, content: bytes) -> None:
        """Write shared weights to the store, and their digest to the study."""
        assert self.store is not None  # ensured by `worker_pool`
        self.study.write_weights(self.store.write(content))

    def submit(self, pending: Pending) -> None:
        """Give a network to the next free worker."""
        self.pending[self.study.put(pending.job)] = pending

    def resume(self, is_new: Callable[[Job], bool]) -> Iterator[tuple[Job, Answer]]:
        """Yield new answers to jobs of an earlier part of the run, and take over its unfinished jobs."""
        latest = {
            job.number: (trial_id, job, outcome)
            for trial_id, job, outcome in self.study.outcomes()
            if outcome is None or is_new(job)
        }
        for trial_id, job, outcome in latest.values():
            if outcome is None and not is_new(job):
                self.study.fail(trial_id, Failure(reason="withdrawn"))
            elif outcome is None:
                self.pending[trial_id] = Pending(job=job)
            elif isinstance(outcome, Answer) and is_new(job):
                yield job, outcome

    def collect(self, *, most_s: float = 1.0) -> Iterator[tuple[Pending, Answer]]:
        """Wait for answers for at most `most_s`; yields the answered networks in the order of their trials.

        Raises:
            EvaluatorError: several workers failed at the same network, or all workers ended.
        """
        wait_s, ends, is_answered = LEAST_WAIT_S, self.clock() + most_s, False
        while True:
            for trial_id, outcome in self.study.finished(self.pending.keys()).items():
                pending = self.pending.pop(trial_id)
                if isinstance(outcome, Answer):
                    is_answered = True
                    yield pending, outcome
                else:
                    self._try_again(pending, outcome)
            self._look_at_workers()
            if is_answered or not self.pending or self.clock() >= ends:
                return
            self.sleep(wait_s)
            wait_s = min(2 * wait_s, MOST_WAIT_S)

    def withdraw(self, *, running: bool) -> None:
        """Withdraw the waiting networks and, with `running`, also the networks that workers are evaluating."""
        for trial_id, one in self.study.unfinished().items():
            is_meant = trial_id in self.pending and (running or one.worker is None)
            if is_meant and self.study.fail(trial_id, Failure(reason="withdrawn")):
                del self.pending[trial_id]

    def _try_again(self, pending: Pending, failure: Failure) -> None:
        """Give a network without an answer to another worker."""
        failures = pending.failures + (failure.reason != "returned")
        if failure.reason == "error":
            self.noted(f"worker {failure.worker} failed at {pending.job.name} and left: {failure.message}")
        if failures >= MOST_FAILURES:
            raise EvaluatorError(
                f"{pending.job.name} was given up after {failures} workers failed: {failure.message or 'they ended'}",
                hint=failure.hint or "check what the workers wrote to their terminals",
            )
        self.submit(replace(pending, failures=failures))

    def _look_at_workers(self) -> None:
        """Update the list of workers, and give the networks of dead workers to others."""
        ended = set(self.ended())
        if self.clock() - self._looked_at < BEAT_S and ended == self._ended:
            return
        presences = self.study.presences()
        for name in sorted(ended - self._ended - {one.worker.name for one in presences}):
            self.noted(f"worker {name} ended before its first network")
        self._looked_at, self._ended = self.clock(), ended
        present = {}
        for one in presences:
            name = one.worker.name
            is_dead = name in ended or self._pulse.is_silent(name, one.beat)
            if one.left is None and not is_dead:
                present[name] = one
        self._present = present
        self._put_back(self.study.unfinished())
        if self.count and len(ended) >= self.count and not present:
            raise EvaluatorError(
                "all workers have ended", hint="see their messages above, then resume the run with the same command"
            )

    def _put_back(self, unfinished: Mapping[int, Unfinished]) -> None:
        for trial_id, one in unfinished.items():
            if trial_id not in self.pending or one.worker is None or one.worker in self._present:
                continue
            # a worker that is not known yet has the grace period to report itself
            if one.worker in self._ended or self._pulse.is_silent((trial_id, one.worker), None):
                self.study.fail(trial_id, Failure(reason="lost", worker=one.worker))
                self.noted(f"worker {one.worker or 'without a name'} has died: {one.job.name} is given to another")
