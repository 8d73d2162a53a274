"""Values turned into labelled rows of text; every column names its unit, every predicted figure says so."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mnv2search.accuracy.types import Accuracy, metric_text
from mnv2search.cost import cost_of
from mnv2search.evaluation import Evaluation
from mnv2search.latency.registry import Availability
from mnv2search.latency.types import DeviceInfo, Latency
from mnv2search.report.gain import gain_over
from mnv2search.report.heads import output_lines
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.study.results import REGION_BEGINS, median_ms_of

__all__ = [
    "LIKELIHOOD",
    "NAME",
    "Column",
    "Rows",
    "accuracy_phrase",
    "accuracy_text",
    "accuracy_unit",
    "counted",
    "device_line",
    "device_rows",
    "device_text",
    "front_rows",
    "interval_text",
    "latency_rows",
    "measured_text",
    "millions",
    "ms_text",
    "plus_minus",
    "trouble_lines",
]


@dataclass(frozen=True, slots=True)
class Column:
    """A heading with its unit; numbers stand right.

    Attributes:
        spare: which columns a narrow terminal leaves out, the highest first; 0 is never left out.
    """

    title: str
    unit: str = ""
    align: Literal["left", "right"] = "right"
    spare: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A table as text: one string a cell, notes below, and which rows to stress."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    footer: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    stressed: frozenset[int] = frozenset()


NAME = Column("network", align="left")
LATENCY, GAIN = 2, 4  # places among the columns of a front
LIKELIHOOD = "likelihood"
# A front of inherited accuracies that leaves more of the budget unused says so.
USED_SHARE = 0.75


def millions(count: int) -> str:
    """A count in millions with three significant digits or more.

    >>> millions(300_774_272), millions(1_663_048), millions(59_285_808)
    ('300.8', '1.66', '59.3')
    """
    value = count / 1e6
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def interval_text(low: float, value: float, high: float, *, digits: int) -> str:
    """A value with the ends of its interval.

    >>> interval_text(9.0, 9.12, 9.3, digits=2)
    '9.12 [9.00, 9.30]'
    """
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def measured_text(latency: Latency | None) -> str:
    """A latency with its interval in ms; a prediction is marked with ~."""
    if latency is None:
        return "not measured"
    digits = _digits(latency.median_ms)
    text = interval_text(latency.ci_low_ms, latency.median_ms, latency.ci_high_ms, digits=digits)
    return f"~{text}" if latency.kind == "predicted" else text


def ms_text(value_ms: float) -> str:
    """A latency without an interval, with as many digits as one that has one.

    >>> ms_text(123.456), ms_text(0.12)
    ('123.46', '0.120')
    """
    return f"{value_ms:.{_digits(value_ms)}f}"


def _digits(value_ms: float) -> int:
    return 3 if value_ms < 1 else 2


def plus_minus(value: float, half_width: float) -> str:
    """A value with its half-width, both to the first digit that the half-width leaves uncertain.

    >>> plus_minus(0.02345, 0.0031), plus_minus(12.345, 1.9)
    ('0.023 ± 0.003', '12 ± 2')
    """
    digits = max(0, -math.floor(math.log10(half_width))) if half_width > 0 else 3
    return f"{value:.{digits}f} ± {half_width:.{digits}f}"


def accuracy_text(accuracy: Accuracy | None) -> str:
    """An accuracy in percent with its interval, or a score as it is."""
    if accuracy is None:
        return "not evaluated"
    if accuracy.kind == "proxy":
        return f"{accuracy.value:.4g}"
    if accuracy.low == accuracy.high:
        return f"{100 * accuracy.value:.1f}"
    return interval_text(100 * accuracy.low, 100 * accuracy.value, 100 * accuracy.high, digits=1)


def accuracy_unit(accuracy: Accuracy) -> str:
    """The unit of `accuracy_text`; a score has none."""
    return "" if accuracy.kind == "proxy" else "%"


def accuracy_phrase(accuracy: Accuracy) -> str:
    """What it is, how much, and on which images.

    >>> accuracy_phrase(Accuracy(value=0.7, low=0.6, high=0.8, metric="top1", kind="trained", dataset="mine"))
    'trained top1 70.0 [60.0, 80.0] % (mine)'
    """
    told = f"{accuracy.kind} {metric_text(accuracy.metric)} {accuracy_text(accuracy)}"
    return f"{told} (no accuracy)" if accuracy.kind == "proxy" else f"{told} % ({accuracy.dataset})"


def latency_rows(specs: Sequence[ModelSpec], latencies: Sequence[Latency]) -> Rows:
    """A row per network, measured side by side on one device."""
    columns = (
        NAME,
        Column("median [95 % interval]", "ms"),
        Column("p90", "ms"),
        Column("samples"),
        Column("dropped"),
        Column("kind", align="left"),
        Column("multiply-adds", "M"),
    )
    rows = tuple(
        (
            spec.name,
            measured_text(latency),
            f"{latency.p90_ms:.2f}",
            str(latency.samples),
            str(latency.dropped),
            latency.kind + (", too few visits" if latency.is_hasty else ", noisy" if latency.noisy else ""),
            millions(cost_of(spec).madds),
        )
        for spec, latency in zip(specs, latencies, strict=True)
    )
    notes = [device_text(latencies)] if latencies else []
    notes += output_lines(specs)
    notes += trouble_lines(latencies)
    return Rows(title="latency", columns=columns, rows=rows, notes=tuple(notes))


def trouble_lines(latencies: Iterable[Latency]) -> Iterator[str]:
    """Why some of the latencies are not to be trusted, and what would help."""
    marked = [latency for latency in latencies if latency.noisy]
    if any(latency.is_hasty for latency in marked):
        yield "too few visits to some networks in the time allowed: give more --time"
    if any(not latency.is_hasty for latency in marked):
        yield "the machine was too noisy for some of these figures: repeat when it is quiet"


def device_text(latencies: Sequence[Latency]) -> str:
    """One line that says what latencies were measured on; the machines of a pool differ in their host alone.

    Raises:
        ValueError: there are none.
    """
    if not latencies:
        raise ValueError("no latencies")
    return device_line(latencies[0].device, hosts=[latency.device.host for latency in latencies])


def device_line(info: DeviceInfo, *, hosts: Sequence[str] = ()) -> str:
    """One line that says what a device is.

    Args:
        info: the device.
        hosts: machines of a pool; those of `info` if left out.
    """
    # what is measured has arbitrary weights, so that no images of the user's could say more
    dtype = "int8 with ranges from random images" if info.dtype == "int8" else info.dtype
    where = ", ".join(sorted(dict.fromkeys(hosts or (info.host,))))
    pinned = f" on core{'s' * (not info.pinned.isdigit())} {info.pinned}" if info.pinned else ""
    return (
        f"device: {info.runtime} {info.runtime_version} on {info.hardware} ({where}), "
        f"{counted(info.threads, 'thread')}{pinned}, {dtype}, batch {info.batch}"
    )


def counted(count: int, thing: str) -> str:
    """A count with its noun.

    >>> counted(1, "thread"), counted(17_258, "network")
    ('1 thread', '17,258 networks')
    """
    return f"{count:,} {thing}{'s' * (count != 1)}"


def device_rows(found: Sequence[Availability]) -> Rows:
    """A row per device, with the reason where it cannot be used."""
    columns = (
        Column("device", align="left"),
        Column("version", align="left"),
        Column("usable", align="left"),
        Column("reason", align="left"),
    )
    rows = tuple((a.name, a.version, "yes" if a.usable else "no", a.reason) for a in found)
    return Rows(title="devices", columns=columns, rows=rows)


def front_rows(
    front: Sequence[Evaluation], *, baseline: Sequence[Evaluation] = (), title: str = "Pareto front"
) -> Rows:
    """A row per network of the front, most accurate first, with the gain over the baseline at equal latency."""
    ordered = sorted(front, key=lambda e: -(e.accuracy.rank if e.accuracy else 0.0))
    accuracy = next((e.accuracy for e in ordered if e.accuracy), None)
    columns: tuple[Column, ...] = (
        NAME,
        _accuracy_column(accuracy),
        Column("measured latency [95 % interval]", "ms"),
        Column("margin", "%", spare=2),
        Column("gain over baseline [90 % interval]", "points", spare=1),
        Column("multiply-adds", "M", spare=5),
        Column("params", "M", spare=4),
        Column("side", "px", spare=3),
    )
    rows: tuple[tuple[str, ...], ...] = tuple(_front_row(evaluation, baseline) for evaluation in ordered)
    gains = any(gain_over(evaluation, baseline) is not None for evaluation in ordered)
    if not gains:  # as where accuracies are those of shared weights, which the baseline has no part in
        columns, rows = (*columns[:GAIN], *columns[GAIN + 1 :]), tuple((*r[:GAIN], *r[GAIN + 1 :]) for r in rows)
    if accuracy is not None and accuracy.kind == "inherited":
        columns = (*columns[:LATENCY], Column(LIKELIHOOD, "%"), *columns[LATENCY:])
        rows = tuple(
            (*row[:LATENCY], _likelihood_text(found.accuracy), *row[LATENCY:])
            for row, found in zip(rows, ordered, strict=True)
        )
    notes = list(_front_notes(ordered, baseline, accuracy, gains=gains))
    return Rows(title=title, columns=columns, rows=rows, notes=tuple(notes), stressed=frozenset({0} if rows else ()))


def _unused(front: Sequence[Evaluation]) -> Iterator[str]:
    """That much of the budget is left: only some networks are evaluated."""
    used = max((median_ms_of(e) / e.budget.latency_ms for e in front), default=1.0)
    if used < USED_SHARE:
        yield (
            f"the slowest takes {100 * used:.0f} % of the budget: of the networks that were evaluated, none that "
            "takes more seemed better; more --time evaluates more"
        )


def _even_odds(front: Sequence[Evaluation]) -> str:
    """What even odds for all classes give."""
    head = front[0].spec.head if front else None
    return (
        ""
        if head is None or not head.classes
        else f"; even odds for all {head.classes:,} classes give {100 / head.classes:.1f} %"
    )


def _likelihood_text(accuracy: Accuracy | None) -> str:
    return "" if accuracy is None or accuracy.merit is None else f"{100 * accuracy.merit:.1f}"


def _accuracy_column(accuracy: Accuracy | None) -> Column:
    if accuracy is None:
        return Column("accuracy [90 % interval]", "%")
    interval = "" if accuracy.kind == "proxy" else " [90 % interval]"
    return Column(f"{accuracy.kind} {metric_text(accuracy.metric)}{interval}", accuracy_unit(accuracy))


def _front_row(evaluation: Evaluation, baseline: Sequence[Evaluation]) -> tuple[str, ...]:
    latency = evaluation.latency
    margin = "" if latency is None else f"{100 * (1 - latency.ci_high_ms / evaluation.budget.latency_ms):.1f}"
    gain = gain_over(evaluation, baseline)
    return (
        evaluation.spec.name,
        accuracy_text(evaluation.accuracy),
        measured_text(latency),
        margin,
        "" if gain is None else f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]",
        millions(evaluation.cost.madds),
        millions(evaluation.cost.params),
        str(evaluation.spec.size),
    )


def _beyond_evidence(front: Sequence[Evaluation]) -> Iterable[str]:
    """Lines that name the networks outside the published range, and the features concerned."""
    names: dict[str, list[str]] = {}
    for evaluation in front:
        if evaluation.accuracy is not None and evaluation.accuracy.note:
            names.setdefault(evaluation.accuracy.note, []).append(evaluation.spec.name)
    for note, found in names.items():
        shown = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        yield f"{shown}: {note}"


def _front_notes(
    front: Sequence[Evaluation], baseline: Sequence[Evaluation], accuracy: Accuracy | None, *, gains: bool
) -> Iterable[str]:
    if accuracy is not None and accuracy.kind == "estimated":
        yield (
            f"accuracy is an estimate of {accuracy.metric} on {accuracy.dataset}, not a training result; "
            "differences below 1 point are no evidence"
        )
        yield from _beyond_evidence(front)
    if accuracy is not None and accuracy.kind == "proxy":
        yield accuracy.note
    if accuracy is not None and accuracy.kind == "trained":
        yield from (e.accuracy.note for e in front if e.accuracy is not None and e.accuracy.note)
    if accuracy is not None and accuracy.commonest is not None:
        yield f"always answering the commonest class of {accuracy.dataset} gives {100 * accuracy.commonest:.1f} %"
        if below := sum(e.accuracy is not None and not e.accuracy.beats_commonest for e in front):
            yield f"warning: the intervals of {below} of {len(front)} networks do not lie above that"
    if latencies := [e.latency for e in (*front, *baseline) if e.latency is not None]:
        yield device_text(latencies)
        yield from output_lines(e.spec for e in front)
        yield "margin: from the upper end of the interval to the budget"
        yield from trouble_lines(e.latency for e in front if e.latency is not None)
    if accuracy is not None and accuracy.kind == "inherited":
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
    if gains:
        yield (
            "gain: over the best MobileNetV2 width x resolution that is no slower, measured in the same run; both "
            "taken to be trained alike"
        )
        yield from sorted({e.accuracy.note for e in baseline if e.accuracy is not None and e.accuracy.note})
