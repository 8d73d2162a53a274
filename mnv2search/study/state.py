"""State shared by the phases of a search: every evaluation so far, and the remaining time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from random import Random

from mnv2search.accuracy.evaluator import AccuracyEvaluator, Preparation, as_evaluator
from mnv2search.errors import OptionError
from mnv2search.evaluation import Budget, Evaluation
from mnv2search.latency.prediction.predictor import REMEMBERED
from mnv2search.latency.types import Latency, LatencyDevice
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import Pick, SearchSpace, canonical, random_pick
from mnv2search.study.baseline import OBVIOUS, OBVIOUS_GIVEN, baseline_grid, given_shapes
from mnv2search.study.candidates import Candidates
from mnv2search.study.deadline import Deadline
from mnv2search.study.evaluation_plan import plan_of
from mnv2search.study.latency_model import LatencyModel
from mnv2search.study.results import REGION_BEGINS, finalists_of, front_of, median_ms_of, rank_of, result_of
from mnv2search.study.successive_halving import Rungs
from mnv2search.study.types import Evaluated, Listener, Phase, Progress, SearchResult, Settings, Storage
from mnv2search.study.workers.pool import WorkerPool


class SearchState:
    """State of one search over one space on one device.

    Args:
        spent_s: time that was already used, for instance to read images.
        limit: function that returns a shorter time limit for the search, or None. It is called after the baseline
            is measured, with the slowest network of the grid within the budget or, if none is, with the fastest.
        pool: workers that evaluate the networks of the space; None if this process does.

    Attributes:
        next_trial: number of the next network of the space, above all known numbers even if records were lost.
        networks: evaluations of networks of the space.
        grid: networks of the MobileNetV2 grid.
        given_network: the network of given weights; None if the initial weights are random.
        given: this network at the resolutions of the space and at smaller ones.
        baseline: evaluations of `grid` and `given`.
        measured: number of networks that were measured.
        best: the most accurate network within the budget and, with shared weights, within the region of interest.
        rungs: accuracies of trainings at each rung; None if trainings are never stopped early.
        first: picks that were measured for a preparation, before the initial design.
        is_short: a network was left out because there was no time to train it.
        is_out_of_time: there is no time for the network that the sampler suggested.

    Raises:
        OptionError: the space is a single network.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        device: LatencyDevice,
        evaluator: AccuracyEvaluator,
        budget: Budget,
        settings: Settings,
        listener: Listener | None = None,
        storage: Storage | None = None,
        clock: Callable[[], float] = time.monotonic,
        spent_s: float = 0.0,
        limit: Callable[[ModelSpec], float | None] | None = None,
        pool: WorkerPool | None = None,
    ) -> None:
        if not space.axes:
            raise OptionError(
                f"{space.name} is one network: there is nothing to search",
                hint="measure it with mnv2search latency, or give a search space, such as mnv2",
            )
        self.space, self.budget, self.settings = space, budget, settings
        self.listener, self.storage, self.pool = listener or Listener(), storage or Storage(), pool
        self.evaluator = as_evaluator(evaluator)
        self.given_network = self.evaluator.given(space)
        self.given = () if self.given_network is None else given_shapes(space, self.given_network)
        self.grid = baseline_grid(space)
        self.deadline, self._limit = Deadline(settings.time_s, clock=clock, spent_s=spent_s), limit
        self.plan = plan_of(self.evaluator, self.deadline, noted=self.listener.noted, share=settings.share)
        self.latency = LatencyModel(device, budget_ms=budget.latency_ms, cache=self.storage.cache, clock=clock)
        predictor, least = self.latency.predictor, REGION_BEGINS if self.plan.is_prepared else 0.0
        self.candidates = Candidates(space, budget=budget, evaluator=self.evaluator, predictor=predictor, least=least)
        self.items: list[Evaluated] = []
        self.next_trial = 0
        self.networks: dict[Pick, Evaluation] = {}
        self.baseline: dict[ModelSpec, Evaluation] = {}
        self.first: Sequence[Pick] = ()
        self.notes: tuple[str, ...] = ()
        self.sampler_cpu_s = 0.0
        self.is_exhausted = self.is_short = self.is_out_of_time = False
        self.measured = 0
        self.best: Evaluation | None = None
        self._front: tuple[Evaluation, ...] = ()
        self._since_front: list[Evaluation] = []
        self.restart_rungs()
        for item in self.storage.previous:
            self._add(item)
        self.learn()

    # -- evaluations ---------------------------------------------------------------------------------------------

    def keep(self, item: Evaluated) -> None:
        """Keep one evaluation, and pass it to the listener."""
        self._add(item)
        self.listener.evaluated(item)

    def _add(self, item: Evaluated) -> None:
        self.items.append(item)
        self.next_trial = max(self.next_trial, item.trial + 1)
        if item.stage == "baseline":
            self.measured += _measured(item.evaluation) - _measured(self.baseline.get(item.evaluation.spec))
            self.baseline[item.evaluation.spec] = item.evaluation
        elif item.pick:
            replaced = self.networks.get(item.pick)
            self.measured += _measured(item.evaluation) - _measured(replaced)
            self.networks[item.pick] = item.evaluation
            self._rank([item.evaluation] if replaced is None else None)
            self._climb(item.evaluation)

    def _rank(self, added: list[Evaluation] | None) -> None:
        """Update the best network by the added ones or, for None, by all networks."""
        if added is None:
            self.best, self._front, self._since_front, added = None, (), [], list(self.networks.values())
        self._since_front += [e for e in added if e.accuracy is not None]
        fitting = [e for e in added if e.accuracy is not None and e.is_feasible]
        self.best = max(fitting if self.best is None else [self.best, *fitting], key=self._merit, default=None)

    def _merit(self, evaluation: Evaluation) -> tuple[bool, float]:
        least_ms = REGION_BEGINS * self.budget.latency_ms if self.plan.is_prepared else 0.0
        return median_ms_of(evaluation) >= least_ms, rank_of(evaluation)

    def restart_rungs(self) -> None:
        """Create the rungs of successive halving, again when the length of trainings changes."""
        halving = self.evaluator.halving
        self.rungs = None if halving is None else Rungs(halving)
        for evaluation in self.networks.values():
            self._climb(evaluation)

    def _climb(self, evaluation: Evaluation) -> None:
        if self.rungs is not None and evaluation.curve:
            final = None if evaluation.accuracy is None else evaluation.accuracy.low
            self.rungs.add(median_ms_of(evaluation), evaluation.curve, final)

    @property
    def rated(self) -> list[Evaluation]:
        """Networks of the space with an accuracy."""
        return [e for e in self.networks.values() if e.accuracy is not None]

    @property
    def front(self) -> tuple[Evaluation, ...]:
        """The non-dominated networks of the space with an accuracy, fastest first."""
        self._front, self._since_front = front_of((*self._front, *self._since_front)), []
        return self._front

    def result(self) -> SearchResult:
        """The result so far; its front is that of the last side-by-side measurement."""
        return replace(
            result_of(self.items, grid=self.grid, elapsed_s=self.deadline.elapsed_s),
            predicted=self._predicted,
            sampler_cpu_s=self.sampler_cpu_s,
            exhausted=self.is_exhausted,
            notes=self.notes,
        )

    # -- networks ------------------------------------------------------------------------------------------------

    def draw(self, random: Random, count: int) -> set[Pick]:
        """Random picks of the space, at most `count`."""
        return {canonical(self.space, random_pick(self.space, random)) for _ in range(count)}

    def named(self, picks: Sequence[Pick]) -> list[ModelSpec]:
        """The networks of picks to evaluate next, named by their number."""
        return [
            self.candidates.spec(pick, name=f"{self.space.name}-{self.next_trial + i:04d}")
            for i, pick in enumerate(picks)
        ]

    def measure(
        self, specs: Sequence[ModelSpec], *, phase: Phase, time_s: float | None = None
    ) -> tuple[Latency, ...]:
        """The latency of every network, measured side by side."""
        return self.latency.measure(specs, time_s=time_s, on_progress=lambda _: self.tell_progress(phase))

    def learn(self) -> None:
        """Fit the latency predictor to as many of the latest measurements as it can store."""
        networks = [*islice(filter(_measured, reversed(self.networks.values())), REMEMBERED)][::-1]
        latest = [*filter(_measured, self.baseline.values()), *networks][-REMEMBERED:]
        if latest:
            self.latency.predictor.fit([(e.spec, median_ms_of(e)) for e in latest])

    def preparation(self, band: tuple[Pick, ...], *, until: float) -> Preparation:
        """Arguments of an evaluator's preparation, which ends at `until`, a share of the whole time."""
        return Preparation(
            space=self.space,
            band=band,
            folder=self.storage.work,
            time_s=self.deadline.until(until),
            seed=self.settings.seed,
            tell=lambda doing, share: self.tell_progress("preparation", doing=doing, share=share),
        )

    # -- time ----------------------------------------------------------------------------------------------------

    def limit_time(self) -> None:
        """Apply the time limit for the slowest network of the grid within the budget, or else for the fastest."""
        grid = [e for e in self.baseline.values() if e.spec in self.grid and e.latency is not None]
        fitting = [e for e in grid if e.is_feasible]
        chosen = max(fitting, key=median_ms_of) if fitting else min(grid, key=median_ms_of, default=None)
        limit_s = None if self._limit is None or chosen is None else self._limit(chosen.spec)
        if limit_s is not None and self.deadline.time_s is not None:
            self.deadline.time_s = min(self.deadline.time_s, limit_s)

    @property
    def is_over(self) -> bool:
        """Whether trials, time or networks of the space are used up."""
        trials = self.settings.trials
        out_of_trials = trials is not None and len(self.networks) >= trials
        out_of_time = self.is_out_of_time or self.deadline.passed(self.plan.shares.search)
        return self.is_exhausted or out_of_trials or out_of_time or not self.room(1)

    def room(self, most: int) -> int:
        """Number of networks that there is time to measure before the final measurement, at most `most`."""
        left_s, of_region = self.deadline.left_s, self.plan.is_prepared
        if left_s is None:
            return most
        known = self.rated if of_region else self.front
        finalists = finalists_of(known, budget_ms=self.budget.latency_ms, of_region=of_region)
        # the reference is loaded again too
        final_s = (len(finalists) + OBVIOUS + OBVIOUS_GIVEN + 1) * self.latency.visit_s
        by_share = self.latency.room(self.deadline.until(self.plan.shares.search), most=most)
        return min(by_share, self.latency.room(left_s - final_s, most=most))

    def has_time_for(self, picks: Sequence[Pick]) -> bool:
        """Whether an evaluation of each pick is expected to end in time."""
        if not self.plan.takes_time:
            return True
        return self.plan.has_time_for([self.candidates.spec(pick, name="next") for pick in picks])

    @property
    def _predicted(self) -> int:
        return max(0, self.candidates.predicted - len(self.networks))

    def tell_progress(self, phase: Phase, *, doing: str = "", share: float = 0.0) -> None:
        """Report progress to the listener."""
        self.listener.progress(
            Progress(
                phase=phase,
                trials=len(self.networks),
                trials_total=self.settings.trials,
                measured=self.measured,
                predicted=self._predicted,
                best=self.best,
                elapsed_s=self.deadline.elapsed_s,
                left_s=self.deadline.left_s,
                doing=doing,
                share=share,
            )
        )


def _measured(evaluation: Evaluation | None) -> bool:
    return evaluation is not None and evaluation.latency is not None
