"""Results of verifying a front, and of auditing the accuracies of a search."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mnv2search.cost import Cost
from mnv2search.evaluation import Evaluation
from mnv2search.latency.types import Latency, Verdict
from mnv2search.tasks.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One front member, as recorded and as verified.

    Attributes:
        then: recorded evaluation.
        cost: recounted cost.
        built_params: trainable parameters of the rebuilt network.
        latency: latency measured again.
        spec_is_recorded: the file in `front/` still describes the recorded network.
    """

    then: Evaluation
    cost: Cost
    built_params: int
    latency: Latency
    spec_is_recorded: bool

    @property
    def counts_hold(self) -> bool:
        """Whether the counts equal those recorded and those of the network built from the file."""
        return self.spec_is_recorded and self.cost == self.then.cost and self.built_params == self.cost.params

    @property
    def verdict(self) -> Verdict:
        """Whether the new interval fits the budget."""
        return self.latency.verdict(self.then.budget.latency_ms)

    @property
    def moved(self) -> float:
        """Relative change of the median."""
        return self.latency.median_ms / self.then.latency.median_ms - 1 if self.then.latency else 0.0

    @property
    def is_beyond_intervals(self) -> bool:
        """Whether the old and the new interval are disjoint."""
        before = self.then.latency
        return before is not None and (
            self.latency.ci_low_ms > before.ci_high_ms or self.latency.ci_high_ms < before.ci_low_ms
        )

    @property
    def holds(self) -> bool:
        """Whether the counts are the same, and the verdict is not that the network does not fit."""
        return self.counts_hold and self.verdict != "does not fit"


@dataclass(frozen=True, slots=True)
class Statistic:
    """A rank correlation with its 90 % bootstrap interval over networks."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """Separate trainings of networks of a search, beside the accuracies of the search.

    Attributes:
        weights: initial weights of all trainings; None for random weights.
        trained: metrics of each trained network on validation images.
        kendall: Kendall's tau-b between the accuracies of the search and of the trainings.
        spearman: Spearman correlation between the same accuracies.
        by_madds: Spearman correlation between multiply-adds and the trained accuracies, for comparison.
    """

    networks: tuple[Evaluation, ...]
    weights: Path | None
    trained: tuple[Metrics, ...]
    epochs: int
    recipe: str
    kendall: Statistic
    spearman: Statistic
    by_madds: float
