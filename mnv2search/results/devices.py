"""The results of commands on devices: a profile, an audit of predictions, and a probe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnv2search.latency.types import DeviceInfo, Latency
from mnv2search.spec.model_spec import ModelSpec

# The ratio of latencies exceeds that of multiply-adds by this factor.
RUINOUS = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The profile of a device: how many networks were measured now, and how many of earlier are still valid (`kept`).

    Attributes:
        dropped_earlier: earlier measurements disagree with those of today and were dropped.
        error: mean relative error on these networks, each predicted from the others; None below three.
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
    """The errors of predictions on one device and space, after learning from so many networks."""

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
        """Median relative half-width of the measurements' own 95 % intervals; smaller errors are not significant."""
        return float(np.median([i.measured.ci_high_ms / i.measured.median_ms - 1 for i in self.items]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPoint:
    """The latency of a network whose layers all have so many channels, and that of the trend over channels."""

    channels: int
    measured: Latency
    trend_ms: float

    @property
    def excess(self) -> float:
        """The relative difference from the trend."""
        return self.measured.median_ms / self.trend_ms - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiplePoint:
    """The relative root mean square error of a model in which channels are computed in blocks of one size."""

    multiple: int
    misfit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPoint:
    """The latency of a depthwise convolution.

    Attributes:
        kernel: side in px.
        half_width_ms: of its 95 % interval.
        ratio: of its latency to that of the smallest kernel.
        madds_ratio: of its multiply-adds to those of the smallest kernel.
    """

    kernel: int
    ms: float
    half_width_ms: float
    ratio: float
    madds_ratio: float

    @property
    def is_ruinous(self) -> bool:
        """Whether its latency far exceeds its share of multiply-adds."""
        return self.ratio > RUINOUS * self.madds_ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Cliff:
    """A step between two channel counts, with its relative rise in latency and that of the trend."""

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
