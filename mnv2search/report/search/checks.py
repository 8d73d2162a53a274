"""Results of verifying a front, and of auditing the accuracies of a search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from mnv2search.accuracy.types import metric_text
from mnv2search.report.rows import (
    NAME,
    Column,
    Rows,
    accuracy_text,
    accuracy_unit,
    counted,
    device_text,
    interval_text,
    measured_text,
    millions,
    percent_text,
    rows_of,
    trouble_lines,
)

if TYPE_CHECKING:
    from mnv2search.results.checks import Check, Ranked, Statistic


def verified_rows(checks: Sequence[Check]) -> Rows:
    """A row per front member: the recorded latency, the new one, and the change."""
    return rows_of(
        "verified",
        checks,
        (NAME, lambda check: check.then.spec.name),
        (Column("counts", align="left"), lambda check: "same" if check.counts_hold else "DIFFER"),
        (Column("then [95 % interval]", "ms"), lambda check: measured_text(check.then.latency)),
        (Column("now [95 % interval]", "ms"), lambda check: measured_text(check.latency)),
        (Column("moved", "%"), lambda c: f"{100 * c.moved:+.1f}" + " beyond intervals" * c.is_beyond_intervals),
        (Column("budget", align="left"), lambda c: c.verdict.upper() if c.verdict == "does not fit" else c.verdict),
        notes=[device_text([check.latency for check in checks])],
    )


def verified_lines(checks: Sequence[Check]) -> Iterator[str]:
    """A summary in one or two lines."""
    counts = sum(check.counts_hold for check in checks)
    verdicts = [check.verdict for check in checks]
    moved = sum(check.is_beyond_intervals for check in checks)
    yield (
        f"{counts} of {counted(len(checks), 'network')} count and build as recorded; {verdicts.count('fits')} fit "
        f"{checks[0].then.budget.latency_ms:g} ms, {verdicts.count('undecided')} undecided, "
        f"{verdicts.count('does not fit')} do not fit; {moved} moved beyond their intervals"
    )
    yield from trouble_lines(check.latency for check in checks)


def verified_json(checks: Sequence[Check]) -> list[dict[str, object]]:
    """A JSON document per front member."""
    return [
        {
            "name": check.then.spec.name,
            "counts_hold": check.counts_hold,
            "verdict": check.verdict,
            "moved": check.moved,
            "is_beyond_intervals": check.is_beyond_intervals,
            "cost": asdict(check.cost),
            "built_params": check.built_params,
            "then": None if check.then.latency is None else asdict(check.then.latency),
            "now": asdict(check.latency),
        }
        for check in checks
    ]


def ranked_rows(audit: Ranked) -> Rows:
    """A row for each trained network, in the order of the search's accuracies."""
    first = audit.networks[0].accuracy
    assert first is not None
    in_search = Column(
        f"{first.kind} {metric_text(first.metric)} of the search", f"{accuracy_unit(first)} [90 % interval]".strip()
    )
    return rows_of(
        "Accuracies of the search and of separate trainings",
        zip(audit.networks, (metrics.main for metrics in audit.trained), strict=True),
        (NAME, lambda pair: pair[0].spec.name),
        (in_search, lambda pair: accuracy_text(pair[0].accuracy)),
        (Column("trained top1", "% [90 % interval]"), lambda pair: percent_text(pair[1])),
        (Column("multiply-adds", "M"), lambda pair: millions(pair[0].cost.madds)),
    )


def ranked_lines(audit: Ranked) -> Iterator[str]:
    """The rank correlations, and how the networks were trained."""
    count = len(audit.networks)
    yield f"Kendall {_text(audit.kendall)}, Spearman {_text(audit.spearman)} over {count} networks, 90 % intervals"
    yield f"multiply-adds alone: Spearman {audit.by_madds:.2f}"
    yield (
        f"each trained from {audit.weights or 'random weights'} for {counted(audit.epochs, 'epoch')} by the recipe "
        f"{audit.recipe}; a short training is a noisy judge itself"
    )


def _text(statistic: Statistic) -> str:
    return interval_text(statistic.low, statistic.value, statistic.high, digits=2)
