"""Divide the cost of a network among its stages, and predict its latency from earlier measurements on a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Unpack, cast

from mnv2search.cost import BYTES, Precision, StageCost, cost_of, stage_costs
from mnv2search.errors import OptionError
from mnv2search.latency.device_text import device_text
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.prediction.predictor import LatencyPredictor
from mnv2search.latency.registry import open_device
from mnv2search.results.stages.block_times import BlockTimes
from mnv2search.results.stages.explanation import Explanation, PredictedStages
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan, plan
from mnv2search.spec.space import SearchSpace
from mnv2search.workflows.devices.block_times import block_times
from mnv2search.workflows.options import SPEC_DEFAULTS, SpecOptions, chosen_spec, takes


@takes(SpecOptions, SPEC_DEFAULTS)
def explain(
    spec: ModelSpec | SearchSpace | str | Path,
    *,
    device: str | None = None,
    precision: str = "fp32",
    measure: bool = False,
    on_note: Callable[[str], None] = lambda _: None,
    **options: Unpack[SpecOptions],
) -> Explanation:
    """The parameters, multiply-adds, memory and predicted time of every stage, as `mnv2search explain` shows them.

    Without `measure`, nothing is measured: a latency is predicted from earlier measurements of other networks on the
    device.

    Args:
        spec: a network or a search space, its file or its published name, or a `.pt` or `.pt2` file.
        device: device whose latency is predicted; None for no prediction.
        precision: precision of the predicted latency and of the counted memory (weights and activations).
        measure: measure the time of every unit on the device, with the profiler of its runtime.
        options: see `SpecOptions`.
        on_note: called with the reason if no latency is predicted, or no time is measured.

    Raises:
        Mnv2SearchError: an option does not suit the network, or the device cannot be used.

    >>> explanation = explain("mobilenet_v2_1.0_224")
    >>> explanation.stage("head").params / explanation.cost.params  # doctest: +ELLIPSIS
    0.365...
    """
    if precision not in BYTES:
        raise OptionError(f"precision is {precision!r}", hint=f"use one of {', '.join(BYTES)}")
    counted = cast(Precision, precision)
    laid_out = plan(chosen_spec(spec, **options))
    stages = stage_costs(laid_out, precision=counted)
    if measure and device is None:
        raise OptionError("--measure needs a device", hint="add --device, such as --device onnxruntime")
    predicted, measured = None, None
    if device is not None:
        text = device_text(device, None if precision == "fp32" else precision)
        measured = _measured(text, laid_out.spec, on_note) if measure else None
        predictor = usable_predictor(text, on_note)
        predicted = None if predictor is None else predicted_stages(predictor, laid_out, stages)
    return Explanation(
        plan=laid_out,
        precision=precision,
        cost=cost_of(laid_out, precision=counted),
        stages=stages,
        predicted=predicted,
        measured=measured,
    )


def _measured(device: str, spec: ModelSpec, on_note: Callable[[str], None]) -> BlockTimes | None:
    """The measured times of the units of a network; None, with a note, without a profiler."""
    with open_device(device) as opened:
        times = block_times(opened, spec)
    if times is None:
        on_note(
            f"no time is measured: {device} has no profiler that mnv2search uses; ONNX Runtime and OpenVINO have one"
        )
    return times


def usable_predictor(device: str, on_note: Callable[[str], None]) -> LatencyPredictor | None:
    """The predictor of a device; None, with a note, if too few networks have been measured to know its error."""
    with open_device(device) as opened:
        predictor = LatencyCache().predictor(opened)
    if predictor.error is not None:
        return predictor
    on_note(
        f"no latency is predicted: {len(predictor.observations)} networks have been measured on {device}; "
        f"measure some with `mnv2search device-profile --device {device}`"
    )
    return None


def predicted_stages(predictor: LatencyPredictor, laid_out: Plan, stages: Sequence[StageCost]) -> PredictedStages:
    """The predicted latency of a network and of its stages; the error of the predictor must be known."""
    assert predictor.error is not None
    times = predictor.breakdown(laid_out)
    return PredictedStages(
        latency=predictor.predict(laid_out.spec),
        stages_ms=tuple(sum(times.units_ms[stage.units]) for stage in stages),
        fixed_ms=times.fixed_ms,
        networks=len(predictor.observations),
        error=predictor.error,
        extrapolates=predictor.extrapolates([laid_out])[0],
    )
