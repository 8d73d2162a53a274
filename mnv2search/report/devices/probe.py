"""What a device likes, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mnv2search.report.rows import Column, Rows, device_line, measured_text, ms_text, plus_minus

if TYPE_CHECKING:
    from mnv2search.results.devices import Probe

__all__ = ["channel_rows", "kernel_rows", "probe_json", "probe_lines"]


def channel_rows(probe: Probe) -> Rows:
    """A row for each number of channels."""
    columns = (
        Column("channels"),
        Column("measured [95 % interval]", "ms"),
        Column("trend", "ms"),
        Column("over the trend", "%"),
    )
    rows = tuple(
        (str(p.channels), measured_text(p.measured), ms_text(p.trend_ms), f"{100 * p.excess:+.1f}")
        for p in probe.channels
    )
    notes = ("the trend is a power of the channels, as if they filled the blocks in which the device computes them",)
    return Rows(title="latency of networks of one width", columns=columns, rows=rows, notes=notes)


def kernel_rows(probe: Probe) -> Rows:
    """A row for each kernel."""
    columns = (
        Column("depthwise kernel", "px"),
        Column("one layer", "ms"),
        Column("times the smallest"),
        Column("multiply-adds, times the smallest"),
    )
    rows = tuple(
        (f"{p.kernel}", plus_minus(p.ms, p.half_width_ms), f"{p.ratio:.2f}", f"{p.madds_ratio:.2f}")
        for p in probe.kernels
    )
    return Rows(title="latency of a depthwise convolution, 64 channels, 28 px", columns=columns, rows=rows)


def probe_lines(probe: Probe) -> Iterator[str]:
    """What it comes to."""
    yield device_line(probe.device)
    told = ", ".join(f"{point.multiple}: {100 * point.misfit:.1f} %" for point in probe.multiples)
    yield f"what blocks of so many channels leave unexplained (root mean square): {told}"
    for cliff in probe.cliffs:
        yield (
            f"cliff: from {cliff.below} to {cliff.above} channels {100 * cliff.rise:+.0f} %, where the trend has "
            f"{100 * cliff.expected:+.0f} %"
        )
    for kernel in probe.kernels:
        if kernel.is_ruinous:
            yield (
                f"kernel {kernel.kernel} costs {kernel.ratio:.1f} times the smallest for {kernel.madds_ratio:.1f} "
                "times its multiply-adds: leave it out of the space"
            )
    yield f"round channels to multiples of {probe.round_to}: mnv2search run --round-to {probe.round_to}"


def probe_json(probe: Probe) -> dict[str, Any]:
    """One document with our field names as keys."""
    from dataclasses import asdict

    return asdict(probe)
