"""Published networks beside what we count."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict

from mnv2search.cost import cost_of
from mnv2search.report.rows import NAME, Column, Rows, millions, rows_of
from mnv2search.spec.catalog import CatalogEntry


def catalog_rows(entries: Sequence[CatalogEntry]) -> Rows:
    """A row per network: the first published figure of each kind, and our count of the shipped spec."""

    def published(field: str, text: Callable[[float], str]) -> Callable[[CatalogEntry], str]:
        return lambda entry: next((text(v) for p in entry.published if (v := getattr(p, field)) is not None), "")

    return rows_of(
        f"{len(entries)} published networks",
        entries,
        (NAME, lambda entry: entry.name),
        (Column("side", "px"), lambda entry: str(entry.spec.size)),
        (Column("top-1 published", "%"), published("top1", lambda value: f"{100 * value:.1f}")),
        (Column("params published", "M"), published("params", lambda value: f"{value / 1e6:.2f}")),
        (Column("counted", "M"), lambda entry: f"{cost_of(entry.spec).params / 1e6:.2f}"),
        (Column("no norm", "M"), lambda entry: f"{cost_of(entry.spec).params_no_bn / 1e6:.2f}"),
        (Column("multiply-adds published", "M"), published("madds", lambda value: f"{value / 1e6:.0f}")),
        (Column("counted", "M"), lambda entry: millions(cost_of(entry.spec).madds)),
        (Column("latency published", "ms"), published("latency_ms", lambda value: f"{value:g}")),
        (Column("source", align="left"), lambda entry: re.split("[@:]", entry.architecture)[0]),
        notes=(
            "published figures are as printed by their source, in its own way of counting, latencies on its own "
            "device; --json has every source, commit and device",
            "no norm: our count of parameters without batch norm, as TensorFlow-slim prints them",
        ),
    )


def catalog_json(entries: Sequence[CatalogEntry]) -> list[dict[str, object]]:
    """Every published figure with its source, and our count."""
    return [
        {
            "name": entry.name,
            "family": entry.family,
            "resolution": entry.spec.resolution,
            "width": entry.spec.width,
            "architecture": entry.architecture,
            "note": entry.note,
            "counted": asdict(cost_of(entry.spec)),
            "published": [asdict(figures) for figures in entry.published],
        }
        for entry in entries
    ]
