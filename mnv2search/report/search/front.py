"""A Pareto front as a table and as CSV, with the gain over MobileNetV2."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mnv2search.accuracy.types import Accuracy, metric_text
from mnv2search.evaluation import Evaluation
from mnv2search.latency.types import Latency
from mnv2search.report.networks import output_lines
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
from mnv2search.report.search.groups import Group, difference_between, groups_by_name
from mnv2search.study.results import REGION_BEGINS, median_ms_of, rank_of
from mnv2search.tasks.metrics import trivial_name
from mnv2search.untrusted import file_name


class Gain(NamedTuple):
    """A difference in accuracy, as a ratio, with its 90 % interval and the network compared with."""

    value: float
    low: float
    high: float
    rival: str


def best_rival(evaluation: Evaluation, baseline: Sequence[Evaluation]) -> Evaluation | None:
    """The most accurate baseline network that is not slower and whose accuracy has the same kind."""
    if evaluation.accuracy is None or evaluation.latency is None:
        return None
    kind, limit_ms = evaluation.accuracy.kind, evaluation.latency.median_ms
    rivals = [
        e
        for e in baseline
        if e.accuracy is not None and e.accuracy.kind == kind and e.latency and e.latency.median_ms <= limit_ms
    ]
    return max(rivals, key=lambda e: e.accuracy.value if e.accuracy else 0.0, default=None)


def gain_over(evaluation: Evaluation, baseline: Sequence[Evaluation]) -> Gain | None:
    """The gain over the best rival (see `difference_between`); None if there is no rival, or for scores."""
    rival = best_rival(evaluation, baseline)
    found = None if rival is None else difference_between(evaluation, rival)
    return None if rival is None or found is None else Gain(*found, rival.spec.name)


GROUP = Column("near-equals", align="left", spare=2, is_whole=True)
GAIN = "gain over baseline [90 % interval]"
LIKELIHOOD = "likelihood"
# Share of the budget below which a front of inherited accuracies is reported to leave budget unused.
USED_SHARE = 0.75


def front_rows(
    front: Sequence[Evaluation],
    *,
    rivals_of: Callable[[Evaluation], Sequence[Evaluation]] = lambda _: (),
    title: str = "Pareto front",
    grouped: bool = False,
) -> Rows:
    """A row per network of the front, most accurate first, with the gain over the baseline at equal latency.

    `rivals_of` returns the baseline networks that a network of the front may be compared with. With `grouped`, there
    are rows only for the most accurate network and for the cheapest network of each group of near-equals.
    """
    ordered, groups = sorted(front, key=rank_of, reverse=True), groups_by_name(front)
    if grouped:
        ordered = [e for e in ordered if e is ordered[0] or e is groups[e.spec.name][0]]
    accuracy = next((e.accuracy for e in ordered if e.accuracy), None)
    gains = [gain_over(evaluation, rivals_of(evaluation)) for evaluation in ordered]
    cells: list[tuple[Column, Callable[[tuple[Evaluation, Gain | None]], str]]] = [
        (NAME, lambda row: row[0].spec.name),
        (_accuracy_column(accuracy), lambda row: accuracy_text(row[0].accuracy)),
        (Column(LIKELIHOOD, "%"), lambda row: _likelihood_text(row[0].accuracy)),
        (Column("measured latency [95 % interval]", "ms"), lambda row: measured_text(row[0].latency)),
        (Column("margin", "%", spare=2), lambda row: _margin_text(row[0])),
        (Column(GAIN, "points", spare=1), lambda row: _gain_text(row[1])),
        (Column("multiply-adds", "M", spare=5), lambda row: millions(row[0].cost.madds)),
        (Column("params", "M", spare=4), lambda row: millions(row[0].cost.params)),
        (Column("side", "px", spare=3), lambda row: str(row[0].spec.size)),
        (GROUP, lambda row: _group_text(row[0], groups[row[0].spec.name], shown=ordered if grouped else None)),
    ]
    left_out = {GAIN} if not any(gains) else set()  # for instance with shared weights, which exclude the baseline
    if accuracy is None or accuracy.kind != "inherited":
        left_out.add(LIKELIHOOD)
    if all(len(group) == 1 for group in groups.values()):
        left_out.add(GROUP.title)
    rivals = max(map(rivals_of, ordered), key=len, default=())
    return rows_of(
        title,
        zip(ordered, gains, strict=True),
        *(cell for cell in cells if cell[0].title not in left_out),
        notes=_notes(ordered, accuracy, gains, rivals, left_out),
        stressed=frozenset({0} if ordered else ()),
    )


def _group_text(evaluation: Evaluation, group: Group, *, shown: Sequence[Evaluation] | None) -> str:
    """The cell for the group: its first member or, in a table of groups, the number of members without a row."""
    if shown is None:
        return group[0].spec.name
    if evaluation is not group[0]:
        return f"like {group[0].spec.name}"
    hidden = sum(e not in shown for e in group)
    return f"{hidden} more" if hidden else ""


def _unused(front: Sequence[Evaluation]) -> Iterator[str]:
    """A note if the slowest network of the front leaves much of the budget unused."""
    used = max((median_ms_of(e) / e.budget.latency_ms for e in front), default=1.0)
    if used < USED_SHARE:
        yield (
            f"no evaluated network that takes more than {100 * used:.0f} % of the budget seemed better; more "
            "--time tries more networks"
        )


def _guessing(front: Sequence[Evaluation]) -> str:
    head = front[0].spec.head if front else None
    if head is None or not head.classes:
        return ""
    return f"; guessing gives {100 / head.classes:.1f} %"


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
    """Lines with the networks outside the published range, and the features concerned."""
    names: dict[str, list[str]] = {}
    for evaluation in front:
        if evaluation.accuracy is not None and evaluation.accuracy.note:
            names.setdefault(evaluation.accuracy.note, []).append(evaluation.spec.name)
    for note, found in names.items():
        shown = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        yield f"{shown}: {note}"


def _notes(
    front: Sequence[Evaluation],
    accuracy: Accuracy | None,
    gains: Sequence[Gain | None],
    rivals: Sequence[Evaluation],
    left_out: Collection[str],
) -> Iterator[str]:
    if accuracy is not None:
        yield from _accuracy_notes(front, accuracy)
    yield from _latency_notes(front, rivals)
    if LIKELIHOOD not in left_out:
        yield from _inherited_notes(front)
    if GAIN not in left_out:
        yield from _gain_notes(gains, rivals)
    if GROUP.title not in left_out:
        yield (
            "near-equals: networks whose accuracy the evidence cannot tell from the best of their group; a group is "
            "named after its cheapest network: the fastest or, if latencies overlap, the smallest"
        )


def _accuracy_notes(front: Sequence[Evaluation], accuracy: Accuracy) -> Iterator[str]:
    if accuracy.kind == "estimated":
        yield (
            f"accuracy is an estimate of {accuracy.metric} on {accuracy.dataset}, not a training result; "
            "differences below 1 point are not significant"
        )
        yield "front and ship: accuracies are compared by the lower ends of their intervals, before rounding"
        yield from _beyond_evidence(front)
    if accuracy.kind == "proxy":
        yield accuracy.note
    if accuracy.kind == "trained":
        yield from (e.accuracy.note for e in front if e.accuracy is not None and e.accuracy.note)
    if accuracy.commonest is not None:
        yield (
            f"{metric_text(accuracy.metric)} of a trivial answer ({trivial_name(accuracy.metric)}) on "
            f"{accuracy.dataset}: {100 * accuracy.commonest:.1f} %"
        )
        if below := sum(e.accuracy is not None and not e.accuracy.beats_commonest for e in front):
            verb = "is" if below == 1 else "are"
            yield (f"warning: {below} of {len(front)} networks {verb} not shown to be better than that")


def _latency_notes(front: Sequence[Evaluation], rivals: Sequence[Evaluation]) -> Iterator[str]:
    if latencies := [e.latency for e in (*front, *rivals) if e.latency is not None]:
        yield device_text(latencies)
        yield from output_lines(e.spec for e in front)
        yield "margin: from the upper end of the interval to the budget"
        yield from trouble_lines(e.latency for e in front if e.latency is not None)


def _inherited_notes(front: Sequence[Evaluation]) -> Iterator[str]:
    yield (
        "inherited: with weights that all networks of the space share; this ranks networks, but is not what a "
        "network reaches when it is trained separately"
    )
    yield (
        f"{LIKELIHOOD}: the probability given to the right class (geometric mean over validation images)"
        f"{_guessing(front)}"
    )
    yield from dict.fromkeys(e.accuracy.note for e in front if e.accuracy is not None and e.accuracy.note)
    if all(median_ms_of(e) >= REGION_BEGINS * e.budget.latency_ms for e in front):
        limit_ms = REGION_BEGINS * front[0].budget.latency_ms
        share = f"{100 * REGION_BEGINS:.0f} % of the budget"
        yield f"networks below {limit_ms:.3g} ms, {share}, are left out of the front"
    yield from _unused(front)


def _gain_notes(gains: Sequence[Gain | None], rivals: Sequence[Evaluation]) -> Iterator[str]:
    blank = "" if all(gains) else "; blank: no measured MobileNetV2 is as fast"
    yield f"gain: over the most accurate MobileNetV2 that is not slower, assuming that both are trained alike{blank}"
    yield from sorted({e.accuracy.note for e in rivals if e.accuracy is not None and e.accuracy.note})


def weights_beside(folder: Path, name: str) -> Path | None:
    """The weights file beside the spec of a front member; None without one."""
    path = folder / "front" / f"{file_name(name)}.pt"
    return path if path.is_file() else None


def front_files_text(folder: Path, members: Iterable[Evaluation]) -> str:
    """The folder of the front's specs, and which of the members have weights there."""
    names = dict.fromkeys(e.spec.name for e in members)
    having = [name for name in names if weights_beside(folder, name) is not None]
    lacking = [name for name in names if name not in having]
    said = "no weights" if not having else "each with its weights"
    if having and lacking:
        said = f"with weights: {', '.join(having)}; no weights: {', '.join(lacking)}"
    return f"front: {folder / 'front'} ({'specs, ' * (not having)}{said})"


COLUMNS: dict[str, Callable[[Evaluation, Accuracy, Latency], object]] = {
    "name": lambda e, _, __: e.spec.name,
    "accuracy": lambda _, accuracy, __: f"{accuracy.value:.5f}",
    "accuracy_low": lambda _, accuracy, __: f"{accuracy.low:.5f}",
    "accuracy_high": lambda _, accuracy, __: f"{accuracy.high:.5f}",
    "accuracy_kind": lambda _, accuracy, __: accuracy.kind,
    "accuracy_metric": lambda _, accuracy, __: accuracy.metric,
    "latency_median_ms": lambda _, __, latency: f"{latency.median_ms:.4f}",
    "latency_ci_low_ms": lambda _, __, latency: f"{latency.ci_low_ms:.4f}",
    "latency_ci_high_ms": lambda _, __, latency: f"{latency.ci_high_ms:.4f}",
    "latency_kind": lambda _, __, latency: latency.kind,
    "budget_ms": lambda e, _, __: f"{e.budget.latency_ms:g}",
    "params": lambda e, _, __: e.cost.params,
    "madds": lambda e, _, __: e.cost.madds,
    "peak_activation_bytes": lambda e, _, __: e.cost.peak_activation_bytes,
    "size_bytes": lambda e, _, __: e.cost.size_bytes,
    "width": lambda e, _, __: f"{e.spec.width:g}",
    "resolution_px": lambda e, _, __: e.spec.size.word,
    "device": lambda _, __, latency: latency.device.name,
    "hardware": lambda _, __, latency: latency.device.hardware,
    "likelihood": lambda _, accuracy, __: "" if accuracy.merit is None else f"{accuracy.merit:.5f}",
    "latency_noisy": lambda _, __, latency: "yes" if latency.noisy else "no",
}


def front_csv(front: Sequence[Evaluation], *, ship: Evaluation | None = None) -> str:
    """The text of `front.csv`; `ship` is the network to ship.

    Accuracies and likelihoods are ratios from 0 to 1; only inherited accuracies have a likelihood. Columns of scores
    are called scores. `near_equals` is the group of the network, which is named after its cheapest network.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    is_score = any(e.accuracy is not None and e.accuracy.kind == "proxy" for e in front)
    writer.writerow(
        [name.replace("accuracy", "score") if is_score else name for name in (*COLUMNS, "ship", "near_equals")]
    )
    groups = groups_by_name(front)
    for e in front:
        if e.accuracy is not None and e.latency is not None:
            is_shipped = "yes" if ship is not None and e.spec == ship.spec else "no"
            group = groups[e.spec.name][0].spec.name
            writer.writerow([*(column(e, e.accuracy, e.latency) for column in COLUMNS.values()), is_shipped, group])
    return text.getvalue()
