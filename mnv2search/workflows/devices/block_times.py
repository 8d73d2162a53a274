"""Measure where the latency of networks goes, with the profiler of the device's runtime."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from mnv2search.latency.measuring.exclusive import exclusive
from mnv2search.latency.measuring.pool import Pool
from mnv2search.latency.types import LatencyDevice, StepTimer
from mnv2search.lowering.onnx.model import OUTPUT
from mnv2search.results.stages.block_times import BlockTimes
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan, plan

RUNS = 20
# Time after which the remaining networks of a run are left out.
TIME_S = 10.0


def block_times(device: LatencyDevice, spec: ModelSpec, *, runs: int = RUNS) -> BlockTimes | None:
    """The measured time of every unit of a network; None if the device has no profiler.

    The profiler slows the inference down a little, and some runtimes compute steps of two units together: the time
    then belongs to the unit of the last step.

    Raises:
        DeviceError: the runtime refuses the network.
    """
    timer = device.members[0] if isinstance(device, Pool) else device  # the devices of a pool are alike
    if not isinstance(timer, StepTimer):
        return None
    with exclusive(timer.info):
        steps_ms = timer.step_times(spec, runs=runs)
    if not steps_ms:
        return None
    laid_out = plan(spec)
    units_ms, other_ms = [0.0] * len(laid_out.units), 0.0
    for name, ms in steps_ms.items():
        index = _unit_of(name, _indices(laid_out))
        if index is None:
            other_ms += ms
        else:
            units_ms[index] += ms
    info = device.info
    return BlockTimes(
        network=spec.name,
        units_ms=tuple(units_ms),
        other_ms=other_ms,
        runs=runs,
        runtime=f"{info.runtime} {info.runtime_version}",
    )


def block_times_of(
    device: LatencyDevice, specs: Sequence[ModelSpec], *, clock: Callable[[], float] = time.monotonic
) -> tuple[BlockTimes, ...]:
    """The times of networks in this order, as many as fit into `TIME_S`; empty if the device has no profiler.

    Raises:
        DeviceError: the runtime refuses a network.
    """
    found: list[BlockTimes] = []
    end_s = clock() + TIME_S
    for spec in specs:
        times = block_times(device, spec)
        if times is None:
            break
        found.append(times)
        if clock() >= end_s:
            break
    return tuple(found)


def _indices(laid_out: Plan) -> dict[str, int]:
    """The index of every unit by the first part of the names of its steps."""
    indices = {unit.name or f"layer_{index + 1}": index for index, unit in enumerate(laid_out.units)}
    last = len(laid_out.units) - 1
    if laid_out.classifier is not None:
        indices["classifier"] = last
    if laid_out.units[last].kind in ("classifier", "resize"):  # some runtimes name the last step after the output
        indices[OUTPUT] = last
    return indices


def _unit_of(step: str, indices: Mapping[str, int]) -> int | None:
    """The unit of a step: steps are named ``UNIT/...`` by us, and some runtimes append to these names."""
    parts = step.split("/")
    names = ("/".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((indices[name] for name in names if name in indices), None)
