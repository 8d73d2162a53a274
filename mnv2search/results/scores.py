"""Training-free scores of networks of a space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COUNTED = ("depth", "multiply-adds", "body parameters")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreReport:
    """Scores of some networks of a space; the values of each network in turn, by the names of scores and counts."""

    space: str
    seed: int
    scores: tuple[str, ...]
    values: Mapping[str, tuple[float, ...]]

    @property
    def count(self) -> int:
        """Networks that were scored."""
        return len(self.values[COUNTED[0]])

    def spearman(self, one: str, other: str) -> float | None:
        """Rank correlation of two of the values; None where one of them is the same throughout."""
        from scipy.stats import spearmanr  # late: half a second

        pair = self.values[one], self.values[other]
        if any(len(set(values)) < 2 for values in pair):
            return None
        return float(spearmanr(*pair).statistic)
