"""An audit of a search's accuracies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mnv2search.accuracy.types import metric_text
from mnv2search.report.rows import (
    NAME,
    Column,
    Rows,
    accuracy_text,
    accuracy_unit,
    counted,
    interval_text,
    millions,
    rows_of,
)
from mnv2search.tasks.metrics import Metric

if TYPE_CHECKING:
    from mnv2search.results.ranking_audit import Ranked, Statistic


def ranked_rows(audit: Ranked) -> Rows:
    """A row for each network that was trained, in the order of the search's accuracies."""
    first = audit.networks[0].accuracy
    assert first is not None
    in_search = Column(
        f"{first.kind} {metric_text(first.metric)} of the search", f"{accuracy_unit(first)} [90 % interval]".strip()
    )
    return rows_of(
        "The search's accuracies beside trainings of their own",
        zip(audit.networks, (metrics.main for metrics in audit.trained), strict=True),
        (NAME, lambda pair: pair[0].spec.name),
        (in_search, lambda pair: accuracy_text(pair[0].accuracy)),
        (Column("trained top1", "% [90 % interval]"), lambda pair: _percent_text(pair[1])),
        (Column("multiply-adds", "M"), lambda pair: millions(pair[0].cost.madds)),
    )


def _percent_text(metric: Metric) -> str:
    return interval_text(100 * metric.low, 100 * metric.value, 100 * metric.high, digits=1)


def ranked_lines(audit: Ranked) -> Iterator[str]:
    """The rank correlations and what they rest on."""
    count = len(audit.networks)
    yield f"Kendall {_text(audit.kendall)}, Spearman {_text(audit.spearman)} over {count} networks, 90 % intervals"
    yield f"multiply-adds alone: Spearman {audit.by_madds:.2f}"
    yield (
        f"each trained from {audit.weights or 'random weights'} for {counted(audit.epochs, 'epoch')} by the recipe "
        f"{audit.recipe}; a short training is a noisy judge itself"
    )


def _text(statistic: Statistic) -> str:
    return interval_text(statistic.low, statistic.value, statistic.high, digits=2)
