"""The channels and kernels that are fast on a device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mnv2search.report.rows import Column, Rows, device_line, measured_text, ms_text, plus_minus, rows_of

if TYPE_CHECKING:
    from mnv2search.results.devices import Probe


def channel_rows(probe: Probe) -> Rows:
    """A row for each number of channels."""
    return rows_of(
        "latency of networks of one width",
        probe.channels,
        (Column("channels"), lambda point: str(point.channels)),
        (Column("measured [95 % interval]", "ms"), lambda point: measured_text(point.measured)),
        (Column("trend", "ms"), lambda point: ms_text(point.trend_ms)),
        (Column("over the trend", "%"), lambda point: f"{100 * point.excess:+.1f}"),
        notes=[
            "the trend is a power of the channels, as if they filled the blocks in which the device computes them"
        ],
    )


def kernel_rows(probe: Probe) -> Rows:
    """A row for each kernel."""
    return rows_of(
        "latency of a depthwise convolution, 64 channels, 28 px",
        probe.kernels,
        (Column("depthwise kernel", "px"), lambda point: str(point.kernel)),
        (Column("one layer", "ms"), lambda point: plus_minus(point.ms, point.half_width_ms)),
        (Column("times the smallest"), lambda point: f"{point.ratio:.2f}"),
        (Column("multiply-adds, times the smallest"), lambda point: f"{point.madds_ratio:.2f}"),
    )


def probe_lines(probe: Probe) -> Iterator[str]:
    """A summary, with the multiple to round channels to."""
    yield device_line(probe.device)
    misfits = ", ".join(f"{point.multiple}: {100 * point.misfit:.1f} %" for point in probe.multiples)
    yield f"what blocks of so many channels leave unexplained (root mean square): {misfits}"
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
