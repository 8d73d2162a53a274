"""The loop of a worker: claim a waiting network of a run, evaluate it, and return the answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from mnv2search.accuracy.evaluator import Evaluator
from mnv2search.cost import cost_of
from mnv2search.errors import Mnv2SearchError, StorageError
from mnv2search.evaluation import Budget, completed
from mnv2search.spec.space import SearchSpace, resolve
from mnv2search.study.latency_model import LatencyModel
from mnv2search.study.types import Worker
from mnv2search.study.workers.heartbeat import BEAT_S, Pulse, beating
from mnv2search.study.workers.jobs import Answer, Failure, Job, Presence, Reason
from mnv2search.study.workers.shared_study import SharedStudy
from mnv2search.study.workers.weights_store import WeightsStore

# Shortest and longest interval at which a worker polls for a waiting network.
LEAST_WAIT_S, MOST_WAIT_S = 0.01, 0.5


@dataclass(slots=True, kw_only=True)
class NetworkEvaluator:
    """Evaluates the networks of a run in a worker.

    Attributes:
        evaluator: evaluator; None for the role `latency`.
        latency: latency model; None for the role `accuracy`.
        store: store of the shared weights that the evaluator needs; None if it needs none.
    """

    space: SearchSpace
    budget: Budget
    seed: int
    evaluator: Evaluator | None
    latency: LatencyModel | None
    store: WeightsStore | None = None
    _loaded: str | None = None

    def is_ready(self, digest: str | None) -> bool:
        """Whether networks can be evaluated; loads the shared weights once the run has written their digest.

        Raises:
            EvaluatorError: the weights do not suit the images of this machine.
            StorageError: the weights cannot be read.
        """
        if self.evaluator is None or self.store is None:
            return True
        if digest is not None and digest != self._loaded:
            self.evaluator.use_shared_weights(self.space, self.store.read(digest))
            self._loaded = digest
        return digest is not None

    def answer(self, job: Job, *, worker: Worker, clock: Callable[[], float]) -> Answer:
        """Measure the latency unless it is known, and determine the accuracy if the network fits the budget.

        Raises:
            DeviceError: the device cannot run the network.
            EvaluatorError: the accuracy cannot be determined.
            StorageError: the network does not belong to the space.
        """
        if not job.is_of(self.space.cards):
            raise StorageError(f"{job.name} is not a network of the space {self.space.name}")
        begin, curve = clock(), list[tuple[int, float]]()
        spec = replace(resolve(self.space, job.pick), name=job.name)
        latency = job.latency
        if latency is None:
            assert self.latency is not None  # ensured by `Job.suits`
            (latency,) = self.latency.measure([spec], time_s=None, on_progress=lambda _: None)
        found = completed(
            spec,
            cost=cost_of(spec),
            latency=latency,
            budget=self.budget,
            seed=self.seed,
            evaluator=self.evaluator,
            report=lambda step, value: curve.append((step, value)),
        )
        return Answer(
            worker=worker,
            latency=latency,
            accuracy=found.accuracy,
            is_whole=self.evaluator is not None,
            elapsed_s=clock() - begin,
            curve=tuple(curve),
        )


def work(
    study: SharedStudy,
    evaluator: NetworkEvaluator,
    presence: Presence,
    *,
    told: Callable[[str, int], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Evaluate networks of a run until it has ended; returns their number.

    If the worker is interrupted or fails, it returns its network to the run. `told` is called before each evaluation,
    with the name of the network and the number of networks evaluated so far.

    Raises:
        DeviceError: the device cannot run a network.
        EvaluatorError: an accuracy cannot be determined.
        StorageError: the storage cannot be used.
    """
    count, wait_s, pulse, left = 0, LEAST_WAIT_S, Pulse(clock=clock), "the run has ended"
    claimed, looked_at, is_ready = None, clock(), False
    try:
        with beating(lambda beat: study.report(replace(presence, beat=beat))):
            while True:
                if claimed is None or clock() - looked_at >= BEAT_S:
                    looked_at, signals = clock(), study.signals()
                    if signals.status != "running" or pulse.is_silent("run", signals.beat):
                        return count
                    is_ready = evaluator.is_ready(signals.weights)
                claimed = study.claim(presence.worker.name, only=presence.only) if is_ready else None
                if claimed is None:
                    sleep(wait_s)
                    wait_s = min(2 * wait_s, MOST_WAIT_S)
                    continue
                told(claimed[1].name, count)
                count += _evaluate(study, evaluator, presence.worker, *claimed, clock=clock)
                wait_s = LEAST_WAIT_S
    except BaseException as error:
        left = _reason(error)
        raise
    finally:
        with contextlib.suppress(StorageError):
            study.report(replace(presence, left=left))


def _evaluate(
    study: SharedStudy,
    evaluator: NetworkEvaluator,
    worker: Worker,
    trial_id: int,
    job: Job,
    *,
    clock: Callable[[], float],
) -> bool:
    """Evaluate a network; returns False if the run has already ended its trial."""
    try:
        answer = evaluator.answer(job, worker=worker, clock=clock)
    except BaseException as error:
        hint = error.hint if isinstance(error, Mnv2SearchError) else ""
        reason: Reason = "error" if isinstance(error, Exception) else "returned"
        study.fail(trial_id, Failure(reason=reason, worker=worker.name, message=_reason(error), hint=hint))
        raise
    return study.finish(trial_id, answer)


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted"
    return error.message if isinstance(error, Mnv2SearchError) else f"{type(error).__name__}: {error}"
