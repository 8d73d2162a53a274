"""The best networks of a search after fine-tuning, for people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.accuracy.types import metric_text
from mnv2search.report.rows import NAME, Column, Rows, interval_text, measured_text
from mnv2search.report.training import COLLAPSED, majority_text

if TYPE_CHECKING:
    from mnv2search.evaluation import Evaluation
    from mnv2search.results.finetuning import Finetuned
    from mnv2search.tasks.metrics import Metrics


UNBEATEN_MEANS = "unbeaten: of these networks, as they are trained, none is both faster and more accurate"


def finetuned_rows(found: Finetuned) -> Rows:
    """A row for each network that was trained on its own."""
    several, is_shortened = len(found.networks) > 1, any(": ended after" in note for note in found.notes)
    columns = (
        NAME,
        Column(f"trained {metric_text(found.test.main.name)} [90 % interval]", "%, held-out images"),
        Column("measured latency [95 % interval]", "ms"),
        *([Column("unbeaten", align="left", spare=1)] if several else []),
    )
    first = found.held_out[0]
    networks = list(zip(found.networks, found.held_out, strict=True))
    return Rows(
        title=(
            f"The best {'networks, each' if several else 'network,'} trained on its own for "
            f"{'up to ' * is_shortened}{found.steps:,} steps"
        ),
        columns=columns,
        rows=tuple(_row(found, evaluation, metrics)[: len(columns)] for evaluation, metrics in networks),
        stressed=frozenset({found.best}),
        notes=(
            f"recipe {found.recipe}: {found.images:,} images seen{' by each' * several}{', at most' * is_shortened}; "
            f"{first.count:,} held out to decide by{majority_text(first.majority)}",
            *([UNBEATEN_MEANS] if several else []),
            *(f"{e.spec.name}: {COLLAPSED}" for e, metrics in networks if not metrics.beats_majority),
            *found.notes,
        ),
    )


def _row(found: Finetuned, evaluation: Evaluation, metrics: Metrics) -> tuple[str, ...]:
    is_unbeaten = evaluation.spec in {member.spec for member in found.front}
    inherited = ", inherited" * (found.kind(evaluation) == "inherited")
    latency = measured_text(evaluation.latency)
    return evaluation.spec.name, _percent(metrics) + inherited, latency, "yes" if is_unbeaten else "no"


def finetuned_lines(found: Finetuned, *, folder: Path) -> Iterator[str]:
    """Which network to ship, and where its weights are."""
    best = found.networks[found.best]
    yield (
        f"ship {best.spec.name}: {measured_text(best.latency)} ms measured, within the budget of "
        f"{best.budget.latency_ms:g} ms by the upper end of its interval"
    )
    if len(found.networks) > 1:
        yield f"  the most accurate of {len(found.networks)} on the held-out images"
    yield (
        f"  {found.kind(best)} {metric_text(found.test.main.name)} {_percent(found.test)} % on "
        f"{found.test.count:,} test images, which played no part before (90 % interval)"
        f"{majority_text(found.test.majority)}"
    )
    if details := found.test.details:
        yield f"  on the same images: {', '.join(f'{metric_text(name)} {100 * one:.1f} %' for name, one in details)}"
    if not found.test.beats_majority:
        yield f"  {COLLAPSED}"
    yield f"  spec: {folder / 'ship.yaml'}; weights: {folder / 'ship.pt'}; front: {folder / 'front'}"
    yield f"  longer: mnv2search train {folder / 'ship.yaml'} --from {folder / 'ship.pt'} --data DATA"


def _percent(metrics: Metrics) -> str:
    main = metrics.main
    return interval_text(100 * main.low, 100 * main.value, 100 * main.high, digits=1)
