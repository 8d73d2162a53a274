"""First phase: MobileNetV2's grid is measured, and as much of it rated as there is time for."""

from __future__ import annotations

from mnv2search.study.baseline import baseline_grid
from mnv2search.study.evaluate_candidate import evaluate_network
from mnv2search.study.phases.preparation import fit_trainings
from mnv2search.study.state import SearchState


def measure_baseline(state: SearchState) -> None:
    """Measure what is not measured yet of the grid, and let trainings be fitted to the time before the first one.

    Raises:
        DeviceError: the device cannot run a network.
        EvaluatorError: an accuracy cannot be determined.
        OptionError: no training fits into the time.
    """
    end = state.plan.shares.baseline
    whole = [spec for spec in baseline_grid(state.space) if spec not in state.baseline]
    grid = state.latency.affordable(
        whole, time_s=state.deadline.until(end), on_progress=lambda _: state.tell_progress("baseline")
    )
    if len(grid) < len(whole):
        state.notes += (
            f"{len(grid)} of {len(whole)} networks of the MobileNetV2 grid were measured, for lack of time: each "
            f"takes {state.latency.visit_s:.2g} s",
        )
    latencies = state.measure(grid, phase="baseline", time_s=state.deadline.until(end))
    measured = dict(zip(grid, latencies, strict=True))
    fitting = [spec for spec in grid if measured[spec].verdict(state.budget.latency_ms) == "fits"]
    rivals = state.plan.rivals(grid, sorted(fitting, key=lambda spec: -measured[spec].median_ms))
    # networks without a training are kept first: an interruption loses trainings alone
    for spec in (spec for spec in grid if spec not in rivals):
        evaluate_network(state, spec, measured[spec], stage="baseline", is_rated=False)
    fit_trainings(state)
    for number, spec in enumerate(rivals):
        is_rated = state.plan.evaluates_rival(number, spec)
        evaluate_network(state, spec, measured[spec], stage="baseline", is_rated=is_rated)
    state.learn()
