"""A Pareto front as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from mnv2search.accuracy.types import Accuracy, metric_text
from mnv2search.evaluation import Evaluation
from mnv2search.report.networks.heads import output_lines
from mnv2search.report.rows import (
    NAME,
    Column,
    Rows,
    accuracy_text,
    accuracy_unit,
    device_text,
    measured_text,
    millions,
    rows_of,
    trouble_lines,
)
from mnv2search.report.search.gain import Gain, gain_over
from mnv2search.study.results import REGION_BEGINS, median_ms_of

__all__ = ["LIKELIHOOD", "front_rows"]

LIKELIHOOD, GAIN = "likelihood", "gain over baseline [90 % interval]"
# A front of inherited accuracies that leaves more of the budget unused says so.
USED_SHARE = 0.75


Row: TypeAlias = tuple[Evaluation, Gain | None]


def front_rows(
    front: Sequence[Evaluation], *, baseline: Sequence[Evaluation] = (), title: str = "Pareto front"
) -> Rows:
    """A row per network of the front, most accurate first, with the gain over the baseline at equal latency."""
    ordered = sorted(front, key=lambda e: -(e.accuracy.rank if e.accuracy else 0.0))
    accuracy = next((e.accuracy for e in ordered if e.accuracy), None)
    gains = [gain_over(evaluation, baseline) for evaluation in ordered]
    # accuracies of shared weights have no gain, since the baseline does not use them
    has_gains = any(gain is not None for gain in gains)
    is_inherited = accuracy is not None and accuracy.kind == "inherited"
    rows = zip(ordered, gains, strict=True)
    columns: tuple[tuple[Column, Callable[[Row], str]], ...] = (
        (NAME, lambda row: row[0].spec.name),
        (_accuracy_column(accuracy), lambda row: accuracy_text(row[0].accuracy)),
        *(((Column(LIKELIHOOD, "%"), lambda row: _likelihood_text(row[0].accuracy)),) if is_inherited else ()),
        (Column("measured latency [95 % interval]", "ms"), lambda row: measured_text(row[0].latency)),
        (Column("margin", "%", spare=2), lambda row: _margin_text(row[0])),
        *(((Column(GAIN, "points", spare=1), lambda row: _gain_text(row[1])),) if has_gains else ()),
        (Column("multiply-adds", "M", spare=5), lambda row: millions(row[0].cost.madds)),
        (Column("params", "M", spare=4), lambda row: millions(row[0].cost.params)),
        (Column("side", "px", spare=3), lambda row: str(row[0].spec.size)),
    )
    notes = list(_front_notes(ordered, baseline, accuracy, has_gains=has_gains))
    return rows_of(title, rows, *columns, notes=notes, stressed=frozenset({0} if ordered else ()))


def _unused(front: Sequence[Evaluation]) -> Iterator[str]:
    """A note if the front leaves much of the budget unused."""
    used = max((median_ms_of(e) / e.budget.latency_ms for e in front), default=1.0)
    if used < USED_SHARE:
        yield (
            f"the slowest takes {100 * used:.0f} % of the budget: of the networks that were evaluated, none that "
            "takes more seemed better; more --time evaluates more"
        )


def _even_odds(front: Sequence[Evaluation]) -> str:
    """The likelihood of a network that gives all classes even odds."""
    head = front[0].spec.head if front else None
    if head is None or not head.classes:
        return ""
    return f"; even odds for all {head.classes:,} classes give {100 / head.classes:.1f} %"


def _likelihood_text(accuracy: Accuracy | None) -> str:
    return "" if accuracy is None or accuracy.merit is None else f"{100 * accuracy.merit:.1f}"


def _accuracy_column(accuracy: Accuracy | None) -> Column:
    if accuracy is None:
        return Column("accuracy [90 % interval]", "%")
    interval = "" if accuracy.kind == "proxy" else " [90 % interval]"
    return Column(f"{accuracy.kind} {metric_text(accuracy.metric)}{interval}", accuracy_unit(accuracy))


def _margin_text(evaluation: Evaluation) -> str:
    latency = evaluation.latency
    return "" if latency is None else f"{100 * (1 - latency.ci_high_ms / evaluation.budget.latency_ms):.1f}"


def _gain_text(gain: Gain | None) -> str:
    return "" if gain is None else f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"


def _beyond_evidence(front: Sequence[Evaluation]) -> Iterable[str]:
    """Lines that name the networks outside the published range, and the features concerned."""
    names: dict[str, list[str]] = {}
    for evaluation in front:
        if evaluation.accuracy is not None and evaluation.accuracy.note:
            names.setdefault(evaluation.accuracy.note, []).append(evaluation.spec.name)
    for note, concerned in names.items():
        shown = ", ".join(concerned[:3]) + (f" and {len(concerned) - 3} more" if len(concerned) > 3 else "")
        yield f"{shown}: {note}"


def _front_notes(
    front: Sequence[Evaluation], baseline: Sequence[Evaluation], accuracy: Accuracy | None, *, has_gains: bool
) -> Iterator[str]:
    if accuracy is not None:
        yield from _accuracy_notes(front, accuracy)
    if latencies := [e.latency for e in (*front, *baseline) if e.latency is not None]:
        yield device_text(latencies)
        yield from output_lines(e.spec for e in front)
        yield "margin: from the upper end of the interval to the budget"
        yield from trouble_lines(e.latency for e in front if e.latency is not None)
    if accuracy is not None and accuracy.kind == "inherited":
        yield from _inherited_notes(front)
    if has_gains:
        yield (
            "gain: over the best MobileNetV2 width x resolution that is no slower, measured in the same run; both "
            "taken to be trained alike"
        )
        yield from sorted({e.accuracy.note for e in baseline if e.accuracy is not None and e.accuracy.note})


def _accuracy_notes(front: Sequence[Evaluation], accuracy: Accuracy) -> Iterator[str]:
    if accuracy.kind == "estimated":
        yield (
            f"accuracy is an estimate of {accuracy.metric} on {accuracy.dataset}, not a training result; "
            "differences below 1 point are no evidence"
        )
        yield from _beyond_evidence(front)
    if accuracy.kind == "proxy":
        yield accuracy.note
    if accuracy.kind == "trained":
        yield from (e.accuracy.note for e in front if e.accuracy is not None and e.accuracy.note)
    if accuracy.commonest is not None:
        yield f"always answering the commonest class of {accuracy.dataset} gives {100 * accuracy.commonest:.1f} %"
        if below := sum(e.accuracy is not None and not e.accuracy.beats_commonest for e in front):
            yield f"warning: the intervals of {below} of {len(front)} networks do not lie above that"


def _inherited_notes(front: Sequence[Evaluation]) -> Iterator[str]:
    yield (
        "inherited: with weights that all networks of the space share; it ranks networks, and is not what one "
        "reaches when it is trained"
    )
    yield (
        f"{LIKELIHOOD}: what the right class is given, in the geometric mean over held-out images; less noisy "
        f"than top-1, so the front is made by it{_even_odds(front)}"
    )
    yield from dict.fromkeys(e.accuracy.note for e in front if e.accuracy is not None and e.accuracy.note)
    limits_ms = [REGION_BEGINS * e.budget.latency_ms for e in front]
    if front and all(median_ms_of(e) >= limit_ms for e, limit_ms in zip(front, limits_ms, strict=True)):
        share = f"{100 * REGION_BEGINS:.0f} % of the budget"
        yield f"networks below {limits_ms[0]:.3g} ms, {share}, are left out of the front"
    yield from _unused(front)
