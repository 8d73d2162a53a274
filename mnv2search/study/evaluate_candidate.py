"""Evaluation of networks in a search: measured side by side, then their accuracies one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from mnv2search.accuracy.types import metric_text
from mnv2search.cost import cost_of
from mnv2search.evaluation import Evaluation, completed, no_report
from mnv2search.latency.types import Latency
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import Pick
from mnv2search.study.state import SearchState
from mnv2search.study.types import Evaluated, Phase, Stage


def evaluate_picks(
    state: SearchState, picks: Sequence[Pick], *, stage: Stage, time_s: float | None
) -> list[Evaluation]:
    """Measure picks side by side, and determine the accuracy of those that fit."""
    specs = state.named(picks)
    allowed = [spec for spec in specs if state.budget.cost_violation(cost_of(spec)) == 0]
    phase: Phase = "calibration" if stage == "calibration" else "search"
    latencies = dict(zip(allowed, state.measure(allowed, phase=phase, time_s=time_s), strict=True))
    evaluations = [
        evaluate_network(state, spec, latencies.get(spec), stage=stage, pick=pick)
        for pick, spec in zip(picks, specs, strict=True)
    ]
    state.learn()
    return evaluations


def evaluate_network(
    state: SearchState,
    spec: ModelSpec,
    latency: Latency | None,
    *,
    stage: Stage,
    pick: Pick = (),
    is_rated: bool = True,
) -> Evaluation:
    """Complete one evaluation and record it; a training that falls behind others is stopped.

    `latency` is None where counted limits exclude the network, `pick` is empty for one of the baseline, and the
    accuracy is determined only if `is_rated`.
    """
    begin, seed = state.deadline.elapsed_s, state.settings.seed
    is_told = is_rated and state.plan.takes_time
    # the baseline is compared with, so its trainings are all finished
    rungs = None if stage == "baseline" else state.rungs
    watch = rungs.watch(latency.median_ms) if rungs and latency else None

    def tell(text: str) -> None:
        if is_told:
            state.tell_progress(cast("Phase", stage), doing=f"{spec.name}: {text}")

    def report(step: int, value: float) -> None:
        tell(f"{100 * value:.1f} % {metric_text(state.evaluator.info.metric)} at step {step}")
        (watch or no_report)(step, value)

    tell("evaluation begins")
    found = completed(
        spec,
        cost=cost_of(spec),
        latency=latency,
        budget=state.budget,
        seed=seed,
        evaluator=state.evaluator if is_rated else None,
        report=report,
    )
    if rungs and watch and watch.curve:
        expected = rungs.expected(watch.curve) if found.accuracy is None else None
        found = replace(found, curve=watch.curve, expected=expected)
    if stage == "baseline" and state.plan.has_exact_baseline and found.accuracy is None:
        # a rival at equal latency counts as one even where another limit excludes it
        found = replace(found, accuracy=state.evaluator.evaluate(spec, seed=seed, report=no_report))
    found = replace(found, elapsed_s=state.deadline.elapsed_s - begin)
    state.keep(Evaluated(trial=state.next_trial if pick else -1, stage=stage, pick=pick, evaluation=found))
    return found
