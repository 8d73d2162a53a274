"""Latencies and devices as tables."""

from __future__ import annotations

from collections.abc import Sequence

from mnv2search.cost import cost_of
from mnv2search.latency.registry import Availability
from mnv2search.latency.types import Latency
from mnv2search.report.networks.heads import output_lines
from mnv2search.report.rows import NAME, Column, Rows, device_text, measured_text, millions, rows_of, trouble_lines
from mnv2search.spec.model_spec import ModelSpec


def latency_rows(specs: Sequence[ModelSpec], latencies: Sequence[Latency]) -> Rows:
    """A row per network, measured side by side on one device."""
    return rows_of(
        "latency",
        zip(specs, latencies, strict=True),
        (NAME, lambda pair: pair[0].name),
        (Column("median [95 % interval]", "ms"), lambda pair: measured_text(pair[1])),
        (Column("p90", "ms"), lambda pair: f"{pair[1].p90_ms:.2f}"),
        (Column("samples"), lambda pair: str(pair[1].samples)),
        (Column("dropped"), lambda pair: str(pair[1].dropped)),
        (Column("kind", align="left"), lambda pair: _kind(pair[1])),
        (Column("multiply-adds", "M"), lambda pair: millions(cost_of(pair[0]).madds)),
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
