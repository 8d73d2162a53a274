"""Results as HTML and for rich: the tables and lines that the commands print."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from mnv2search.errors import OptionError, extra_module
from mnv2search.report.rows import Column, Rows, counted, rows_of

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import RenderableType

    from mnv2search.errors import Diagnostic
    from mnv2search.evaluation import Evaluation
    from mnv2search.model.weights.catalog_weights import FoundWeights
    from mnv2search.results.devices import Audit
    from mnv2search.results.exports import Compiled, NetworkCost
    from mnv2search.results.outcome import Outcome
    from mnv2search.results.training import EvaluationReport
    from mnv2search.spec.space import SearchSpace
    from mnv2search.study.types import SearchResult

Part: TypeAlias = Rows | Sequence[str]


def html_of(value: object) -> str:
    """The parts of a result as HTML, with all text escaped."""
    from mnv2search.report.html.page import fragment  # late, as below: each loads a package

    return fragment(parts_of(value))


def rich_of(value: object, *, width: int) -> RenderableType:
    """The parts of a result for rich; columns that do not fit into `width` are hidden."""
    from rich.console import Group
    from rich.text import Text

    from mnv2search.report.table import drawn, fitted
    from mnv2search.untrusted import escaped

    shown: list[RenderableType] = []
    for part in parts_of(value):
        lines: Sequence[str]
        if isinstance(part, Rows):
            rows = fitted(part, width)
            shown.append(drawn(rows, width))
            lines = rows.notes
        else:
            lines = part
        shown += [Text(escaped(line)) for line in lines]
    return Group(*shown)


def parts_of(value: object) -> tuple[Part, ...]:
    """The tables and lines that show a result; a table of its fields if there are no others."""
    if isinstance(value, tuple):
        found = _LISTED.get(type(value[0]).__name__ if value else "", _items)(value)
    else:
        name = next((one.__name__ for one in type(value).__mro__ if one.__name__ in _SHOWN), "")
        found = _SHOWN.get(name, _fields)(value)
    return tuple(part if isinstance(part, Rows) else tuple(part) for part in found)


def outcome_parts(outcome: Outcome, *, grouped: bool = True) -> Iterator[Rows | Iterable[str]]:
    """The front of a run and the network to ship, or what would help; see `run_rows` for `grouped`."""
    from mnv2search.report.search.run import effort_text, nothing_fits_lines, run_rows, ship_lines
    from mnv2search.report.training import finetuned_lines, finetuned_rows

    result, trained, manifest = outcome.result, outcome.finetuned, outcome.manifest
    if not result.front:
        yield nothing_fits_lines(result, budget=manifest.budget, status=manifest.status, failure=manifest.failure)
    elif trained is None:
        yield run_rows(result, grouped=grouped)
        yield ship_lines(result, folder=outcome.folder)
    else:
        yield run_rows(result, ships=False, grouped=grouped)
        yield finetuned_rows(trained)
        lines = finetuned_lines(trained, folder=outcome.folder, front=result.front)
        yield [*lines, f"  {effort_text(result)}"]


def plot_of(result: SearchResult) -> bytes:
    """The plot of a search as a PNG file; see `front_png`.

    Raises:
        OptionError: no network fits, so that there is no front.
    """
    from mnv2search.report.plot import front_png

    if not result.front:
        raise OptionError("there is no front to plot", hint="search with a larger budget")
    budget_ms = result.front[0].budget.latency_ms
    return front_png(
        result.front,
        dominated=result.dominated,
        baseline=result.baseline,
        budget_ms=budget_ms,
        title=f"{counted(len(result.front), 'network')} within {budget_ms:g} ms",
    )


def audit_plot_of(audit: Audit) -> bytes:
    """The plot of an audit as a PNG file; see `audit_png`."""
    from mnv2search.report.plot import audit_png

    return audit_png(audit)


def frame_of(result: SearchResult) -> DataFrame:
    """The evaluated networks of a search as a pandas DataFrame, those of the front first.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    pandas = extra_module("pandas", feature="to_frame()", package="pandas", extra="notebook")
    groups = {"front": result.front, "dominated": result.dominated, "baseline": result.baseline}
    rows = [{"group": group, **_record(e)} for group, members in groups.items() for e in members]
    frame: DataFrame = pandas.DataFrame.from_records(rows)
    return frame


def _record(evaluation: Evaluation) -> dict[str, object]:
    spec, latency, accuracy = evaluation.spec, evaluation.latency, evaluation.accuracy
    return {
        "name": evaluation.name,
        "accuracy": None if accuracy is None else accuracy.value,
        "accuracy_low": None if accuracy is None else accuracy.low,
        "accuracy_high": None if accuracy is None else accuracy.high,
        "accuracy_kind": None if accuracy is None else accuracy.kind,
        "latency_ms": None if latency is None else latency.median_ms,
        "latency_low_ms": None if latency is None else latency.ci_low_ms,
        "latency_high_ms": None if latency is None else latency.ci_high_ms,
        "params": evaluation.cost.params,
        "madds": evaluation.cost.madds,
        "peak_activation_bytes": evaluation.cost.peak_activation_bytes,
        "size_bytes": evaluation.cost.size_bytes,
        "width": spec.width,
        "resolution": spec.size.word,
        "is_feasible": evaluation.is_feasible,
    }


def _fields(value: object) -> Iterator[Part]:
    if not is_dataclass(value):
        yield [repr(value)]
        return
    rows = [(field.name, getattr(value, field.name)) for field in fields(value) if field.repr]
    yield rows_of(
        type(value).__name__,
        [(name, one) for name, one in rows if one not in (None, "", ())],
        (Column("field", align="left"), lambda row: row[0]),
        (Column("value", align="left"), lambda row: row[1] if isinstance(row[1], str) else repr(row[1])),
    )


def _items(values: Sequence[object]) -> Iterator[Part]:
    yield [repr(one) for one in values] or ["nothing"]


def _evaluations(front: Sequence[Evaluation]) -> Iterator[Part]:
    from mnv2search.report.search.front import front_rows

    yield front_rows(front, title=counted(len(front), "network"))


def _diagnostics(found: Sequence[Diagnostic]) -> Iterator[Part]:
    yield [line for one in found for line in str(one).splitlines()]


def _space(space: SearchSpace) -> Iterator[Part]:
    yield rows_of(
        f"search space {space.name}",
        space.axes,
        (Column("choice", align="left"), lambda axis: axis.at),
        (Column("options", align="left"), lambda axis: ", ".join(map(str, axis.options))),
    )


def _search(result: SearchResult) -> Iterator[Rows | Iterable[str]]:
    from mnv2search.report.search.run import effort_text, run_rows

    if result.front:
        yield run_rows(result, grouped=True)
    yield [effort_text(result)] if result.front else [repr(result)]


def _compiled(compiled: Compiled) -> Iterator[Rows | Iterable[str]]:
    from mnv2search.report import networks as report

    yield report.random_weights_lines(compiled)
    yield report.layer_rows(compiled.plan)
    yield report.compiled_results(compiled)


def _evaluated(found: EvaluationReport) -> Iterator[Rows | Iterable[str]]:
    from mnv2search.report.evaluation import class_rows, evaluation_lines

    yield evaluation_lines(found)
    yield from class_rows({found.split: found.metrics}, found.data.classes)


def _weights(found: FoundWeights) -> Iterator[Rows | Iterable[str]]:
    from mnv2search.report.weights import weights_lines, weights_rows

    if found.weights:
        yield weights_rows(found.weights)
    yield weights_lines(found)


def _costs(costs: Sequence[NetworkCost]) -> Iterator[Rows]:
    from mnv2search.report.networks import cost_rows

    yield cost_rows([one.spec for one in costs], precision=costs[0].precision)


def _by(module: str, *names: str) -> Callable[[Any], Iterator[Rows | Iterable[str]]]:
    """A function that applies functions of a module of `mnv2search.report`, which is imported when it is needed."""

    def parts(value: object) -> Iterator[Rows | Iterable[str]]:
        loaded = importlib.import_module(f"mnv2search.report.{module}")
        for name in names:
            found = getattr(loaded, name)(value)
            if isinstance(found, Rows):
                yield found
                continue
            several = tuple(found)
            yield from several if several and isinstance(several[0], Rows) else [several]

    return parts


# Parts of values by the name of their class, since importing all classes takes seconds.
_SHOWN: Mapping[str, Callable[[Any], Iterable[Rows | Iterable[str]]]] = {
    "Audit": _by("devices", "audit_rows", "audit_lines"),
    "Compiled": _compiled,
    "DataDescription": _by("data", "data_rows", "data_lines"),
    "Diagnosis": _by("diagnosis", "diagnosis_lines"),
    "Evaluation": lambda evaluation: _evaluations([evaluation]),
    "EvaluationReport": _evaluated,
    "Explanation": _by("stages.explanation", "explanation_rows"),
    "FoundWeights": _weights,
    "LocalWeights": _by("weights", "local_lines"),
    "Measured": _by("devices", "measured_rows"),
    "ModelSpec": lambda spec: _by("networks", "cost_rows")([spec]),
    "Outcome": outcome_parts,
    "Plan": _by("networks", "layer_rows"),
    "Probe": _by("devices", "channel_rows", "kernel_rows", "probe_lines"),
    "Profile": _by("devices", "profile_lines"),
    "Ranked": _by("search.checks", "ranked_rows", "ranked_lines"),
    "ScoreReport": _by("networks", "score_rows", "score_lines"),
    "SearchResult": _search,
    "SearchSpace": _space,
    "SpecDiff": _by("stages.spec_diff", "diff_rows", "effect_rows", "same_lines"),
    "SupernetReport": _by("training", "supernet_rows", "supernet_lines"),
    "TrainingReport": _by("training", "training_lines", "training_rows"),
}
# Parts of tuples by the name of the class of their first item.
_LISTED: Mapping[str, Callable[[Any], Iterable[Rows | Iterable[str]]]] = {
    "Availability": _by("devices", "device_rows"),
    "CatalogEntry": _by("networks", "catalog_rows"),
    "Check": _by("search.checks", "verified_rows", "verified_lines"),
    "Diagnostic": _diagnostics,
    "Evaluation": _evaluations,
    "Measured": _by("devices", "measured_rows"),
    "NetworkCost": _costs,
    "Prediction": _by("training", "predicted_lines"),
    "Record": lambda records: _evaluations([one.evaluation for one in records]),
    "StoredEvaluation": _evaluations,
}
