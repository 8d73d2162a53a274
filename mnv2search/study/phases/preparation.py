"""Second phase: the evaluator prepares itself for the whole space, or for the time that its trainings have."""

from __future__ import annotations

from random import Random

from mnv2search.study.phases.initial_design import FIRST_DRAWS, design_size
from mnv2search.study.state import SearchState

# Draws among which those are found that an evaluator prepares itself for.
BAND_DRAWS = 4000


def fit_trainings(state: SearchState) -> None:
    """Let an evaluator that is timed choose how long its trainings are.

    Raises:
        OptionError: no training fits into the time.
    """
    if not state.evaluator.is_timed:
        return
    state.learn()
    drawn = sorted(state.draw(Random(state.settings.seed), FIRST_DRAWS))
    preparation = state.preparation(state.candidates.band(drawn), until=state.plan.shares.search)
    state.notes += state.plan.fit(preparation, has_some=bool(state.rated))
    state.restart_rungs()


def prepare(state: SearchState, *, until: float = 1.0) -> tuple[str, ...]:
    """Let the evaluator work for the whole space, biased towards networks that fit the budget.

    Args:
        state: of the search; gets the picks that were measured for a prediction of latency.
        until: share of the whole time at which the preparation has to be over.

    Returns:
        Notes of the evaluator; none where it needs no preparation.

    Raises:
        DeviceError: the device cannot run a network.
        EvaluatorError: the preparation fails.
    """
    if not state.plan.is_prepared:
        return ()
    random = Random(state.settings.seed)
    state.first = state.candidates.spread(sorted(state.draw(random, FIRST_DRAWS)), count=design_size(state))
    specs, end = state.named(state.first), state.plan.shares.calibration
    latencies = state.measure(specs, phase="calibration", time_s=state.deadline.until(end))
    baseline = [(e.spec, e.latency.median_ms) for e in state.baseline.values() if e.latency is not None]
    first = [(spec, latency.median_ms) for spec, latency in zip(specs, latencies, strict=True)]
    state.latency.predictor.fit([*baseline, *first])
    band = state.candidates.band(sorted(state.draw(random, BAND_DRAWS)))
    notes = state.evaluator.prepare(state.preparation(band, until=until))
    state.notes += notes
    return notes
