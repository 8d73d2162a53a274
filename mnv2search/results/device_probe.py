"""What a probe finds on a device: latency by channels and by kernels."""

from __future__ import annotations

from dataclasses import dataclass

from mnv2search.latency.types import DeviceInfo, Latency

__all__ = ["ChannelPoint", "Cliff", "KernelPoint", "MultiplePoint", "Probe"]

# A kernel costs more than its multiply-adds say by this factor.
RUINOUS = 1.5


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
