"""The differences between two networks, as text and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from mnv2search.report.rows import Column, Rows, device_text, measured_text, prediction_error_text, rows_of
from mnv2search.results.stages.spec_diff import Change, Part, SpecDiff, StageDiff

# Smaller differences of multiply-adds are shown with more digits.
LEAST_IN_MILLIONS = 5_000


def diff_rows(found: SpecDiff) -> Rows:
    """A row per stage of the two networks, A and B, with their differences and the effect on the counts."""
    network = [StageDiff(before=None, after=None, changes=found.changes)] if found.changes else []
    params = sum(stage.params for stage in found.stages)
    madds = sum(stage.madds for stage in found.stages)
    return rows_of(
        f"A: {found.before.name}, B: {found.after.name}",
        (*network, *found.stages),
        (Column("stage in A", align="left", is_whole=True), lambda stage: _label(stage, stage.before)),
        (Column("stage in B", align="left", is_whole=True), lambda stage: _label(stage, stage.after)),
        (Column("difference", align="left"), _difference),
        (Column("params", "B - A"), lambda stage: _signed(stage.params) * _is_part(stage)),
        (
            Column("multiply-adds", "M, B - A"),
            lambda stage: _signed_millions(stage.madds) * _is_part(stage),
        ),
        footer=("total", "", "", _signed(params), _signed_millions(madds)),
    )


def effect_rows(found: SpecDiff) -> Rows:
    """The counts of both networks, with difference and ratio."""
    one, other = found.costs
    counts = (
        ("parameters", one.params, other.params, 1),
        ("multiply-adds, M", one.madds, other.madds, 1e6),
        (f"peak memory, kB {found.precision}", one.peak_activation_bytes, other.peak_activation_bytes, 1e3),
        (f"weights, kB {found.precision}", one.size_bytes, other.size_bytes, 1e3),
    )
    rows: list[tuple[str, ...]] = [
        (what, f"{a / unit:,.{digits}f}", f"{b / unit:,.{digits}f}", f"{(b - a) / unit:+,.{digits}f}", _ratio(a, b))
        for what, a, b, unit in counts
        for digits in [1 if unit == 1e6 else 0]
    ]
    if found.latencies:
        a, b = (latency.median_ms for latency in found.latencies)
        texts = (*map(measured_text, found.latencies), f"{b - a:+.3f}", _ratio(a, b))
        rows.append(("predicted latency, ms", *texts))
    return Rows(
        title="effect",
        columns=(Column("quantity", align="left"), Column("A"), Column("B"), Column("B - A"), Column("B / A")),
        rows=tuple(rows),
        notes=tuple(_latency_notes(found)),
    )


def same_lines(found: SpecDiff) -> Iterator[str]:
    """A line if the networks are the same."""
    if found.is_same:
        is_equal = found.before.name == found.after.name
        yield "the networks are the same" if is_equal else "the networks differ only in their names"


def diff_json(found: SpecDiff) -> dict[str, object]:
    """The differences as a JSON document."""
    return {
        "before": {"name": found.before.name, **asdict(found.costs[0])},
        "after": {"name": found.after.name, **asdict(found.costs[1])},
        "precision": found.precision,
        "is_same": found.is_same,
        "changes": _changes_json(found.changes),
        "stages": [
            {
                "before": _part_json(stage.before),
                "after": _part_json(stage.after),
                "changes": _changes_json(stage.changes),
                "params": stage.params,
                "madds": stage.madds,
            }
            for stage in found.stages
        ],
        "predicted": [asdict(latency) for latency in found.latencies],
        "predictor_error": found.error,
    }


def _label(stage: StageDiff, part: Part | None) -> str:
    if part is not None:
        return part.label
    return "" if _is_part(stage) else "network"


def _is_part(stage: StageDiff) -> bool:
    """Whether the row is a stage, not the whole network."""
    return bool(stage.before or stage.after)


def _difference(stage: StageDiff) -> str:
    if stage.changes:
        return ", ".join(f"{change.key}: {change.before} → {change.after}" for change in stage.changes)
    if stage.before and stage.after:
        return ""
    only, where = (stage.before, "A") if stage.before else (stage.after, "B")
    return f"only in {where}: {only.text if only else ''}"


def _signed(value: int) -> str:
    return f"{value:+,}" if value else "0"


def _signed_millions(value: int) -> str:
    digits = 2 if abs(value) >= LEAST_IN_MILLIONS else 4
    return f"{value / 1e6:+.{digits}f}" if value else "0"


def _ratio(before: float, after: float) -> str:
    return f"{after / before:.2f}" if before else ""


def _latency_notes(found: SpecDiff) -> Iterator[str]:
    if found.error is not None:
        yield f"latencies are predicted from networks measured before: {prediction_error_text(found.error)}"
        yield device_text(found.latencies)


def _changes_json(changes: Sequence[Change]) -> list[dict[str, str]]:
    return [{"field": one.field, "before": one.before, "after": one.after} for one in changes]


def _part_json(part: Part | None) -> dict[str, object] | None:
    return None if part is None else {**part._asdict(), "label": part.label}
