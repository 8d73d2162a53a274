"""Predictions held against measurements: one network each, and all of a device and space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnv2search.latency.types import DeviceInfo, Latency
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["Audit", "Audited"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """One network, predicted before it was measured."""

    spec: ModelSpec
    predicted: Latency
    measured: Latency
    extrapolates: bool

    @property
    def error(self) -> float:
        """Of the prediction, relative to the measurement."""
        return self.predicted.median_ms / self.measured.median_ms - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """How good predictions are on one device and space.

    Attributes:
        learned_from: networks the predictor had seen.
        items: the networks.
    """

    device: DeviceInfo
    space: str
    learned_from: int
    items: tuple[Audited, ...]

    @property
    def mean_error(self) -> float:
        """Mean absolute relative error (MAPE, as a ratio)."""
        return float(np.mean([abs(item.error) for item in self.items]))

    @property
    def bias(self) -> float:
        """Median relative error."""
        return float(np.median([item.error for item in self.items]))

    def within(self, limit: float) -> float:
        """Share of the networks predicted to within a relative error."""
        return float(np.mean([abs(item.error) <= limit for item in self.items]))

    @property
    def spearman(self) -> float | None:
        """Rank correlation of predicted and measured latency; None below three networks."""
        if len(self.items) < 3:
            return None
        from scipy.stats import spearmanr  # late: half a second

        pairs = [(item.predicted.median_ms, item.measured.median_ms) for item in self.items]
        return float(spearmanr([p for p, _ in pairs], [m for _, m in pairs]).statistic)

    @property
    def half_width(self) -> float:
        """Median half-width of the measurements' own 95 % intervals, relative; no error below it can be told."""
        return float(np.median([i.measured.ci_high_ms / i.measured.median_ms - 1 for i in self.items]))
