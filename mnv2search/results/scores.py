"""Training-free scores of networks of a space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mnv2search.display import Displayed

COUNTED = ("depth", "multiply-adds", "body parameters")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ScoreReport(Displayed):
    """Scores and counts of some networks of a space: `values` has one tuple over networks for each name."""

    space: str
    seed: int
    scores: tuple[str, ...]
    values: Mapping[str, tuple[float, ...]]

    @property
    def count(self) -> int:
        """Number of scored networks."""
        return len(self.values[COUNTED[0]])

    def spearman(self, one: str, other: str) -> float | None:
        """Rank correlation of two scores or counts; None if one of them is constant."""
        from scipy.stats import spearmanr  # late: half a second

        pair = self.values[one], self.values[other]
        if any(len(set(values)) < 2 for values in pair):
            return None
        return float(spearmanr(*pair).statistic)
