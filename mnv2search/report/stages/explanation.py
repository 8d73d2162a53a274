"""The parameters, multiply-adds, memory and predicted time of a network by stage, as text and JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

from mnv2search.cost import StageCost
from mnv2search.report.rows import (
    Column,
    Rows,
    device_text,
    measured_text,
    millions,
    ms_text,
    prediction_error_text,
    rows_of,
)
from mnv2search.results.stages.block_times import BlockTimes
from mnv2search.results.stages.explanation import Explanation, PredictedStages
from mnv2search.spec.yaml.write import stage_text

Cell = tuple[Column, Callable[[tuple[int, StageCost]], str]]
TOTAL = "100.0"


def explanation_rows(explanation: Explanation) -> Rows:
    """A row per stage with its counts and their shares, and the totals."""
    spec, cost = explanation.plan.spec, explanation.cost
    predicted, measured = explanation.predicted, explanation.measured
    table = rows_of(
        f"{spec.name} at {spec.size} px, width {spec.width:g}",
        enumerate(explanation.stages),
        (Column("stage", align="left", is_whole=True), lambda row: row[1].at),
        (Column("row", align="left", spare=3, is_whole=True), lambda row: stage_text(spec, row[1].at)),
        (Column("output", "px x channels", spare=4), lambda row: _output(explanation, row[1])),
        (Column("params"), lambda row: f"{row[1].params:,}"),
        (_share_of("params", spare=1), lambda row: _percent(row[1].params, cost.params)),
        (Column("multiply-adds", "M"), lambda row: millions(row[1].madds)),
        (_share_of("multiply-adds"), lambda row: _percent(row[1].madds, cost.madds)),
        (Column("memory", f"kB, {explanation.precision}"), lambda row: _kb(row[1].peak_activation_bytes)),
        (
            _share_of("memory", spare=2),
            lambda row: _percent(row[1].peak_activation_bytes, cost.peak_activation_bytes),
        ),
        *([] if measured is None else _measured_columns(measured)),
        *([] if predicted is None else _time_columns(predicted)),
        footer=(
            *("total", "", "", f"{cost.params:,}", TOTAL, millions(cost.madds), TOTAL),
            *(_kb(cost.peak_activation_bytes), TOTAL),
            *([] if measured is None else [ms_text(measured.total_ms), TOTAL]),
            *([] if predicted is None else [_ms(predicted, predicted.latency.median_ms), TOTAL]),
        ),
        notes=(
            "memory: input, output and waiting maps of the layer that needs most in the stage; the total is the peak "
            "of the network",
            *([] if measured is None else [_measured_note(measured)]),
            *([] if predicted is None else _time_notes(predicted)),
        ),
    )
    return replace(table, rows=(*table.rows, *_rows_outside(table, predicted, measured)))


def _measured_columns(measured: BlockTimes) -> list[Cell]:
    def own(stage: StageCost) -> float:
        return sum(measured.units_ms[stage.units])

    return [
        (Column("measured", "ms"), lambda row: ms_text(own(row[1]))),
        (_share_of("measured"), lambda row: _percent(own(row[1]), measured.total_ms)),
    ]


def _measured_note(measured: BlockTimes) -> str:
    return (
        f"measured: by the profiler of {measured.runtime}, which slows inferences down (medians of {measured.runs} "
        "inferences); outside: steps of no stage, such as conversions of the input"
    )


def _time_columns(predicted: PredictedStages) -> list[Cell]:
    return [
        (Column("predicted", "ms"), lambda row: _ms(predicted, predicted.stages_ms[row[0]])),
        (
            _share_of("predicted"),
            lambda row: _percent(predicted.stages_ms[row[0]], predicted.latency.median_ms),
        ),
    ]


def _rows_outside(
    table: Rows, predicted: PredictedStages | None, measured: BlockTimes | None
) -> Iterator[tuple[str, ...]]:
    """Rows of the times that belong to no stage."""
    after = 0 if predicted is None else 2
    if measured is not None:
        own = (ms_text(measured.other_ms), _percent(measured.other_ms, measured.total_ms))
        yield ("outside", *[""] * (len(table.columns) - 3 - after), *own, *[""] * after)
    if predicted is not None:
        own = (_ms(predicted, predicted.fixed_ms), _percent(predicted.fixed_ms, predicted.latency.median_ms))
        yield ("fixed", *[""] * (len(table.columns) - 3), *own)


def _time_notes(predicted: PredictedStages) -> Iterator[str]:
    yield (
        f"predicted from {predicted.networks} measured networks: {measured_text(predicted.latency)} ms, "
        f"{prediction_error_text(predicted.error)}; predicted times of stages are least certain for the stem and the "
        "head; fixed: time that does not depend on the network"
    )
    if predicted.extrapolates:
        yield "the network is unlike all networks measured on this device, so the prediction is a guess"
    yield device_text([predicted.latency])


def _share_of(what: str, *, spare: int = 0) -> Column:
    return Column("", "%", spare=spare, header=f"{what} share")


def _output(explanation: Explanation, stage: StageCost) -> str:
    last = explanation.units(stage)[-1]
    return f"{last.size_out} x {last.c_out}"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}" if whole else ""


def _kb(size_bytes: int) -> str:
    return f"{size_bytes / 1000:,.0f}"


def _ms(predicted: PredictedStages, value_ms: float) -> str:
    """A part of the predicted latency; all parts have the same number of decimals."""
    return f"{value_ms:.{3 if predicted.latency.median_ms < 10 else 2}f}"


def explanation_json(explanation: Explanation) -> dict[str, object]:
    """The stages with their counts, shares and times as a JSON document; `measured` or `predicted` may be null."""
    spec, cost = explanation.plan.spec, explanation.cost
    predicted, measured = explanation.predicted, explanation.measured
    return {
        "name": spec.name,
        "precision": explanation.precision,
        **asdict(cost),
        "stages": [
            {
                "at": stage.at,
                "row": stage_text(spec, stage.at),
                "units": len(explanation.units(stage)),
                "resolution": explanation.units(stage)[-1].size_out.resolution,
                "channels": explanation.units(stage)[-1].c_out,
                "params": stage.params,
                "params_share": stage.params / cost.params,
                "madds": stage.madds,
                "madds_share": stage.madds / cost.madds,
                "peak_activation_bytes": stage.peak_activation_bytes,
                "peak_activation_share": stage.peak_activation_bytes / cost.peak_activation_bytes,
                **({} if measured is None else {"measured_ms": sum(measured.units_ms[stage.units])}),
                **({} if predicted is None else {"predicted_ms": predicted.stages_ms[index]}),
            }
            for index, stage in enumerate(explanation.stages)
        ],
        "measured": None if measured is None else asdict(measured),
        "predicted": None
        if predicted is None
        else {
            "latency": asdict(predicted.latency),
            "fixed_ms": predicted.fixed_ms,
            "networks": predicted.networks,
            "error": predicted.error,
            "extrapolates": predicted.extrapolates,
        },
    }
