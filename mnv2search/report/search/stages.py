"""Data of the panel of a selected network: its stages, with their counts and times."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from mnv2search.cost import stage_costs
from mnv2search.latency.prediction.predictor import LatencyPredictor
from mnv2search.latency.types import Latency
from mnv2search.report.rows import counted, measured_text, ms_text, prediction_error_text
from mnv2search.results.stages.block_times import BlockTimes
from mnv2search.spec.plan import Plan
from mnv2search.spec.yaml.write import stage_text


def predicted_text(predictor: LatencyPredictor | None) -> str:
    """What the predicted times of stages are, with their error; empty if there are no predictions."""
    if predictor is None or predictor.error is None:
        return ""
    return (
        "Times of stages are not measured. They are predicted from the "
        f"{counted(len(predictor.observations), 'network')} measured in this run "
        f"({prediction_error_text(predictor.error)} for whole networks), and are least certain for the stem and the "
        "head."
    )


def times_of(laid_out: Plan, measured: Sequence[BlockTimes]) -> BlockTimes | None:
    """The measured times of a network, if there are any and they fit its units."""
    name, units = laid_out.spec.name, len(laid_out.units)
    return next((one for one in measured if one.network == name and len(one.units_ms) == units), None)


def timed_text(times: BlockTimes, latency: Latency | None) -> str:
    """What the measured times of the stages of a network are."""
    whole = "" if latency is None else f"; the latency of the network is {measured_text(latency)} ms"
    return (
        f"Times of stages are measured by the profiler of {times.runtime}, which slows inferences down (medians of "
        f"{times.runs} inferences). All steps take {ms_text(times.total_ms)} ms, of which "
        f"{ms_text(times.other_ms)} ms are outside of the stages{whole}."
    )


def stages(
    laid_out: Plan, line: Callable[[str], int], predictor: LatencyPredictor | None, measured: BlockTimes | None
) -> Iterator[list[object]]:
    """Yield for every stage: line numbers of address, row, output and scale; counts; predicted and measured ms."""
    times = None if predictor is None or predictor.error is None else predictor.breakdown(laid_out)
    reduction = 1
    for stage in stage_costs(laid_out):
        units = laid_out.units[stage.units]
        last = units[-1]
        reduction *= math.prod(layer.stride for unit in units for layer in unit.layers)
        texts = (
            stage.at,
            stage_text(laid_out.spec, stage.at),
            f"{last.size_out} x {last.c_out}",
            {"stem": "stem", "last_channels": "last", "head": "head"}.get(stage.at, f"1/{reduction}"),
        )
        yield [
            *map(line, texts),
            stage.params,
            stage.madds,
            stage.peak_activation_bytes,
            None if times is None else round(sum(times.units_ms[stage.units]), 4),
            None if measured is None else round(sum(measured.units_ms[stage.units]), 4),
        ]
