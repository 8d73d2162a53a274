"""What the commands on devices return: a profile, an audit of predictions, and a probe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnv2search.latency.types import DeviceInfo, Latency
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["Audit", "Audited", "ChannelPoint", "Cliff", "KernelPoint", "MultiplePoint", "Probe", "Profile"]

# A kernel costs more than its multiply-adds say by this factor.
RUINOUS = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What building a profile came to.

    Attributes:
        device: whose profile it is.
        spaces: names of the spaces it was chosen for.
        measured: networks measured now.
        kept: networks measured earlier that still hold.
        dropped_earlier: earlier ones were there, but missed today's measurements: another clock, or other work.
        error: mean relative error on these networks, each predicted from the others; None below three.
        elapsed_s: wall time.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPoint:
    """A network whose layers all have so many channels.

    Attributes:
        channels: of every layer.
        measured: its latency.
        trend_ms: of a power of the channels, as if they filled their blocks.
    """

    channels: int
    measured: Latency
    trend_ms: float

    @property
    def excess(self) -> float:
        """Over the trend, relative."""
        return self.measured.median_ms / self.trend_ms - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiplePoint:
    """How well the latencies are explained by a device that computes channels in blocks of one size.

    Attributes:
        multiple: the size of the blocks.
        misfit: root mean square of what is left unexplained, relative.
    """

    multiple: int
    misfit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPoint:
    """What one depthwise convolution costs.

    Attributes:
        kernel: side in px.
        ms: one layer.
        half_width_ms: of its 95 % interval.
        ratio: over that of the smallest kernel.
        madds_ratio: the same of multiply-adds.
    """

    kernel: int
    ms: float
    half_width_ms: float
    ratio: float
    madds_ratio: float

    @property
    def is_ruinous(self) -> bool:
        """It costs far more than its multiply-adds say."""
        return self.ratio > RUINOUS * self.madds_ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Cliff:
    """A step between neighbouring channel counts that the trend does not explain.

    Attributes:
        below: channels before it.
        above: channels after it.
        rise: of the latency, relative.
        expected: by the trend.
    """

    below: int
    above: int
    rise: float
    expected: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was found on one device.

    Attributes:
        device: that was probed.
        channels: in rising order.
        multiples: 4, 8, 16 and 32.
        kernels: in rising order.
        cliffs: between neighbouring channels, largest first.
        round_to: the multiple to round channels to.
    """

    device: DeviceInfo
    channels: tuple[ChannelPoint, ...]
    multiples: tuple[MultiplePoint, ...]
    kernels: tuple[KernelPoint, ...]
    cliffs: tuple[Cliff, ...]
    round_to: int
