"""Fourth phase: the sampler is asked for networks, and told what they came to, until trials or time are used up."""

from __future__ import annotations

import time

from mnv2search.spec.space import canonical
from mnv2search.study.evaluate_candidate import evaluate_picks
from mnv2search.study.results import reference_of
from mnv2search.study.sampler import make_sampler
from mnv2search.study.state import SearchState
from mnv2search.study.storage.journal import Asked, Journal, distributions_of

# Up to so many times the budget, accuracy that is gained within it counts: the slowest network that fits is the one
# to ship, so it has to be worth as much as a faster one.
COUNTS_TO = 2.0


def open_journal(state: SearchState) -> Journal:
    """The study with its sampler and the evaluations of an earlier part of the run.

    Raises:
        WriteError: the study cannot be written.
    """
    sampler = make_sampler(
        state.settings.sampler,
        seed=state.settings.seed,
        space=distributions_of(state.space),
        describe=state.candidates.describe,
        batch=state.settings.batch,
        budget=state.settings.trials,
        reference=reference_of(state.baseline.values(), budget_ms=state.budget.latency_ms),
        ceiling=COUNTS_TO * state.budget.latency_ms,
    )
    return Journal(
        state.space,
        sampler=sampler,
        path=state.storage.study_path,
        known=state.networks,
        noted=state.listener.noted,
    )


def search(state: SearchState, journal: Journal) -> None:
    """Ask for some networks, measure them side by side and tell the sampler, again and again.

    Raises:
        DeviceError: the device cannot run a network.
        EvaluatorError: an accuracy cannot be determined.
    """
    while not state.is_over:
        asked = _ask(state, journal)
        if not state.has_time_for([question.pick for question in asked]):
            state.is_short = state.is_out_of_time = True
            return
        evaluations = evaluate_picks(
            state,
            [canonical(state.space, question.pick) for question in asked],
            stage="search",
            time_s=state.deadline.until(state.plan.shares.search),
        )
        for question, evaluation in zip(asked, evaluations, strict=True):
            journal.tell(question, evaluation)


def _ask(state: SearchState, journal: Journal) -> list[Asked]:
    """New picks, as many as are measured side by side; a repeated one is answered from memory."""
    settings = state.settings
    room = 1 if settings.sampler != "hybrid" or state.plan.takes_time else settings.batch
    if settings.trials is not None:
        room = min(room, settings.trials - len(state.networks))
    room = max(1, state.room(room))
    start = time.process_time()
    new, is_exhausted = journal.ask_new(state.networks, room=room)
    state.is_exhausted = state.is_exhausted or is_exhausted
    state.sampler_cpu_s += time.process_time() - start
    return new
