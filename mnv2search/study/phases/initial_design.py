"""Third phase: a few networks, spread over predicted latency, before the sampler is asked."""

from __future__ import annotations

from random import Random

from mnv2search.study.candidates import by_halves, evenly
from mnv2search.study.evaluate_candidate import evaluate_picks
from mnv2search.study.latency_model import FEW
from mnv2search.study.state import SearchState
from mnv2search.study.storage.journal import Journal

# Networks of the initial design, and draws among which they are chosen.
FIRST_PICKS = 12
FIRST_DRAWS = 200


def evaluate_initial_design(state: SearchState, journal: Journal) -> None:
    """Evaluate the initial design, as far as it is not known from an earlier part of the run.

    Raises:
        DeviceError: the device cannot run a network.
        EvaluatorError: an accuracy cannot be determined.
    """
    count = len(state.first) or design_size(state)
    wanted = min(count, state.settings.trials or count) - len(state.networks)
    if wanted <= 0:
        return
    # those of a preparation are measured already
    picks = evenly([pick for pick in state.first if pick not in state.networks], wanted)
    if not picks:
        drawn = sorted(state.draw(Random(state.settings.seed), FIRST_DRAWS) - set(state.networks))
        picks = state.candidates.spread(drawn, count=wanted, top=state.plan.design_reach)
    ordered = by_halves(picks)
    for group in [(pick,) for pick in ordered] if state.plan.takes_time else [picks]:
        if state.is_over and any(map(state.plan.is_answered_by, state.networks.values())):
            return  # however little time there is, a front or a refusal rests on a measurement
        if not state.has_time_for(group):
            state.is_short = True
            continue  # a smaller one may still be trained
        time_s = state.deadline.until(state.plan.shares.calibration)
        evaluations = evaluate_picks(state, group, stage="calibration", time_s=time_s)
        for pick, evaluation in zip(group, evaluations, strict=True):
            journal.add(pick, evaluation)


def design_size(state: SearchState) -> int:
    """How many networks are measured before the sampler is asked."""
    return max(FEW, state.latency.room(state.deadline.until(state.plan.shares.calibration), most=FIRST_PICKS))
