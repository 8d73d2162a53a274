"""Training-free scores of a space as rows, lines and JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from mnv2search.report.rows import Column, Rows, rows_of

if TYPE_CHECKING:
    from mnv2search.results.scores import ScoreReport


# Nine tenths of a normal distribution lie within so many deviations.
Z_90 = 1.645


def score_rows(found: ScoreReport) -> Rows:
    """A row per score, with its rank correlations with counts and with the other scores."""
    return rows_of(
        f"what scores follow on {found.count} networks of {found.space}",
        found.scores,
        (Column("score", align="left"), str),
        *((Column(other, "Spearman"), partial(_text, found, other)) for other in _compared(found)),
    )


def score_lines(found: ScoreReport) -> Iterator[str]:
    """How to read the correlations."""
    from mnv2search.accuracy.scores import WARNING

    yield WARNING
    yield (
        f"with {found.count} networks, unrelated values correlate within {chance(found.count):.2f} of 0 in nine of "
        "ten draws: such correlations are no evidence"
    )
    yield "a score that follows depth, multiply-adds or body parameters adds nothing to the counts, which are free"
    yield f"networks, weights and images are drawn with the seed {found.seed}"


def chance(networks: int) -> float:
    """The 90 % limit of the rank correlation of unrelated values.

    Source: Fieller, Hartley & Pearson 1957, for the variance 1.06 / (n - 3) of its inverse hyperbolic tangent.

    >>> round(chance(5), 2), round(chance(32), 2)
    (0.83, 0.3)
    """
    return math.tanh(Z_90 * math.sqrt(1.06 / (networks - 3)))


def score_json(found: ScoreReport) -> dict[str, object]:
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


def _text(found: ScoreReport, other: str, name: str) -> str:
    value = found.spearman(name, other)
    return "the same throughout" if value is None else f"{value:+.2f}"
