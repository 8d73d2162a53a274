"""A front that is verified, and an audit of a search's accuracies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mnv2search.cost import Cost
from mnv2search.evaluation import Evaluation
from mnv2search.latency.types import Latency, Verdict
from mnv2search.tasks.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One member of a front, then and now.

    Attributes:
        then: as recorded.
        cost: counted now.
        built_params: trainable parameters of the network built now.
        latency: measured now, on the device of the run.
        spec_is_recorded: the file in `front/` still describes the recorded network.
    """

    then: Evaluation
    cost: Cost
    built_params: int
    latency: Latency
    spec_is_recorded: bool

    @property
    def counts_hold(self) -> bool:
        """The counts are those recorded, and those of the network built from the file."""
        return self.spec_is_recorded and self.cost == self.then.cost and self.built_params == self.cost.params

    @property
    def verdict(self) -> Verdict:
        """What the new interval says of the budget."""
        return self.latency.verdict(self.then.budget.latency_ms)

    @property
    def moved(self) -> float:
        """Relative change of the median."""
        return self.latency.median_ms / self.then.latency.median_ms - 1 if self.then.latency else 0.0

    @property
    def is_beyond_intervals(self) -> bool:
        """The old and the new interval do not meet."""
        before = self.then.latency
        return before is not None and (
            self.latency.ci_low_ms > before.ci_high_ms or self.latency.ci_high_ms < before.ci_low_ms
        )

    @property
    def holds(self) -> bool:
        """The counts are the same, and nothing says that the network does not fit."""
        return self.counts_hold and self.verdict != "does not fit"


@dataclass(frozen=True, slots=True)
class Statistic:
    """A rank correlation with its 90 % interval over which networks were drawn (bootstrap)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """Separate trainings of networks of a search, beside the accuracies of the search.

    Attributes:
        weights: that all trainings began with; None began with random ones.
        trained: metrics of each network on held-out images.
        kendall: tau-b of the search's accuracies with the trained ones.
        spearman: likewise.
        by_madds: Spearman of multiply-adds alone with the trained ones, for comparison.
    """

    networks: tuple[Evaluation, ...]
    weights: Path | None
    trained: tuple[Metrics, ...]
    epochs: int
    recipe: str
    kendall: Statistic
    spearman: Statistic
    by_madds: float
