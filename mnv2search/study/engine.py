"""Run the phases of a search in order."""

from __future__ import annotations

from mnv2search.study.phases import (
    evaluate_initial_design,
    measure_baseline,
    measure_finalists,
    open_journal,
    prepare,
    search,
)
from mnv2search.study.state import SearchState
from mnv2search.study.supernet_reliability import order_notes
from mnv2search.study.types import SearchResult
from mnv2search.study.workers.search import search_with_workers


class Search(SearchState):
    """One search over one space on one device; for the arguments see `SearchState`."""

    def run(self) -> SearchResult:
        """Search until trials or time are used up, then measure the front side by side.

        Raises:
            DeviceError: the device cannot run a network.
            EvaluatorError: an accuracy cannot be determined.
            OptionError: no training fits into the time.
            StorageError: the storage that workers share cannot be used.
            WriteError: the study cannot be written.
        """
        self.candidates.check_bounds()
        measure_baseline(self)
        self.limit_time()
        prepare(self, until=self.plan.shares.preparation)
        journal = open_journal(self)
        if self.pool is None:
            evaluate_initial_design(self, journal)
            search(self, journal)
        else:
            search_with_workers(self, journal, self.pool)
        if self.plan.is_prepared:
            self.notes += order_notes(self.networks, self.candidates.describe, cards=self.space.cards)
        if self.is_short and not self.rated:
            self.notes += ("no network was trained: no measured network fits, and the time is too short for more",)
        measure_finalists(self)
        return self.result()

    def prepare(self) -> tuple[str, ...]:
        """Prepare the evaluator, with the whole time for it, without searching; returns notes for the user."""
        return prepare(self)

    def save_to_cache(self) -> None:
        """Save the measurements of the device for later processes; raises `OSError` if that fails."""
        self.latency.save()
