"""A supernet, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mnv2search.cost import cost_of
from mnv2search.report.rows import NAME, Column, Rows, accuracy_text, millions

if TYPE_CHECKING:
    from mnv2search.results.supernet import Built

__all__ = ["built_json", "built_lines", "built_rows"]


def built_rows(built: Built) -> Rows:
    """Some of its networks."""
    columns = (
        NAME,
        Column("inherited top1", "% [90 % interval]"),
        Column("multiply-adds", "M"),
        Column("side", "px"),
    )
    rows = tuple(
        (spec.name, accuracy_text(accuracy), millions(cost_of(spec).madds), str(spec.size))
        for spec, accuracy in built.shown
    )
    return Rows(title="Some of the networks that share the weights", columns=columns, rows=rows)


def built_lines(built: Built) -> Iterator[str]:
    """How it was trained, and how to search with it."""
    yield from built.notes
    yield f"to search with it: mnv2search run --latency-ms MS --space SPACE --accuracy '{built.evaluator}'"


def built_json(built: Built) -> dict[str, Any]:
    """All of it as JSON values."""
    return {
        "folder": str(built.folder),
        "evaluator": built.evaluator,
        "notes": list(built.notes),
        "networks": [
            {"name": spec.name, "accuracy": asdict(accuracy), "cost": asdict(cost_of(spec))}
            for spec, accuracy in built.shown
        ],
    }
