"""A trained supernet as rows, lines and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from mnv2search.cost import cost_of
from mnv2search.report.rows import NAME, Column, Rows, accuracy_text, millions

if TYPE_CHECKING:
    from mnv2search.results.supernet import SupernetReport


def supernet_rows(report: SupernetReport) -> Rows:
    """Some of the networks with their inherited accuracies."""
    columns = (
        NAME,
        Column("inherited top1", "% [90 % interval]"),
        Column("multiply-adds", "M"),
        Column("side", "px"),
    )
    rows = tuple(
        (spec.name, accuracy_text(accuracy), millions(cost_of(spec).madds), str(spec.size))
        for spec, accuracy in report.shown
    )
    return Rows(title="Some of the networks that share the weights", columns=columns, rows=rows)


def supernet_lines(report: SupernetReport) -> Iterator[str]:
    """Notes about the training, and the option to search with it."""
    yield from report.notes
    yield f"to search with it: mnv2search run --latency-ms MS --space SPACE --accuracy '{report.evaluator}'"


def supernet_json(report: SupernetReport) -> dict[str, object]:
    """One document with the folder, the notes and the networks."""
    return {
        "folder": str(report.folder),
        "evaluator": report.evaluator,
        "notes": list(report.notes),
        "networks": [
            {"name": spec.name, "accuracy": asdict(accuracy), "cost": asdict(cost_of(spec))}
            for spec, accuracy in report.shown
        ],
    }
