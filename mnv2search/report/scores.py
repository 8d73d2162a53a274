"""Training-free scores of a space, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mnv2search.report.rows import Column, Rows

if TYPE_CHECKING:
    from mnv2search.jobs.scores import ScoreReport

__all__ = ["score_json", "score_lines", "score_rows"]


def score_rows(found: ScoreReport) -> Rows:
    """A row per score, with its rank correlation with what counting says and with the other scores."""
    others = _compared(found)
    columns = (Column("score", align="left"), *(Column(name, "Spearman") for name in others))
    rows = tuple((name, *(_text(found.spearman(name, other)) for other in others)) for name in found.scores)
    return Rows(title=f"what scores follow on {found.count} networks of {found.space}", columns=columns, rows=rows)


def score_lines(found: ScoreReport) -> Iterator[str]:
    """What the table does not say."""
    from mnv2search.accuracy.scores import WARNING

    yield WARNING
    yield "a score that follows depth, multiply-adds or body parameters says what counting says for nothing"
    yield f"networks, weights and images are drawn with the seed {found.seed}"


def score_json(found: ScoreReport) -> dict[str, Any]:
    """One document with the correlations and every value."""
    return {
        "space": found.space,
        "seed": found.seed,
        "networks": found.count,
        "spearman": {
            name: {other: found.spearman(name, other) for other in _compared(found)} for name in found.scores
        },
        "values": {name: list(values) for name, values in found.values.items()},
    }


def _compared(found: ScoreReport) -> tuple[str, ...]:
    counted = tuple(name for name in found.values if name not in found.scores)
    return (*counted, *found.scores)


def _text(value: float | None) -> str:
    return "the same throughout" if value is None else f"{value:+.2f}"
