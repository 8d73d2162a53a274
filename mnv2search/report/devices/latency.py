"""Latencies and devices as tables."""

from __future__ import annotations

from collections.abc import Sequence

from mnv2search.cost import cost_of
from mnv2search.latency.registry import Availability
from mnv2search.latency.types import Latency
from mnv2search.report.networks.heads import output_lines
from mnv2search.report.rows import NAME, Column, Rows, device_text, measured_text, millions, trouble_lines
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["device_rows", "latency_rows"]


def latency_rows(specs: Sequence[ModelSpec], latencies: Sequence[Latency]) -> Rows:
    """A row per network, measured side by side on one device."""
    columns = (
        NAME,
        Column("median [95 % interval]", "ms"),
        Column("p90", "ms"),
        Column("samples"),
        Column("dropped"),
        Column("kind", align="left"),
        Column("multiply-adds", "M"),
    )
    rows = tuple(
        (
            spec.name,
            measured_text(latency),
            f"{latency.p90_ms:.2f}",
            str(latency.samples),
            str(latency.dropped),
            latency.kind + (", too few visits" if latency.is_hasty else ", noisy" if latency.noisy else ""),
            millions(cost_of(spec).madds),
        )
        for spec, latency in zip(specs, latencies, strict=True)
    )
    notes = [device_text(latencies)] if latencies else []
    notes += output_lines(specs)
    notes += trouble_lines(latencies)
    return Rows(title="latency", columns=columns, rows=rows, notes=tuple(notes))


def device_rows(found: Sequence[Availability]) -> Rows:
    """A row per device, with the reason where it cannot be used."""
    columns = (
        Column("device", align="left"),
        Column("version", align="left"),
        Column("usable", align="left"),
        Column("reason", align="left"),
    )
    rows = tuple((a.name, a.version, "yes" if a.usable else "no", a.reason) for a in found)
    return Rows(title="devices", columns=columns, rows=rows)
