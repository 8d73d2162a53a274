"""Published networks beside what we count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from mnv2search.cost import cost_of
from mnv2search.report.rows import Column, Rows, millions
from mnv2search.spec.catalog import CatalogEntry, PublishedFigures

__all__ = ["catalog_json", "catalog_rows"]


def catalog_rows(entries: Sequence[CatalogEntry]) -> Rows:
    """A row per network: the first published figure of each kind, and our count of the shipped spec."""
    columns = (
        Column("network", align="left"),
        Column("side", "px"),
        Column("top-1 published", "%"),
        Column("params published", "M"),
        Column("counted", "M"),
        Column("no norm", "M"),
        Column("multiply-adds published", "M"),
        Column("counted", "M"),
        Column("latency published", "ms"),
        Column("source", align="left"),
    )
    return Rows(
        title=f"{len(entries)} published networks",
        columns=columns,
        rows=tuple(_row(entry) for entry in entries),
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


def _row(entry: CatalogEntry) -> tuple[str, ...]:
    spec = entry.spec
    cost = cost_of(spec)
    top1 = _first(entry.published, "top1")
    params, madds = _first(entry.published, "params"), _first(entry.published, "madds")
    latency = _first(entry.published, "latency_ms")
    return (
        entry.name,
        str(spec.size),
        "" if top1 is None else f"{100 * top1:.1f}",
        "" if params is None else f"{params / 1e6:.2f}",
        f"{cost.params / 1e6:.2f}",
        f"{cost.params_no_bn / 1e6:.2f}",
        "" if madds is None else f"{madds / 1e6:.0f}",
        millions(cost.madds),
        "" if latency is None else f"{latency:g}",
        _project(entry.architecture),
    )


def _first(published: Sequence[PublishedFigures], field: str) -> float | None:
    return next((value for figures in published if (value := getattr(figures, field)) is not None), None)


def _project(source: str) -> str:
    return source.split("@", maxsplit=1)[0].split(":", maxsplit=1)[0]
