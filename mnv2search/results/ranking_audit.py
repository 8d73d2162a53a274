"""Rank correlations of the accuracies of a search with those of separate trainings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mnv2search.evaluation import Evaluation
from mnv2search.tasks.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Statistic:
    """A rank correlation with its 90 % interval over which networks were drawn (bootstrap)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """What trainings of their own say of the accuracies of a search.

    Attributes:
        networks: that were trained.
        weights: that all trainings began with; None began with random ones.
        trained: figures of each on held-out images.
        epochs: of each training.
        recipe: of each training.
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
