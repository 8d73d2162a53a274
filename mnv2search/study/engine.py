"""The search itself: its phases, in order, over one state."""

from __future__ import annotations

import time
from collections.abc import Callable

from mnv2search.accuracy.evaluator import AccuracyEvaluator
from mnv2search.errors import OptionError
from mnv2search.evaluation import Budget
from mnv2search.latency.types import LatencyDevice
from mnv2search.spec.space import SearchSpace
from mnv2search.study.phases.baseline import measure_baseline
from mnv2search.study.phases.final_measurement import measure_finalists
from mnv2search.study.phases.initial_design import evaluate_initial_design
from mnv2search.study.phases.preparation import prepare
from mnv2search.study.phases.search import open_journal, search
from mnv2search.study.state import SearchState
from mnv2search.study.types import Listener, SearchResult, Settings, Storage, silent


class Search:
    """One search over one space on one device.

    Args:
        space: the search space.
        device: measures latencies.
        evaluator: determines accuracies.
        budget: limits of a network.
        settings: duration and sampler.
        listener: hears of everything that is finished.
        storage: what is kept between processes.
        clock: monotonic clock in seconds.
        spent_s: time that was used up before, such as by reading images.

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
    ) -> None:
        if not space.axes:
            raise OptionError(
                f"{space.name} is one network: there is nothing to search",
                hint="measure it with mnv2search latency, or give a search space, such as mnv2",
            )
        self._state = SearchState(
            space,
            device=device,
            evaluator=evaluator,
            budget=budget,
            settings=settings,
            listener=listener or silent(),
            storage=storage or Storage(),
            clock=clock,
            spent_s=spent_s,
        )

    def run(self) -> SearchResult:
        """Search until trials or time are used up, then measure the front side by side.

        Raises:
            DeviceError: the device cannot run a network.
            EvaluatorError: an accuracy cannot be determined.
            OptionError: no training fits into the time.
        """
        state = self._state
        state.candidates.check_bounds()
        measure_baseline(state)
        prepare(state, until=state.plan.shares.preparation)
        journal = open_journal(state)
        evaluate_initial_design(state, journal)
        search(state, journal)
        state.notes += state.plan.notes(state.networks, state.candidates.describe, cards=state.space.cards)
        if state.is_short and not state.rated:
            state.notes += (
                "no network was trained: none of those measured fits, and the time is too short for more",
            )
        measure_finalists(state)
        return state.result()

    def prepare(self) -> tuple[str, ...]:
        """Let the evaluator prepare itself in the whole time, and search nothing; returns its notes.

        Raises:
            DeviceError: the device cannot run a network.
            EvaluatorError: the preparation fails.
        """
        return prepare(self._state)

    def save_to_cache(self) -> None:
        """Keep what was learned of the device for later processes.

        Raises:
            OSError: the cache cannot be written.
        """
        self._state.latency.save()
