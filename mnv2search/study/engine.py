"""The search itself: baseline, first measurements, ask and tell, and a final measurement side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import cast

from mnv2search.accuracy.types import AccuracyEvaluator, Evaluator, Preparation, as_evaluator
from mnv2search.cost import cost_of
from mnv2search.errors import OptionError
from mnv2search.evaluation import Budget, Evaluation, completed, no_report
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.types import Latency, LatencyDevice
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import SearchSpace, canonical, random_pick
from mnv2search.study.baseline import baseline_grid
from mnv2search.study.candidates import Candidates, Pick, by_halves, evenly
from mnv2search.study.deadline import PLAIN, PREPARED, Deadline
from mnv2search.study.evaluate_candidate import watched
from mnv2search.study.latency_model import FEW, Gauge
from mnv2search.study.results import REGION_BEGINS, finalists_of, front_of, reference_of, result_of
from mnv2search.study.sampler import make_sampler
from mnv2search.study.state import Known
from mnv2search.study.storage import Asked, Journal, distributions_of
from mnv2search.study.supernet_reliability import order_notes, smoothed
from mnv2search.study.trainings import Trainings, shares_of
from mnv2search.study.types import Evaluated, Listener, Phase, Progress, SearchResult, Settings, Stage, silent

__all__ = ["Search"]

# Networks of the space that are measured before the sampler is asked, spread over predicted latency.
FIRST_PICKS = 12
# Draws among which the first networks are chosen.
FIRST_DRAWS = 200
# Draws among which those are found that an evaluator prepares itself for.
BAND_DRAWS = 4000
# Up to so many times the budget, accuracy that is gained within it counts: the slowest network that fits is the one
# to ship, so it has to be worth as much as a faster one.
COUNTS_TO = 2.0
# Networks of the baseline that are measured again beside the front, and the only ones whose accuracy is asked for
# where that is not arithmetic.
RIVALS = 3


class Search:
    """One search over one space on one device.

    Args:
        space: what to choose from.
        device: measures.
        evaluator: tells accuracies.
        budget: what a network may cost.
        settings: how long and how.
        study_path: SQLite file of the study; None keeps it in memory.
        previous: what an earlier part of the same run evaluated; nothing of it is evaluated again.
        listener: hears of everything that is finished.
        cache: what earlier processes learned of the device; None begins with nothing.
        work: folder in which an evaluator that prepares itself keeps its work; None keeps nothing.
        clock: seconds that never go backwards.
        spent_s: what was used up of the time before, such as by reading images.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        device: LatencyDevice,
        evaluator: AccuracyEvaluator,
        budget: Budget,
        settings: Settings,
        study_path: str | None = None,
        previous: Sequence[Evaluated] = (),
        listener: Listener | None = None,
        cache: LatencyCache | None = None,
        work: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        spent_s: float = 0.0,
    ) -> None:
        if not space.axes:
            raise OptionError(
                f"{space.name} is one network: there is nothing to search",
                hint="measure it with mnv2search latency, or give a search space, such as mnv2",
            )
        evaluator = as_evaluator(evaluator)
        self._space, self._budget, self._settings, self._evaluator = space, budget, settings, evaluator
        self._is_cheap = evaluator.method == "arithmetic"
        self._prepares = evaluator.method == "shared weights"
        self._ends = PREPARED if self._prepares else PLAIN
        self._work = work
        self._notes: tuple[str, ...] = ()
        self._listener = listener or silent()
        self._deadline = Deadline(settings.time_s, clock=clock, spent_s=spent_s)
        self._trainings: Trainings | None = None
        if evaluator.is_timed:
            ends = shares_of(settings.time_s)
            self._ends = ends.shares
            self._trainings = Trainings(
                evaluator, self._deadline, ends=ends, share=settings.share, noted=self._listener.noted
            )
        self._gauge = Gauge(device, budget_ms=budget.latency_ms, cache=cache, clock=clock)
        self._predictor = self._gauge.predictor
        self._candidates = Candidates(
            space,
            budget=budget,
            evaluator=evaluator,
            predictor=self._predictor,
            least=REGION_BEGINS if self._prepares else 0.0,  # it knows the networks that it prepared itself for
        )
        self._study_path = study_path
        self._known = Known(evaluator, previous)
        self._sampler_cpu_s = 0.0
        self._exhausted, self._is_out_of_time, self._is_short = False, False, False
        self._first: Sequence[Pick] = ()
        self._learn()

    def run(self) -> SearchResult:
        """Search until trials or time are used up, then measure the front side by side.

        Raises:
            DeviceError: the device cannot run a network.
            EvaluatorError: an accuracy cannot be determined.
        """
        self._candidates.check_bounds()
        self._measure_baseline()
        self.prepare(until=self._ends.preparation)
        journal = self._open_journal()
        self._measure_first_picks(journal)
        while not self._is_over():
            self._step(journal)
        if self._prepares:
            self._notes += order_notes(self._known.networks, self._candidates.describe, cards=self._space.cards)
        if self._is_short and not self._known.rated:
            self._notes += (
                "no network was trained: none of those measured fits, and the time is too short for more",
            )
        self._measure_finalists()
        return self.result()

    def result(self) -> SearchResult:
        """What is known now; its front is what the last side-by-side measurement left of it."""
        return result_of(
            self._known.items,
            elapsed_s=self._deadline.elapsed_s,
            predicted=max(0, self._candidates.predicted - len(self._known.networks)),
            sampler_cpu_s=self._sampler_cpu_s,
            predictor_error=self._predictor.error,
            exhausted=self._exhausted,
            notes=self._notes,
        )

    # -- the parts of a run --------------------------------------------------------------------------------------

    def _measure_baseline(self) -> None:
        whole = [spec for spec in baseline_grid(self._space) if spec not in self._known.baseline]
        grid = self._gauge.affordable(
            whole,
            time_s=self._deadline.until(self._ends.baseline),
            on_progress=lambda _: self._tell_progress("baseline"),
        )
        if len(grid) < len(whole):
            self._notes += (
                f"{len(grid)} of {len(whole)} networks of the MobileNetV2 grid were measured: there was time for no "
                f"more, at {self._gauge.visit_s:.2g} s each",
            )
        latencies = self._measured(grid, phase="baseline", time_s=self._deadline.until(self._ends.baseline))
        measured = dict(zip(grid, latencies, strict=True))
        fitting = [spec for spec in grid if measured[spec].verdict(self._budget.latency_ms) == "fits"]
        rivals = grid if self._is_cheap else sorted(fitting, key=lambda spec: -measured[spec].median_ms)[:RIVALS]
        if self._prepares:
            rivals = []  # it knows networks of the space alone
        # what needs no training is kept first: an interruption loses trainings alone
        for spec in (spec for spec in grid if spec not in rivals):
            self._finish("baseline", spec, measured[spec], evaluator=None)
        self._fit_trainings()
        for number, spec in enumerate(rivals):
            asked = self._is_rival_asked(number, spec)
            self._finish("baseline", spec, measured[spec], evaluator=self._evaluator if asked else None)
        self._learn()

    def _is_rival_asked(self, number: int, spec: ModelSpec) -> bool:
        """Whether the accuracy of a network of the baseline is asked for."""
        if self._trainings is not None and (most := self._trainings.rivals) is not None:
            return number < most and self._trainings.has_time_for(spec)
        # where trainings take the time of the search, one rival has to do
        return self._is_cheap or number < 1 or not self._deadline.passed(self._ends.baseline)

    def _fit_trainings(self) -> None:
        """Let an evaluator that trains every network choose how long it does."""
        if self._trainings is None:
            return
        self._learn()
        drawn = sorted(self._drawn(Random(self._settings.seed), FIRST_DRAWS))
        preparation = self._preparation(self._candidates.band(drawn), until=self._ends.search)
        self._notes += self._trainings.fit(preparation, has_some=bool(self._known.rated))
        self._known.compare_anew()

    def prepare(self, *, until: float = 1.0) -> tuple[str, ...]:
        """Let the evaluator do what it has to do for the whole space, biased to what the device has time for.

        Args:
            until: share of the whole time at which it has to be over.

        Returns:
            What it has to say; nothing where it needs no preparation.

        Raises:
            EvaluatorError: it cannot be done.
        """
        if not self._prepares:
            return ()
        random = Random(self._settings.seed)
        self._first = self._candidates.spread(sorted(self._drawn(random, FIRST_DRAWS)), count=self._first_picks())
        specs = self._named(self._first)
        latencies = self._measured(specs, phase="calibration", time_s=self._deadline.until(self._ends.calibration))
        self._predictor.fit(
            [
                *((e.spec, e.latency.median_ms) for e in self._known.baseline.values() if e.latency is not None),
                *((spec, latency.median_ms) for spec, latency in zip(specs, latencies, strict=True)),
            ]
        )
        notes = self._evaluator.prepare(
            self._preparation(self._candidates.band(sorted(self._drawn(random, BAND_DRAWS))), until=until)
        )
        self._notes += notes
        return notes

    def _preparation(self, band: tuple[Pick, ...], *, until: float) -> Preparation:
        return Preparation(
            space=self._space,
            band=band,
            folder=self._work,
            time_s=self._deadline.until(until),
            seed=self._settings.seed,
            tell=lambda doing, share: self._tell_progress("preparation", doing=doing, share=share),
        )

    def _drawn(self, random: Random, count: int) -> set[Pick]:
        return {canonical(self._space, random_pick(self._space, random)) for _ in range(count)}

    def _open_journal(self) -> Journal:
        """The study with its sampler and the evaluations of an earlier part of the run."""
        sampler = make_sampler(
            self._settings.sampler,
            seed=self._settings.seed,
            space=distributions_of(self._space),
            describe=self._candidates.describe,
            batch=self._settings.batch,
            budget=self._settings.trials,
            reference=reference_of(self._known.baseline.values(), budget_ms=self._budget.latency_ms),
            ceiling=COUNTS_TO * self._budget.latency_ms,
        )
        return Journal(
            self._space,
            sampler=sampler,
            path=self._study_path,
            known=self._known.networks,
            noted=self._listener.noted,
        )

    def _measure_first_picks(self, journal: Journal) -> None:
        # those of the preparation are measured already
        count = len(self._first) or self._first_picks()
        wanted = min(count, self._settings.trials or count) - len(self._known.networks)
        if wanted <= 0:
            return
        picks = evenly([pick for pick in self._first if pick not in self._known.networks], wanted)
        if not picks:
            drawn = self._drawn(Random(self._settings.seed), FIRST_DRAWS)
            # what is trained one by one begins near the budget, as there may be time for few
            top = 1.3 if self._is_cheap else 1.0
            picks = self._candidates.spread(sorted(drawn - set(self._known.networks)), count=wanted, top=top)
        one_by_one = [(pick,) for pick in by_halves(picks)]
        for group in [picks] if self._is_cheap or self._prepares else one_by_one:
            known = [e.latency if self._is_cheap else e.accuracy for e in self._known.networks.values()]
            if self._is_over() and any(one is not None for one in known):
                return  # however little time there is, a front or a refusal rests on a measurement
            if not self._has_time_for(group):
                self._is_short = True
                continue  # a smaller one may still be trained
            evaluations = self._evaluate(
                group, stage="calibration", time_s=self._deadline.until(self._ends.calibration)
            )
            for pick, evaluation in zip(group, evaluations, strict=True):
                journal.add(pick, evaluation)

    def _first_picks(self) -> int:
        """How many networks are measured before the sampler is asked."""
        return max(FEW, self._gauge.room(self._deadline.until(self._ends.calibration), most=FIRST_PICKS))

    def _step(self, journal: Journal) -> None:
        """Ask for some networks, measure them side by side, tell the sampler."""
        asked = self._asked(journal)
        if not self._has_time_for([a.pick for a in asked]):
            self._is_short = self._is_out_of_time = True
            return
        evaluations = self._evaluate(
            [canonical(self._space, a.pick) for a in asked],
            stage="search",
            time_s=self._deadline.until(self._ends.search),
        )
        for question, evaluation in zip(asked, evaluations, strict=True):
            journal.tell(question, evaluation)

    def _asked(self, journal: Journal) -> list[Asked]:
        """New picks, as many as are measured side by side; a repeated one is answered from memory."""
        batched = self._is_cheap or self._prepares
        room = self._settings.batch if self._settings.sampler == "hybrid" and batched else 1
        if self._settings.trials is not None:
            room = min(room, self._settings.trials - len(self._known.networks))
        room = max(1, self._room(room))
        start = time.process_time()
        new, is_exhausted = journal.ask_new(self._known.networks, room=room)
        self._exhausted = self._exhausted or is_exhausted
        self._sampler_cpu_s += time.process_time() - start
        return new

    def _measure_finalists(self) -> None:
        """Measure what may be on the front afresh, side by side with the best of the baseline."""
        rated = self._known.rated
        if self._prepares:
            rated = smoothed(self._known.networks, self._candidates.describe, cards=self._space.cards)
        finalists = finalists_of(rated, budget_ms=self._budget.latency_ms, of_region=self._prepares)
        rivals = front_of([e for e in self._known.baseline.values() if e.accuracy is not None])[-RIVALS:]
        specs = [e.spec for e in (*finalists, *rivals)]
        self._gauge.begin_anew()
        latencies = self._measured(specs, phase="final", time_s=self._deadline.left_s)
        for index, (told, latency) in enumerate(zip((*finalists, *rivals), latencies, strict=True)):
            stage: Stage = "final" if index < len(finalists) else "final-baseline"
            cost, seed = cost_of(told.spec), self._settings.seed
            measured = completed(told.spec, cost=cost, latency=latency, budget=self._budget, seed=seed)
            evaluation = replace(measured, accuracy=told.accuracy, curve=told.curve)
            self._keep(Evaluated(trial=-1, stage=stage, pick=(), evaluation=evaluation))

    def save_to_cache(self) -> None:
        """Keep for later processes what was learned of the device; see `Gauge.save`."""
        self._gauge.save()

    # -- evaluating ----------------------------------------------------------------------------------------------

    def _evaluate(self, picks: Sequence[Pick], *, stage: Stage, time_s: float | None) -> list[Evaluation]:
        """Measure picks side by side and ask for the accuracy of those that fit."""
        specs = self._named(picks)
        allowed = [s for s in specs if self._budget.cost_violation(cost_of(s)) == 0]
        phase: Phase = "calibration" if stage == "calibration" else "search"
        latencies = dict(zip(allowed, self._measured(allowed, phase=phase, time_s=time_s), strict=True))
        evaluations = [
            self._finish(stage, spec, latencies.get(spec), evaluator=self._evaluator, pick=pick)
            for pick, spec in zip(picks, specs, strict=True)
        ]
        self._learn()
        return evaluations

    def _named(self, picks: Sequence[Pick]) -> list[ModelSpec]:
        """The networks of picks that come next, named by their number."""
        start = self._known.next_trial
        return [self._candidates.spec(p, name=f"{self._space.name}-{start + i:04d}") for i, p in enumerate(picks)]

    def _measured(self, specs: Sequence[ModelSpec], *, phase: Phase, time_s: float | None) -> tuple[Latency, ...]:
        return self._gauge.measure(specs, time_s=time_s, on_progress=lambda _: self._tell_progress(phase))

    def _finish(
        self,
        stage: Stage,
        spec: ModelSpec,
        latency: Latency | None,
        *,
        evaluator: Evaluator | None,
        pick: Pick = (),
    ) -> Evaluation:
        """Complete one evaluation, keep it and hand it out."""
        begin = self._deadline.elapsed_s
        seed = self._settings.seed
        is_quick = self._is_cheap or self._prepares
        evaluation = watched(
            spec,
            latency,
            budget=self._budget,
            seed=seed,
            evaluator=evaluator,
            # the baseline is compared with, so its trainings are all finished
            rungs=None if stage == "baseline" else self._known.rungs,
            tell=None if is_quick else lambda doing: self._tell_progress(cast("Phase", stage), doing=doing),
        )
        if stage == "baseline" and self._is_cheap and evaluation.accuracy is None:
            # a rival at equal latency counts as one even where another limit excludes it
            accuracy = self._evaluator.evaluate(spec, seed=seed, report=no_report)
            evaluation = replace(evaluation, accuracy=accuracy)
        evaluation = replace(evaluation, elapsed_s=self._deadline.elapsed_s - begin)
        item = Evaluated(trial=self._known.next_trial if pick else -1, stage=stage, pick=pick, evaluation=evaluation)
        self._keep(item)
        return evaluation

    def _keep(self, item: Evaluated) -> None:
        self._known.add(item)
        self._listener.evaluated(item)

    def _learn(self) -> None:
        if measured := self._known.measured:
            self._predictor.fit(measured)

    def _is_over(self) -> bool:
        trials = self._settings.trials
        out_of_trials = trials is not None and len(self._known.networks) >= trials
        out_of_time = self._is_out_of_time or self._deadline.passed(self._ends.search)
        return self._exhausted or out_of_trials or out_of_time or not self._room(1)

    def _room(self, most: int) -> int:
        """How many networks there is time to measure before the front is measured at the end."""
        finalists = finalists_of(self._known.rated, budget_ms=self._budget.latency_ms, of_region=self._prepares)
        # the reference is loaded anew too
        left_s, final_s = self._deadline.left_s, (len(finalists) + RIVALS + 1) * self._gauge.visit_s
        by_share = self._gauge.room(self._deadline.until(self._ends.search), most=most)
        return min(by_share, self._gauge.room(None if left_s is None else left_s - final_s, most=most))

    def _has_time_for(self, picks: Sequence[Pick]) -> bool:
        """Whether a training of each network is expected to end in time, where networks are trained one by one."""
        if self._trainings is None:
            return True
        return all(self._trainings.has_time_for(self._candidates.spec(pick, name="next")) for pick in picks)

    def _tell_progress(self, phase: Phase, *, doing: str = "", share: float = 0.0) -> None:
        self._listener.progress(
            Progress(
                phase=phase,
                trials=len(self._known.networks),
                trials_total=self._settings.trials,
                measured=len(self._known.measured),
                predicted=max(0, self._candidates.predicted - len(self._known.networks)),
                best=self._known.best,
                elapsed_s=self._deadline.elapsed_s,
                left_s=self._deadline.left_s,
                doing=doing,
                share=share,
            )
        )
