"""Parameters, multiply-adds, file size and peak activation memory, computed from the plan."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import groupby
from typing import Literal, NamedTuple

from mnv2search.display import Displayed
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Layer, Plan, Unit, plan

Precision = Literal["fp32", "fp16", "int8"]
BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
# Every integer up to here is exact as a float.
MAX_COUNT = 2**53
# Larger than any count of a valid spec, and within the range of a float.
MAX_COST = 10**30


def check_counts(**counts: int) -> None:
    """Raise an error for counts that are negative or implausibly large.

    Raises:
        ValueError: a count is out of range.
    """
    for name, count in counts.items():
        if not 0 <= count <= MAX_COST:
            raise ValueError(f"{name} is {count if count < 0 else 'too large'}")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Cost(Displayed):
    """The cost of a network for one image.

    Attributes:
        params: number of trainable parameters as PyTorch counts them, including batch-norm scale and shift.
        params_no_bn: number of parameters without normalizers, as in TensorFlow-slim's tables.
        madds: multiply-adds of convolutions and linear layers, without bias, normalizer, pooling, activation and
            residual addition.
        peak_activation_bytes: maximum over all layers of the memory for input, output, residuals still needed, and
            maps that a detector's or segmenter's head reads later; at batch 1.
        size_bytes: size of the weights with batch norm folded into biases.
    """

    params: int
    params_no_bn: int
    madds: int
    peak_activation_bytes: int
    size_bytes: int

    def __post_init__(self) -> None:
        check_counts(**asdict(self))


class UnitCost(NamedTuple):
    """The cost of one unit, with the peak in elements."""

    params: int
    params_no_bn: int
    params_folded: int
    madds: int
    peak_elements: int


def cost_of(spec: ModelSpec | Plan, *, precision: Precision = "fp32") -> Cost:
    """The cost of a network at a precision, without building it.

    >>> from mnv2search.spec.model_spec import BlockSpec, ModelSpec
    >>> cost_of(ModelSpec(name="one", blocks=(BlockSpec(channels=16, expansion=1),), resolution=32)).madds
    6948864
    """
    params, bare, folded, madds, peaks = zip(*_unit_costs(_planned(spec)), strict=True)
    return Cost(
        params=sum(params),
        params_no_bn=sum(bare),
        madds=sum(madds),
        peak_activation_bytes=max(peaks) * BYTES[precision],
        size_bytes=sum(folded) * BYTES[precision],
    )


class StageCost(NamedTuple):
    """The cost of a stage: the stem, a row, the last convolution or the head.

    Attributes:
        at: address in the spec, such as ``blocks[2]``.
        units: indices of the stage's units in the plan.
        peak_activation_bytes: activation memory of the layer that needs most; see `Cost`.
    """

    at: str
    units: slice
    params: int
    madds: int
    peak_activation_bytes: int


def stage_costs(spec: ModelSpec | Plan, *, precision: Precision = "fp32") -> tuple[StageCost, ...]:
    """The cost of every stage, in the order of computation.

    Parameters and multiply-adds add up to those of `cost_of`, whose peak is the largest peak of a stage.

    >>> from mnv2search.spec.model_spec import BlockSpec, ModelSpec
    >>> [(one.at, one.params) for one in stage_costs(ModelSpec(name="m", blocks=(BlockSpec(channels=16),)))]
    [('stem', 928), ('blocks[0]', 11744), ('last_channels', 23040), ('head', 1281000)]
    """
    laid_out = _planned(spec)
    costs, features = _unit_costs(laid_out), len(laid_out.features)
    places = [at if index < features else "head" for index, at in enumerate(laid_out.at)]
    stages: list[StageCost] = []
    for at, members in groupby(range(len(places)), key=places.__getitem__):
        first, *rest = members
        units = slice(first, first + len(rest) + 1)
        params, _, _, madds, peaks = zip(*costs[units], strict=True)
        stages.append(StageCost(at, units, sum(params), sum(madds), max(peaks) * BYTES[precision]))
    return tuple(stages)


def _planned(spec: ModelSpec | Plan) -> Plan:
    return plan(spec) if isinstance(spec, ModelSpec) else spec


def _unit_costs(laid_out: Plan) -> list[UnitCost]:
    """The cost of every unit; its peak includes the maps that the units of a dense head read later."""
    costs = [unit_cost(unit) for unit in laid_out.units]
    if not laid_out.dense:
        return costs
    waiting = _waiting_elements(laid_out)
    return [cost._replace(peak_elements=cost.peak_elements + more) for cost, more in zip(costs, waiting, strict=True)]


@lru_cache(maxsize=16_384)
def unit_cost(unit: Unit) -> UnitCost:
    """The cost of one unit, cached because units recur in many networks."""
    params = bare = folded = madds = 0
    for layer in unit.layers:
        weights = layer.weights
        bias = layer.c_out if layer.bias else 0
        normalized = layer.normalizer != "none"
        params += weights + bias + (2 * layer.c_out if normalized else 0)
        bare += weights + bias
        folded += weights + (layer.c_out if normalized else bias)
        madds += weights * layer.size_out.area
    return UnitCost(params, bare, folded, madds, max(_alive_elements(unit)))


def layer_params(layer: Layer) -> int:
    """The number of trainable parameters of one layer with its normalizer."""
    return layer.weights + layer.c_out * (layer.bias + 2 * (layer.normalizer != "none"))


def _waiting_elements(laid_out: Plan) -> list[int]:
    """For every unit, the elements kept in memory meanwhile for the units of a dense head."""
    made: dict[str, tuple[int, int]] = {}
    for index, unit in enumerate(laid_out.units):
        place = unit.name or f"layer_{index + 1}"
        made[place] = made[f"{place}/output"] = index, unit.c_out * unit.size_out.area
        made |= {f"{place}/{one.role}_output": (index, one.c_out * one.size_out.area) for one in unit.layers}
    last_read: dict[str, int] = {}
    for index, unit in enumerate(laid_out.units):
        last_read |= dict.fromkeys(unit.reads, index)
    waiting = [0] * len(laid_out.units)
    for name, last in last_read.items():
        start, elements = made[name]
        for index in range(start + 1, last + 1):
            reads = laid_out.units[index].reads or (f"layer_{index}",)
            if name not in reads:
                waiting[index] += elements
    return waiting


def _alive_elements(unit: Unit) -> list[int]:
    """Elements alive while each layer runs: input, output, the residual, and the tensor that a gate waits for."""
    residual = unit.c_in * unit.size_in.area if unit.shortcut != "none" else 0
    alive: list[int] = []
    gated = 0
    if unit.kind in ("pooling", "resize"):  # their input and output are larger than those of their layers
        alive.append(unit.c_in * unit.size_in.area + unit.c_out * unit.size_out.area)
    for index, layer in enumerate(unit.layers):
        if layer.role == "squeeze":
            gated = unit.layers[index - 1].c_out * unit.layers[index - 1].size_out.area if index else residual
        elif layer.role != "excite":
            gated = 0
        elements = layer.c_in * layer.size_in.area + layer.c_out * layer.size_out.area + gated
        alive.append(elements + (residual if index else 0))
    return alive
