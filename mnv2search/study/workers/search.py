"""Search with workers: the run chooses networks with the sampler, workers evaluate them, the run records answers."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from mnv2search.cost import cost_of
from mnv2search.evaluation import Evaluation, completed
from mnv2search.spec.space import Pick, canonical
from mnv2search.study.phases import ask, initial_design
from mnv2search.study.state import SearchState
from mnv2search.study.storage.journal import Asked, Journal
from mnv2search.study.types import Evaluated, Worker
from mnv2search.study.workers.jobs import Answer, Job, JobStage
from mnv2search.study.workers.pool import Pending, WorkerPool

# Extra share of the total time that running evaluations have to finish after the end of the search.
LATE_SHARE = 0.05


def search_with_workers(state: SearchState, journal: Journal, pool: WorkerPool) -> None:
    """Evaluate the initial design, then picks of the sampler, until the trials or the time are used up.

    A new network is sent out as soon as one is evaluated, so that no worker waits for a slower one. The sampler takes
    pending networks into account. With one worker, the networks and their order depend on the seed alone.
    """
    _Coordinator(state, journal, pool).run()


class _Coordinator:
    def __init__(self, state: SearchState, journal: Journal, pool: WorkerPool) -> None:
        self._state, self._journal, self._pool = state, journal, pool
        self._design: deque[Pick] = deque()

    def run(self) -> None:
        state, pool = self._state, self._pool
        if state.plan.is_prepared:
            pool.share_weights(state.evaluator.shared_weights())
        self._resume()
        self._design.extend(initial_design(state, known=(*state.networks, *self._pending)))
        self._fill()
        pool.start()
        while pool.pending:
            for pending, answer in pool.collect():
                self._take(pending, answer)
                self._fill()
            self._fill()  # more workers may have joined
            state.tell_progress("search")
            if state.is_out_of_time or state.deadline.passed(state.plan.shares.search):
                pool.withdraw(running=state.deadline.passed(state.plan.shares.search + LATE_SHARE))
        state.learn()

    @property
    def _pending(self) -> set[Pick]:
        return {pending.job.pick for pending in self._pool.pending.values()}

    def _resume(self) -> None:
        """Record networks that workers finished since the run was interrupted, and take over unfinished ones."""
        state, cards = self._state, self._state.space.cards
        numbers = {item.trial for item in state.items}

        def is_new(job: Job) -> bool:
            return job.is_of(cards) and job.number not in numbers and job.pick not in state.networks

        for job, answer in list(self._pool.resume(is_new)):
            self._take(Pending(job=job), answer)
        taken_over = (pending.job.number for pending in self._pool.pending.values())
        state.next_trial = max(state.next_trial, *(number + 1 for number in taken_over), 0)

    def _fill(self) -> None:
        """Send out networks until enough are pending."""
        state, pool = self._state, self._pool
        while len(pool.pending) < pool.wanted:
            known = len(state.networks) + len(pool.pending)
            if known and (state.is_over or known >= (state.settings.trials or known + 1)):
                return
            if self._design:
                self._send(self._design.popleft(), None)
                continue
            asked = ask(state, self._journal, room=1, pending=self._pending)
            if not asked:
                return
            self._send(canonical(state.space, asked[0].pick), asked[0])

    def _send(self, pick: Pick, asked: Asked | None) -> None:
        """Send out a network, or record it at once if its counts exceed the limits."""
        state = self._state
        (spec,) = state.named([pick])
        stage: JobStage = "calibration" if asked is None else "search"
        pending = Pending(job=Job(number=state.next_trial, name=spec.name, stage=stage, pick=pick), asked=asked)
        state.next_trial += 1
        cost, budget = cost_of(spec), state.budget
        if budget.cost_violation(cost) > 0:
            excluded = completed(spec, cost=cost, latency=None, budget=budget, seed=state.settings.seed)
            self._record(pending, excluded, worker=None)
        else:
            self._pool.submit(pending)

    def _take(self, pending: Pending, answer: Answer) -> None:
        """Record an answer, or send the network out again if its accuracy is still missing."""
        state, job = self._state, pending.job
        spec = state.candidates.spec(job.pick, name=job.name)
        measured = completed(
            spec,
            cost=cost_of(spec),
            latency=answer.latency,
            budget=state.budget,
            seed=state.settings.seed,
            elapsed_s=answer.elapsed_s,
        )
        if measured.is_feasible and not answer.is_whole:
            self._pool.submit(replace(pending, job=replace(job, latency=answer.latency)))
            return
        found = replace(measured, accuracy=answer.accuracy if measured.is_feasible else None, curve=answer.curve)
        if state.rungs is not None and found.curve and found.accuracy is None:
            found = replace(found, expected=state.rungs.expected(found.curve))
        self._record(pending, found, worker=answer.worker)

    def _record(self, pending: Pending, evaluation: Evaluation, *, worker: Worker | None) -> None:
        state, job = self._state, pending.job
        state.keep(Evaluated(trial=job.number, stage=job.stage, pick=job.pick, evaluation=evaluation, worker=worker))
        if pending.asked is None:
            self._journal.add(job.pick, evaluation)
        else:
            self._journal.tell(pending.asked, evaluation)
        # at fixed numbers of networks, so that the sampler does not depend on the speed of the workers
        if len(state.networks) % state.settings.batch == 0:
            state.learn()
