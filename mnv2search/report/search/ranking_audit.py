"""An audit of a search's accuracies, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mnv2search.accuracy.types import metric_text
from mnv2search.report.rows import NAME, Column, Rows, accuracy_text, accuracy_unit, counted, interval_text, millions

if TYPE_CHECKING:
    from mnv2search.results.ranking_audit import Ranked, Statistic

__all__ = ["ranked_lines", "ranked_rows"]


def ranked_rows(found: Ranked) -> Rows:
    """A row for each network that was trained, in the order of the search's accuracies."""
    first = found.networks[0].accuracy
    assert first is not None
    unit = accuracy_unit(first)
    columns = (
        NAME,
        Column(f"{first.kind} {metric_text(first.metric)} of the search", f"{unit} [90 % interval]".strip()),
        Column("trained top1", "% [90 % interval]"),
        Column("multiply-adds", "M"),
    )
    rows = []
    for evaluation, metrics in zip(found.networks, found.trained, strict=True):
        main = metrics.main
        rows.append(
            (
                evaluation.spec.name,
                accuracy_text(evaluation.accuracy),
                interval_text(100 * main.low, 100 * main.value, 100 * main.high, digits=1),
                millions(evaluation.cost.madds),
            )
        )
    return Rows(title="The search's accuracies beside trainings of their own", columns=columns, rows=tuple(rows))


def ranked_lines(found: Ranked) -> Iterator[str]:
    """The rank correlations and what they rest on."""
    count = len(found.networks)
    yield f"Kendall {_told(found.kendall)}, Spearman {_told(found.spearman)} over {count} networks, 90 % intervals"
    yield f"multiply-adds alone: Spearman {found.by_madds:.2f}"
    yield (
        f"each trained from {found.weights or 'random weights'} for {counted(found.epochs, 'epoch')} by the recipe "
        f"{found.recipe}; a short training is a noisy judge itself"
    )


def _told(statistic: Statistic) -> str:
    return interval_text(statistic.low, statistic.value, statistic.high, digits=2)
