"""Latencies, predictions and profiles of devices, as text and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from mnv2search.cost import cost_of
from mnv2search.latency.registry import Availability
from mnv2search.latency.types import Latency
from mnv2search.report.networks import output_lines
from mnv2search.report.rows import (
    NAME,
    Column,
    Rows,
    counted,
    device_line,
    device_text,
    measured_text,
    millions,
    ms_text,
    plus_minus,
    prediction_error_text,
    rows_of,
    trouble_lines,
)
from mnv2search.spec.model_spec import ModelSpec

if TYPE_CHECKING:
    from mnv2search.results.devices import Audit, Probe, Profile


def latency_rows(specs: Sequence[ModelSpec], latencies: Sequence[Latency]) -> Rows:
    """A row per network, measured side by side on one device."""
    return rows_of(
        "latency",
        zip(specs, latencies, strict=True),
        (NAME, lambda pair: pair[0].name),
        (Column("median [95 % interval]", "ms"), lambda pair: measured_text(pair[1])),
        (Column("p90", "ms", spare=1), lambda pair: f"{pair[1].p90_ms:.2f}"),
        (Column("samples", spare=2), lambda pair: str(pair[1].samples)),
        (Column("dropped", spare=3), lambda pair: str(pair[1].dropped)),
        (Column("kind", align="left"), lambda pair: _kind(pair[1])),
        (Column("multiply-adds", "M", spare=4), lambda pair: millions(cost_of(pair[0]).madds)),
        notes=([device_text(latencies)] if latencies else []) + [*output_lines(specs), *trouble_lines(latencies)],
    )


def _kind(latency: Latency) -> str:
    return latency.kind + (", too few visits" if latency.is_hasty else ", noisy" if latency.noisy else "")


def device_rows(devices: Sequence[Availability]) -> Rows:
    """A row per device, with the reason if it cannot be used."""
    return rows_of(
        "devices",
        devices,
        (Column("device", align="left"), lambda device: device.name),
        (Column("version", align="left"), lambda device: device.version),
        (Column("usable", align="left"), lambda device: "yes" if device.usable else "no"),
        (Column("reason", align="left"), lambda device: device.reason),
    )


def audit_rows(audit: Audit) -> Rows:
    """A row per network, largest error first."""
    return rows_of(
        f"predicted and measured latency: {audit.space}",
        sorted(enumerate(audit.items), key=lambda numbered: -abs(numbered[1].error)),
        (NAME, lambda numbered: f"{numbered[1].spec.name} #{numbered[0]}"),
        (Column("predicted", "ms"), lambda numbered: ms_text(numbered[1].predicted.median_ms)),
        (Column("measured [95 % interval]", "ms"), lambda numbered: measured_text(numbered[1].measured)),
        (Column("error", "%"), lambda numbered: f"{100 * numbered[1].error:+.1f}"),
        (Column("unlike all measured before", align="left"), lambda numbered: "yes" * numbered[1].extrapolates),
    )


def audit_lines(audit: Audit) -> Iterator[str]:
    """A summary of the errors."""
    yield device_line(audit.device)
    yield (
        f"{counted(len(audit.items), 'network')} of {audit.space}, not among the {audit.learned_from} that the "
        f"predictor was fitted to; median half-width of their 95 % intervals: {100 * audit.half_width:.1f} %"
    )
    rank = "" if audit.spearman is None else f", Spearman {audit.spearman:.4f}"
    yield (
        f"{prediction_error_text(audit.mean_error)}, bias {100 * audit.bias:+.1f} %; within 5 %: "
        f"{100 * audit.within(0.05):.0f} %, within 10 %: {100 * audit.within(0.1):.0f} %{rank}"
    )
    if not audit.learned_from:
        yield "nothing was measured on this device before: build its profile with mnv2search device-profile"


def audit_json(audit: Audit) -> dict[str, object]:
    """A JSON document with the error metrics and every network."""
    return {
        "device": asdict(audit.device),
        "space": audit.space,
        "learned_from": audit.learned_from,
        "mean_error": audit.mean_error,
        "bias": audit.bias,
        "within_5_percent": audit.within(0.05),
        "within_10_percent": audit.within(0.1),
        "spearman": audit.spearman,
        "measured_half_width": audit.half_width,
        "networks": [
            {
                "predicted_ms": item.predicted.median_ms,
                "measured_ms": item.measured.median_ms,
                "ci_low_ms": item.measured.ci_low_ms,
                "ci_high_ms": item.measured.ci_high_ms,
                "error": item.error,
                "extrapolates": item.extrapolates,
            }
            for item in audit.items
        ],
    }


def profile_lines(profile: Profile) -> Iterator[str]:
    """The number of measured networks, and the prediction error."""
    yield device_line(profile.device)
    yield (
        f"{counted(profile.measured, 'network')} of {', '.join(profile.spaces)} measured in "
        f"{profile.elapsed_s:.0f} s, {profile.kept} measured earlier are still valid"
    )
    if profile.dropped_earlier:
        yield "earlier measurements were discarded: they disagree with those of this run (other clock rate or load)"
    if profile.error is not None:
        yield f"{prediction_error_text(profile.error)}, each network predicted from four fifths of the others"


def channel_rows(probe: Probe) -> Rows:
    """A row for each number of channels."""
    return rows_of(
        "latency of networks by the channels of their layers",
        probe.channels,
        (Column("channels"), lambda point: str(point.channels)),
        (Column("measured [95 % interval]", "ms"), lambda point: measured_text(point.measured)),
        (Column("trend", "ms"), lambda point: ms_text(point.trend_ms)),
        (Column("over the trend", "%"), lambda point: f"{100 * point.excess:+.1f}"),
        notes=["trend: a power of the channel count, for channels that fill whole blocks of the device"],
    )


def kernel_rows(probe: Probe) -> Rows:
    """A row for each kernel."""
    return rows_of(
        "latency of a depthwise convolution, 64 channels, 28 px",
        probe.kernels,
        (Column("depthwise kernel", "px"), lambda point: str(point.kernel)),
        (Column("one layer", "ms"), lambda point: plus_minus(point.ms, point.half_width_ms)),
        (Column("relative to the smallest kernel"), lambda point: f"{point.ratio:.2f}"),
        (Column("multiply-adds, relative"), lambda point: f"{point.madds_ratio:.2f}"),
    )


def probe_lines(probe: Probe) -> Iterator[str]:
    """A summary, with the multiple to round channels to."""
    yield device_line(probe.device)
    misfits = ", ".join(f"{point.multiple}: {100 * point.misfit:.1f} %" for point in probe.multiples)
    yield f"unexplained variation (root mean square), if the device computes in blocks of N channels: {misfits}"
    for cliff in probe.cliffs:
        yield (
            f"cliff: from {cliff.below} to {cliff.above} channels {100 * cliff.rise:+.0f} %, where the trend has "
            f"{100 * cliff.expected:+.0f} %"
        )
    for kernel in probe.kernels:
        if kernel.is_ruinous:
            yield (
                f"kernel {kernel.kernel} takes {kernel.ratio:.1f} times as long as the smallest, for "
                f"{kernel.madds_ratio:.1f} times the multiply-adds: leave it out of the space"
            )
    yield f"round channels to multiples of {probe.round_to}: mnv2search run --round-to {probe.round_to}"
