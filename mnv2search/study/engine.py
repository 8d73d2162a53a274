"""The search itself: baseline, first measurements, ask and tell, and a final measurement side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import cast

from mnv2search.accuracy.types import AccuracyEvaluator, CanHalve, Preparation, Prepares
from mnv2search.cost import cost_of
from mnv2search.errors import OptionError
from mnv2search.evaluation import Budget, Evaluation, completed, no_report
from mnv2search.latency.cache import LatencyCache
from mnv2search.latency.types import Latency, LatencyDevice
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import SearchSpace, canonical, random_pick
from mnv2search.study.baseline import baseline_grid
from mnv2search.study.candidates import Candidates, Pick, TellsBounds, by_halves
from mnv2search.study.deadline import PLAIN, PREPARED, Deadline
from mnv2search.study.gauge import Gauge
from mnv2search.study.hybrid import SpaceExhausted
from mnv2search.study.journal import Asked, Journal, distributions_of
from mnv2search.study.results import (
    REGION_BEGINS,
    finalists_of,
    front_of,
    median_ms_of,
    rank_of,
    reference_of,
    result_of,
)
from mnv2search.study.rungs import Rungs
from mnv2search.study.sampler import make_sampler
from mnv2search.study.trust import order_notes
from mnv2search.study.types import Evaluated, Listener, Phase, Progress, SearchResult, Settings, Stage, silent

__all__ = ["Search"]

# Networks of the space that are measured before the sampler is asked, spread over predicted latency.
FIRST_PICKS = 12
# Draws among which the first networks are chosen.
FIRST_DRAWS = 200
# Draws among which those are found that an evaluator prepares itself for.
BAND_DRAWS = 4000
# Networks of the baseline that are measured again beside the front, and the only ones whose accuracy is asked for
# where that is not arithmetic.
RIVALS = 3
# A sampler that repeats itself this often has nothing new to say.
MAX_REPEATS = 500


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
    ) -> None:
        if not space.axes:
            raise OptionError(
                f"{space.name} is one network: there is nothing to search",
                hint="measure it with mnv2search latency, or give a search space, such as mnv2",
            )
        self._space, self._budget, self._settings, self._evaluator = space, budget, settings, evaluator
        self._is_cheap = isinstance(evaluator, TellsBounds)
        self._prepares = isinstance(evaluator, Prepares)
        self._ends = PREPARED if self._prepares else PLAIN
        self._work = work
        self._notes: tuple[str, ...] = ()
        halving = evaluator.halving if isinstance(evaluator, CanHalve) else None
        self._rungs = None if halving is None else Rungs(halving)
        self._listener = listener or silent()
        self._deadline = Deadline(settings.time_s, clock=clock)
        self._gauge = Gauge(device, budget_ms=budget.latency_ms, cache=cache)
        self._predictor = self._gauge.predictor
        self._candidates = Candidates(
            space,
            budget=budget,
            evaluator=evaluator,
            predictor=self._predictor,
            least=REGION_BEGINS if self._prepares else 0.0,  # it knows the networks that it prepared itself for
        )
        self._study_path = study_path
        self._known: dict[Pick, Evaluation] = {}
        self._baseline: dict[ModelSpec, Evaluation] = {}
        self._items: list[Evaluated] = []
        self._sampler_cpu_s = 0.0
        self._exhausted = False
        self._first: Sequence[Pick] = ()
        for item in previous:
            self._recall(item)
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
            self._notes += order_notes(self._known, self._candidates.describe, cards=self._space.cards)
        self._measure_finalists()
        return self.result()

    def result(self) -> SearchResult:
        """What is known now; its front is what the last side-by-side measurement left of it."""
        return result_of(
            self._items,
            elapsed_s=self._deadline.elapsed_s,
            predicted=max(0, self._candidates.predicted - len(self._known)),
            sampler_cpu_s=self._sampler_cpu_s,
            predictor_error=self._predictor.error,
            exhausted=self._exhausted,
            notes=self._notes,
        )

    # -- the parts of a run --------------------------------------------------------------------------------------

    def _measure_baseline(self) -> None:
        grid = [spec for spec in baseline_grid(self._space) if spec not in self._baseline]
        latencies = self._measured(grid, phase="baseline", time_s=self._deadline.until(self._ends.baseline))
        measured = dict(zip(grid, latencies, strict=True))
        fitting = [spec for spec in grid if measured[spec].verdict(self._budget.latency_ms) == "fits"]
        rivals = grid if self._is_cheap else sorted(fitting, key=lambda spec: -measured[spec].median_ms)[:RIVALS]
        if self._prepares:
            rivals = []  # it knows networks of the space alone
        # what needs no training is kept first: an interruption loses trainings alone
        for spec in (*(spec for spec in grid if spec not in rivals), *rivals):
            # where trainings take the time of the search, one rival has to do
            spared = not self._is_cheap and spec not in rivals[:1] and self._deadline.passed(self._ends.baseline)
            asked = spec in rivals and not spared
            self._finish("baseline", spec, measured[spec], evaluator=self._evaluator if asked else None)
        self._learn()

    def prepare(self, *, until: float = 1.0) -> tuple[str, ...]:
        """Let the evaluator do what it has to do for the whole space, biased to what the device has time for.

        Args:
            until: share of the whole time at which it has to be over.

        Returns:
            What it has to say; nothing where it needs no preparation.

        Raises:
            EvaluatorError: it cannot be done.
        """
        if not isinstance(self._evaluator, Prepares):
            return ()
        random = Random(self._settings.seed)
        self._first = self._candidates.spread(sorted(self._drawn(random, FIRST_DRAWS)), count=FIRST_PICKS)
        specs = self._named(self._first)
        latencies = self._measured(specs, phase="calibration", time_s=self._deadline.until(self._ends.calibration))
        self._predictor.fit(
            [
                *((e.spec, e.latency.median_ms) for e in self._baseline.values() if e.latency is not None),
                *((spec, latency.median_ms) for spec, latency in zip(specs, latencies, strict=True)),
            ]
        )
        self._notes = self._evaluator.prepare(
            Preparation(
                space=self._space,
                band=self._candidates.band(sorted(self._drawn(random, BAND_DRAWS))),
                folder=self._work,
                time_s=self._deadline.until(until),
                seed=self._settings.seed,
                tell=self._tell_prepared,
            )
        )
        return self._notes

    def _drawn(self, random: Random, count: int) -> set[Pick]:
        return {canonical(self._space, random_pick(self._space, random)) for _ in range(count)}

    def _open_journal(self) -> Journal:
        """The study with its sampler; trials of an earlier part of the run are in its file."""
        sampler = make_sampler(
            self._settings.sampler,
            seed=self._settings.seed,
            space=distributions_of(self._space),
            describe=self._candidates.describe,
            batch=self._settings.batch,
            budget=self._settings.trials,
            reference=reference_of(self._baseline.values(), budget_ms=self._budget.latency_ms),
        )
        journal = Journal(self._space, sampler=sampler, path=self._study_path)
        for pick, evaluation in list(self._known.items())[journal.trials :]:
            journal.add(pick, evaluation)  # recorded, but a kill came before the study had it
        return journal

    def _measure_first_picks(self, journal: Journal) -> None:
        wanted = min(FIRST_PICKS, self._settings.trials or FIRST_PICKS) - len(self._known)
        if wanted <= 0:
            return
        picks = [pick for pick in self._first if pick not in self._known][:wanted]  # measured already
        if not picks:
            drawn = self._drawn(Random(self._settings.seed), FIRST_DRAWS)
            # what is trained one by one begins near the budget, as there may be time for few
            top = 1.3 if self._is_cheap else 1.0
            picks = list(self._candidates.spread(sorted(drawn - set(self._known)), count=wanted, top=top))
        one_by_one = [(pick,) for pick in by_halves(picks)]
        for group in [picks] if self._is_cheap or self._prepares else one_by_one:
            known = [e.latency if self._is_cheap else e.accuracy for e in self._known.values()]
            if self._is_over() and any(one is not None for one in known):
                return  # however little time there is, a front or a refusal rests on a measurement
            evaluations = self._evaluate(
                group, stage="calibration", time_s=self._deadline.until(self._ends.calibration)
            )
            for pick, evaluation in zip(group, evaluations, strict=True):
                journal.add(pick, evaluation)

    def _step(self, journal: Journal) -> None:
        """Ask for some networks, measure them side by side, tell the sampler."""
        asked = self._asked(journal)
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
            room = min(room, self._settings.trials - len(self._known))
        new: dict[Pick, Asked] = {}
        repeats = 0
        start = time.process_time()
        try:
            while len(new) < room and repeats < MAX_REPEATS:
                asked = journal.ask()
                pick = canonical(self._space, asked.pick)
                if pick in self._known or pick in new:
                    repeats += 1
                    if pick in self._known:
                        journal.tell_again(asked, self._known[pick])
                else:
                    new[pick] = asked
        except SpaceExhausted:
            self._exhausted = True
        self._exhausted = self._exhausted or repeats >= MAX_REPEATS
        self._sampler_cpu_s += time.process_time() - start
        return list(new.values())

    def _measure_finalists(self) -> None:
        """Measure what may be on the front afresh, side by side with the best of the baseline."""
        known = [e for e in self._known.values() if e.accuracy is not None]
        finalists = finalists_of(known, budget_ms=self._budget.latency_ms, of_region=self._prepares)
        rivals = front_of([e for e in self._baseline.values() if e.accuracy is not None])[-RIVALS:]
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
        start = len(self._known)
        return [self._candidates.spec(p, name=f"{self._space.name}-{start + i:04d}") for i, p in enumerate(picks)]

    def _measured(self, specs: Sequence[ModelSpec], *, phase: Phase, time_s: float | None) -> tuple[Latency, ...]:
        return self._gauge.measure(specs, time_s=time_s, on_progress=lambda _: self._tell_progress(phase))

    def _finish(
        self,
        stage: Stage,
        spec: ModelSpec,
        latency: Latency | None,
        *,
        evaluator: AccuracyEvaluator | None,
        pick: Pick = (),
    ) -> Evaluation:
        """Complete one evaluation, keep it and hand it out."""
        begin = self._deadline.elapsed_s
        seed = self._settings.seed
        # the baseline is compared with, so its trainings are all finished
        watch = self._rungs.watch(latency.median_ms) if self._rungs and latency and stage != "baseline" else None

        def report(step: int, value: float) -> None:
            if not self._prepares:  # then there is nothing on the way
                doing = f"{spec.name}: {100 * value:.1f} % {metric} at step {step}"
                self._tell_progress(cast("Phase", stage), doing=doing)
            (watch or no_report)(step, value)

        metric = self._evaluator.info.metric
        if evaluator is not None and not (self._is_cheap or self._prepares):
            self._tell_progress(cast("Phase", stage), doing=f"{spec.name}: evaluation begins")
        evaluation = completed(
            spec,
            cost=cost_of(spec),
            latency=latency,
            budget=self._budget,
            seed=seed,
            evaluator=evaluator,
            report=report,
        )
        if self._rungs and watch and watch.curve:
            expected = self._rungs.expected(watch.curve) if evaluation.accuracy is None else None
            evaluation = replace(evaluation, curve=watch.curve, expected=expected)
        if stage == "baseline" and self._is_cheap and evaluation.accuracy is None:
            # a rival at equal latency counts as one even where another limit excludes it
            accuracy = self._evaluator.evaluate(spec, seed=seed, report=no_report)
            evaluation = replace(evaluation, accuracy=accuracy)
        evaluation = replace(evaluation, elapsed_s=self._deadline.elapsed_s - begin)
        item = Evaluated(trial=len(self._known) if pick else -1, stage=stage, pick=pick, evaluation=evaluation)
        self._keep(item)
        return evaluation

    def _keep(self, item: Evaluated) -> None:
        self._recall(item)
        self._listener.evaluated(item)

    def _recall(self, item: Evaluated) -> None:
        self._items.append(item)
        if item.stage == "baseline":
            self._baseline[item.evaluation.spec] = item.evaluation
        elif item.pick:
            self._known[item.pick] = item.evaluation
            if self._rungs is not None and item.evaluation.curve:
                final = None if item.evaluation.accuracy is None else item.evaluation.accuracy.low
                self._rungs.add(median_ms_of(item.evaluation), item.evaluation.curve, final)

    def _learn(self) -> None:
        known = (*self._baseline.values(), *self._known.values())
        measured = [(e.spec, e.latency.median_ms) for e in known if e.latency is not None]
        if measured:
            self._predictor.fit(measured)

    def _is_over(self) -> bool:
        trials = self._settings.trials
        out_of_trials = trials is not None and len(self._known) >= trials
        return self._exhausted or out_of_trials or self._deadline.passed(self._ends.search)

    def _tell_prepared(self, doing: str, share: float) -> None:
        self._tell_progress("preparation", doing=doing, share=share)

    def _tell_progress(self, phase: Phase, *, doing: str = "", share: float = 0.0) -> None:
        feasible = [e for e in self._known.values() if e.is_feasible and e.accuracy is not None]
        self._listener.progress(
            Progress(
                phase=phase,
                trials=len(self._known),
                trials_total=self._settings.trials,
                measured=sum(e.latency is not None for e in (*self._known.values(), *self._baseline.values())),
                predicted=max(0, self._candidates.predicted - len(self._known)),
                best=max(feasible, key=rank_of, default=None),
                elapsed_s=self._deadline.elapsed_s,
                left_s=self._deadline.left_s,
                doing=doing,
                share=share,
            )
        )
