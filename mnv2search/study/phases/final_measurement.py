"""Last phase: the best networks are measured afresh, side by side with the best of the baseline."""

from __future__ import annotations

from dataclasses import replace

from mnv2search.cost import cost_of
from mnv2search.evaluation import completed
from mnv2search.study.evaluation_plan import RIVALS
from mnv2search.study.results import finalists_of, front_of
from mnv2search.study.state import SearchState
from mnv2search.study.types import Evaluated, Stage


def measure_finalists(state: SearchState) -> None:
    """Measure what may be on the front afresh; no latency of the search is used again.

    Raises:
        DeviceError: the device cannot run a network.
    """
    candidates, budget = state.candidates, state.budget
    rated = state.plan.candidates_of_final(state.networks, candidates.describe, cards=state.space.cards)
    finalists = finalists_of(rated, budget_ms=budget.latency_ms, of_region=state.plan.is_prepared)
    rivals = front_of([e for e in state.baseline.values() if e.accuracy is not None])[-RIVALS:]
    state.latency.begin_anew()
    latencies = state.measure([e.spec for e in (*finalists, *rivals)], phase="final", time_s=state.deadline.left_s)
    for index, (known, latency) in enumerate(zip((*finalists, *rivals), latencies, strict=True)):
        stage: Stage = "final" if index < len(finalists) else "final-baseline"
        cost, seed = cost_of(known.spec), state.settings.seed
        measured = completed(known.spec, cost=cost, latency=latency, budget=budget, seed=seed)
        evaluation = replace(measured, accuracy=known.accuracy, curve=known.curve)
        state.keep(Evaluated(trial=-1, stage=stage, pick=(), evaluation=evaluation))
