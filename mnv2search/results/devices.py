"""Results of profiling and probing a device, and of auditing latency predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnv2search.latency.types import DeviceInfo, Latency
from mnv2search.spec.model_spec import ModelSpec

# A kernel is ruinous if its latency ratio exceeds its multiply-add ratio by this factor.
RUINOUS = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The result of profiling a device.

    Attributes:
        measured: number of newly measured networks.
        kept: number of networks measured earlier that are still valid.
        dropped_earlier: earlier measurements disagree with the new ones and were dropped.
        error: mean prediction error on these networks by cross-validation; None below three networks.
    """

    device: DeviceInfo
    spaces: tuple[str, ...]
    measured: int
    kept: int
    dropped_earlier: bool
    error: float | None
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """One network, predicted before it was measured."""

    spec: ModelSpec
    predicted: Latency
    measured: Latency
    extrapolates: bool

    @property
    def error(self) -> float:
        """The error of the prediction, relative to the measurement."""
        return self.predicted.median_ms / self.measured.median_ms - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Prediction errors on one device and space; the predictor was fitted to `learned_from` networks."""

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
        """Share of the networks that are predicted within a relative error."""
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
        """Median relative half-width of the measured 95 % intervals; smaller errors are not significant."""
        return float(np.median([i.measured.ci_high_ms / i.measured.median_ms - 1 for i in self.items]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPoint:
    """The latency of a network whose layers all have `channels` channels, and the trend's latency."""

    channels: int
    measured: Latency
    trend_ms: float

    @property
    def excess(self) -> float:
        """The relative difference from the trend."""
        return self.measured.median_ms / self.trend_ms - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiplePoint:
    """The relative RMS error of the latency model that rounds channels up to a multiple."""

    multiple: int
    misfit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPoint:
    """The latency of a depthwise convolution.

    Attributes:
        kernel: side in px.
        half_width_ms: half-width of the 95 % interval.
        ratio: latency relative to that of the smallest kernel.
        madds_ratio: multiply-adds relative to those of the smallest kernel.
    """

    kernel: int
    ms: float
    half_width_ms: float
    ratio: float
    madds_ratio: float

    @property
    def is_ruinous(self) -> bool:
        """Whether the latency ratio far exceeds the multiply-add ratio."""
        return self.ratio > RUINOUS * self.madds_ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Cliff:
    """A step between two channel counts, with the relative rise of the latency and of the trend (`expected`)."""

    below: int
    above: int
    rise: float
    expected: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The results of probing a device; the largest cliff is first, and `round_to` is the recommended multiple."""

    device: DeviceInfo
    channels: tuple[ChannelPoint, ...]
    multiples: tuple[MultiplePoint, ...]
    kernels: tuple[KernelPoint, ...]
    cliffs: tuple[Cliff, ...]
    round_to: int
