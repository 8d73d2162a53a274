"""Phases of a search, in the order in which the engine runs them; `Search.run` documents their errors."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import cast

from mnv2search.accuracy.types import metric_text
from mnv2search.cost import cost_of
from mnv2search.evaluation import Evaluation, completed, no_report
from mnv2search.latency.types import Latency
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import Pick, canonical
from mnv2search.study.baseline import obvious_of
from mnv2search.study.candidates import by_halves, evenly
from mnv2search.study.evaluation_plan import RIVALS
from mnv2search.study.latency_model import FEW
from mnv2search.study.results import finalists_of, front_of, median_ms_of, reference_of
from mnv2search.study.sampler import make_sampler
from mnv2search.study.state import SearchState
from mnv2search.study.storage.journal import Asked, Journal, distributions_of
from mnv2search.study.supernet_reliability import smoothed
from mnv2search.study.types import Evaluated, Phase, Stage

# Networks of the initial design, and random picks from which they are chosen.
FIRST_PICKS = 12
FIRST_DRAWS = 200
# Shares of the latency budget within which networks that are similar to the network of given weights come first.
SIMILAR_SHARES = (1.0, 0.85, 0.7)
# Number of such networks, at resolutions spread over the space, that are trained first if every network is trained.
SIMILAR_TRAINED = 3
# Random picks from which the band of a preparation is chosen.
BAND_DRAWS = 4000
# Multiple of the budget that bounds the hypervolume: with the budget itself as the bound, the slowest networks that
# fit, of which one is shipped, would gain next to nothing.
COUNTS_TO = 2.0


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
    state: SearchState, spec: ModelSpec, latency: Latency | None, *, stage: Stage, pick: Pick = (), rated: bool = True
) -> Evaluation:
    """Complete one evaluation and record it; a training that falls behind others is stopped.

    `latency` is None if counted limits exclude the network, `pick` is empty for baseline networks, and the accuracy
    is determined only if `rated`.
    """
    begin, seed = state.deadline.elapsed_s, state.settings.seed
    is_told = rated and state.plan.takes_time
    # trainings of the baseline are never stopped, since it is compared with
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
        evaluator=state.evaluator if rated else None,
        report=report,
    )
    if rungs and watch and watch.curve:
        expected = rungs.expected(watch.curve) if found.accuracy is None else None
        found = replace(found, curve=watch.curve, expected=expected)
    if stage == "baseline" and state.plan.has_exact_baseline and found.accuracy is None:
        # a baseline network counts as a rival even if another limit than latency excludes it
        found = replace(found, accuracy=state.evaluator.evaluate(spec, seed=seed, report=no_report))
    found = replace(found, elapsed_s=state.deadline.elapsed_s - begin)
    state.keep(Evaluated(trial=state.next_trial if pick else -1, stage=stage, pick=pick, evaluation=found))
    return found


def measure_baseline(state: SearchState) -> None:
    """Measure the MobileNetV2 grid and the network of given weights, and determine accuracies as time allows."""
    end = state.plan.shares.baseline
    whole = [spec for spec in (*state.given, *state.grid) if spec not in state.baseline]
    grid = state.latency.affordable(
        whole, time_s=state.deadline.until(end), on_progress=lambda _: state.tell_progress("baseline")
    )
    counts = [sum(spec in state.grid for spec in specs) for specs in (grid, whole)]
    if counts[0] < counts[1]:
        state.notes += (
            f"only {counts[0]} of the {counts[1]} networks of the MobileNetV2 grid were measured, because "
            f"{100 * end:.0f} % of the search time is reserved for them and each takes {state.latency.visit_s:.2g} s",
        )
    latencies = state.measure(grid, phase="baseline", time_s=state.deadline.until(end))
    measured = dict(zip(grid, latencies, strict=True))
    fitting = [spec for spec in grid if measured[spec].verdict(state.budget.latency_ms) == "fits"]
    slowest_first = sorted(fitting, key=lambda spec: -measured[spec].median_ms)
    rivals = state.plan.rivals(grid, obvious_of(slowest_first, given=state.given))
    # networks that are not trained are recorded first, so that an interruption loses only trainings
    for spec in (spec for spec in grid if spec not in rivals):
        evaluate_network(state, spec, measured[spec], stage="baseline", rated=False)
    _fit_trainings(state)
    for number, spec in enumerate(rivals):
        rated = state.plan.evaluates_rival(number, spec)
        evaluate_network(state, spec, measured[spec], stage="baseline", rated=rated)
    state.learn()


def _fit_trainings(state: SearchState) -> None:
    if not state.evaluator.is_timed:
        return
    state.learn()
    drawn = sorted(state.draw(Random(state.settings.seed), FIRST_DRAWS))
    preparation = state.preparation(state.candidates.band(drawn), until=state.plan.shares.search)
    state.notes += state.plan.fit(preparation, has_some=bool(state.rated))
    state.restart_rungs()


def prepare(state: SearchState, *, until: float = 1.0) -> tuple[str, ...]:
    """Prepare the evaluator for networks that fit the budget; returns notes for the user.

    The preparation ends at `until`, a share of the whole time.
    """
    if not state.plan.is_prepared:
        return ()
    random = Random(state.settings.seed)
    state.first = state.candidates.spread(sorted(state.draw(random, FIRST_DRAWS)), count=_design_size(state))
    specs, end = state.named(state.first), state.plan.shares.calibration
    latencies = state.measure(specs, phase="calibration", time_s=state.deadline.until(end))
    baseline = [(e.spec, e.latency.median_ms) for e in state.baseline.values() if e.latency is not None]
    first = [(spec, latency.median_ms) for spec, latency in zip(specs, latencies, strict=True)]
    state.latency.predictor.fit([*baseline, *first])
    similar = [pick for share in SIMILAR_SHARES for pick in _similar(state, share=share)]
    state.first = tuple(dict.fromkeys((*state.first, *similar)))
    band = state.candidates.band(sorted({*state.draw(random, BAND_DRAWS), *similar}))
    notes = state.evaluator.prepare(state.preparation(band, until=until))
    state.notes += notes
    return notes


def _similar(state: SearchState, *, share: float = 1.0) -> tuple[Pick, ...]:
    """Picks that keep most of the given weights within a share of the latency budget; none without given weights."""
    if state.given_network is None:
        return ()
    from mnv2search.supernet.nearest_subnet import fitting_subnets  # late: it loads torch

    return fitting_subnets(state.space, state.given_network, fits=partial(state.candidates.fits, share=share))


def open_journal(state: SearchState) -> Journal:
    """Open the study, with its sampler and the evaluations of an earlier part of the run."""
    settings = state.settings
    sampler = make_sampler(
        settings.sampler,
        seed=settings.seed,
        space=distributions_of(state.space),
        describe=state.candidates.describe,
        batch=settings.batch,
        budget=settings.trials,
        reference=reference_of(state.baseline.values(), budget_ms=state.budget.latency_ms),
        ceiling=COUNTS_TO * state.budget.latency_ms,
    )
    path, noted = state.storage.study_path, state.listener.noted
    return Journal(state.space, sampler=sampler, path=path, known=state.networks, noted=noted)


def initial_design(state: SearchState, *, known: Collection[Pick]) -> tuple[Pick, ...]:
    """Picks of the initial design that are not known yet, spread over predicted latency."""
    count = len(state.first) or _design_size(state)
    wanted = min(count, state.settings.trials or count) - len(known)
    if wanted <= 0:
        return ()
    # picks of a preparation are already measured
    picks = evenly([pick for pick in state.first if pick not in known], wanted)
    if picks:
        return by_halves(picks)
    similar = tuple(pick for pick in _similar(state) if pick not in known)
    picks = evenly(similar, min(SIMILAR_TRAINED, wanted)) if similar else ()
    drawn = sorted(state.draw(Random(state.settings.seed), FIRST_DRAWS) - {*known, *picks})
    others = state.candidates.spread(drawn, count=wanted - len(picks), top=state.plan.design_reach)
    return (*picks, *by_halves(others))


def evaluate_initial_design(state: SearchState, journal: Journal) -> None:
    """Evaluate networks spread over predicted latency, except those known from an earlier part of the run."""
    picks = initial_design(state, known=state.networks)
    if not picks:
        return
    for group in [(pick,) for pick in picks] if state.plan.takes_time else [picks]:
        if state.is_over and any(map(state.plan.is_answered_by, state.networks.values())):
            return  # only now: at least one network must be measured for a front or a refusal
        if not state.has_time_for(group):
            state.is_short = True
            continue  # a smaller network may still be trained
        time_s = state.deadline.until(state.plan.shares.calibration)
        evaluations = evaluate_picks(state, group, stage="calibration", time_s=time_s)
        for pick, evaluation in zip(group, evaluations, strict=True):
            journal.add(pick, evaluation)


def _design_size(state: SearchState) -> int:
    return max(FEW, state.latency.room(state.deadline.until(state.plan.shares.calibration), most=FIRST_PICKS))


def search(state: SearchState, journal: Journal) -> None:
    """Evaluate picks of the sampler, in batches measured side by side, until trials or time are used up."""
    while not state.is_over:
        asked = ask(state, journal, room=_batch_size(state))
        if not state.has_time_for([question.pick for question in asked]):
            state.is_short = state.is_out_of_time = True
            return
        picks = [canonical(state.space, question.pick) for question in asked]
        time_s = state.deadline.until(state.plan.shares.search)
        evaluations = evaluate_picks(state, picks, stage="search", time_s=time_s)
        for question, evaluation in zip(asked, evaluations, strict=True):
            journal.tell(question, evaluation)


def _batch_size(state: SearchState) -> int:
    """Number of picks to measure side by side."""
    settings = state.settings
    room = 1 if settings.sampler != "hybrid" or state.plan.takes_time else settings.batch
    if settings.trials is not None:
        room = min(room, settings.trials - len(state.networks))
    return max(1, state.room(room))


def ask(state: SearchState, journal: Journal, *, room: int, pending: Collection[Pick] = ()) -> list[Asked]:
    """Ask for at most `room` new picks; known results of repeated picks are reported at once."""
    start = time.process_time()
    new, is_exhausted = journal.ask_new(state.networks, room=room, pending=pending)
    state.is_exhausted = state.is_exhausted or is_exhausted
    state.sampler_cpu_s += time.process_time() - start
    return new


def measure_finalists(state: SearchState) -> None:
    """Measure the best networks again, side by side with the best of the baseline; no earlier latency is reused.

    The best of the baseline are the obvious networks, unless their accuracy is known exactly.
    """
    budget, seed = state.budget, state.settings.seed
    of_region, rated = state.plan.is_prepared, state.rated
    if of_region:  # inherited accuracies are smoothed over all networks
        rated = smoothed(state.networks, state.candidates.describe, cards=state.space.cards)
    finalists = finalists_of(rated, budget_ms=budget.latency_ms, of_region=of_region)
    rivals = front_of([e for e in state.baseline.values() if e.accuracy is not None])[-RIVALS:]
    if not state.plan.has_exact_baseline:
        rivals = _obvious(state)
    state.latency.begin_anew()
    latencies = state.measure([e.spec for e in (*finalists, *rivals)], phase="final", time_s=state.deadline.left_s)
    for index, (known, latency) in enumerate(zip((*finalists, *rivals), latencies, strict=True)):
        stage: Stage = "final" if index < len(finalists) else "final-baseline"
        measured = completed(known.spec, cost=cost_of(known.spec), latency=latency, budget=budget, seed=seed)
        evaluation = replace(measured, accuracy=known.accuracy, curve=known.curve)
        state.keep(Evaluated(trial=-1, stage=stage, pick=(), evaluation=evaluation))


def _obvious(state: SearchState) -> tuple[Evaluation, ...]:
    fitting = sorted((e for e in state.baseline.values() if e.is_feasible), key=median_ms_of, reverse=True)
    return tuple(state.baseline[spec] for spec in obvious_of([e.spec for e in fitting], given=state.given))
