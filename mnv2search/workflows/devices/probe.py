"""Find the channel multiples and kernel sizes that are fast on a device."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
from numpy.typing import NDArray

from mnv2search.latency.device_text import device_text
from mnv2search.latency.measuring.timing import OnProgress, Settings
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.registry import open_device
from mnv2search.latency.types import Latency, LatencyDevice
from mnv2search.results.devices import ChannelPoint, Cliff, KernelPoint, MultiplePoint, Probe
from mnv2search.spec.model_spec import BlockSpec, ModelSpec, Stem
from mnv2search.study.deadline import seconds_of

# Channels of all layers: multiples of 4 only, of 8, of 16 and of 32.
CHANNELS = (48, 52, 56, 60, 64, 68, 72, 76, 80, 84, 88, 92, 96)
MULTIPLES = (4, 8, 16, 32)
# Multiple used by MobileNets, kept unless another one fits much better.
USUAL = 8
KERNELS = (3, 5, 7)
KERNEL_CHANNELS = 64
# Blocks in a row: enough to make the time of the stem and of start-up negligible.
REPEATS = 8
RESOLUTION = 56
CLOSENESS = Settings(half_width=0.01, min_visits=20, max_visits=60)
# A multiple other than the usual one is chosen only if its residual is at most this fraction of the usual one's.
CONVINCING = 0.6
# A step whose relative rise exceeds that of the trend by more than this is a cliff.
CLIFF = 0.06
NETWORKS = len(CHANNELS) + len(KERNELS)


def probe_device(
    device: LatencyDevice | str | Sequence[str] = "onnxruntime",
    *,
    precision: str | None = None,
    time: float | str | None = 120.0,
    on_progress: OnProgress | None = None,
) -> Probe:
    """Measure small networks that differ in channels or kernels, side by side.

    Args:
        device: device, or text for `open_device`; a device given as text is closed at the end.
        precision: precision of weights and activations of a device given as text; None takes that of the device.
        time: no visit begins after this time, in seconds or as text.
        on_progress: called after every visit with the number of finished networks.

    Raises:
        DeviceError: the device cannot be used, or refuses a network.
    """
    by_channels = [_network(channels) for channels in CHANNELS]
    by_kernel = [_network(KERNEL_CHANNELS, kernel=kernel) for kernel in KERNELS]
    bare = _network(KERNEL_CHANNELS, depthwise=False)
    specs = list(dict.fromkeys([*by_channels, *by_kernel, bare]))
    with (
        open_device(device_text(device, precision)) if isinstance(device, Sequence) else nullcontext(device) as opened
    ):
        measurer = LatencyCache().measurer(opened, CLOSENESS)
        measured = measurer.measure(specs, time_s=seconds_of(time), on_progress=on_progress)
    latencies = dict(zip(specs, measured, strict=True))
    of_channels = [latencies[spec] for spec in by_channels]
    trend, multiples, round_to = _trend(of_channels)
    points = tuple(
        ChannelPoint(channels=c, measured=m, trend_ms=t) for c, m, t in zip(CHANNELS, of_channels, trend, strict=True)
    )
    return Probe(
        device=opened.info,
        channels=points,
        multiples=multiples,
        kernels=_kernels([latencies[spec] for spec in by_kernel], latencies[bare]),
        cliffs=_cliffs(points),
        round_to=round_to,
    )


def _network(channels: int, *, kernel: int = 3, depthwise: bool = True) -> ModelSpec:
    block = BlockSpec(
        channels=channels,
        expansion=1,
        repeats=REPEATS,
        kernel=kernel,
        expand_divisor=1,
        residual="off",
        depthwise_location="expansion" if depthwise else "none",
        projection_activation="relu6",
    )
    return ModelSpec(
        name=f"probe-{channels}-{kernel if depthwise else 0}",
        stem=Stem(channels=channels),
        blocks=(block,),
        last_channels=None,
        head=None,
        channel_divisor=1,
        resolution=RESOLUTION,
    )


def _trend(measured: Sequence[Latency]) -> tuple[NDArray[np.float64], tuple[MultiplePoint, ...], int]:
    """Return the trend of the chosen multiple, the misfit of each multiple, and the chosen multiple.

    For each multiple, a power law of the channels, rounded up to the multiple, is fitted to the latencies.
    """
    y = np.log([latency.median_ms for latency in measured])
    fits: dict[int, tuple[float, NDArray[np.float64]]] = {}
    for multiple in MULTIPLES:
        padded = [-(-channels // multiple) * multiple for channels in CHANNELS]
        terms = np.column_stack([np.ones(len(y)), np.log(padded)])
        rates = np.linalg.lstsq(terms, y, rcond=None)[0]
        fits[multiple] = float(np.sqrt(np.mean((y - terms @ rates) ** 2))), rates
    best = min(fits, key=lambda multiple: fits[multiple][0])
    if fits[best][0] > CONVINCING * fits[USUAL][0]:
        best = USUAL
    constant, power = fits[best][1].tolist()
    points = tuple(MultiplePoint(multiple=m, misfit=misfit) for m, (misfit, _) in fits.items())
    return np.exp(constant + power * np.log(CHANNELS)), points, best


def _kernels(measured: Sequence[Latency], bare: Latency) -> tuple[KernelPoint, ...]:
    costs = [(latency.median_ms - bare.median_ms) / REPEATS for latency in measured]
    smallest = max(costs[0], 1e-9)
    return tuple(
        KernelPoint(
            kernel=kernel,
            ms=cost,
            half_width_ms=math.hypot(_half_width_ms(latency), _half_width_ms(bare)) / REPEATS,
            ratio=cost / smallest,
            madds_ratio=(kernel / KERNELS[0]) ** 2,
        )
        for kernel, latency, cost in zip(KERNELS, measured, costs, strict=True)
    )


def _half_width_ms(latency: Latency) -> float:
    return (latency.ci_high_ms - latency.ci_low_ms) / 2


def _cliffs(points: Sequence[ChannelPoint]) -> tuple[Cliff, ...]:
    """Steps that rise by considerably more than the trend, largest first."""
    cliffs = []
    for before, after in itertools.pairwise(points):
        rise = after.measured.median_ms / before.measured.median_ms - 1
        expected = after.trend_ms / before.trend_ms - 1
        if rise - expected > CLIFF:
            cliffs.append(Cliff(below=before.channels, above=after.channels, rise=rise, expected=expected))
    return tuple(sorted(cliffs, key=lambda cliff: cliff.expected - cliff.rise))
