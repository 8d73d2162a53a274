"""What counting tells of networks: a row a layer, or a row a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mnv2search.cost import cost_of, layer_params, unit_cost
from mnv2search.report.rows import NAME, Column, Rows, millions
from mnv2search.spec.model_spec import BlockSpec, ModelSpec
from mnv2search.spec.plan import Layer, Plan, Unit

__all__ = ["cost_rows", "layer_rows"]


def layer_rows(plan: Plan) -> Rows:
    """A row per unit of the plan, with totals."""
    columns = (
        Column("unit", align="left"),
        Column("input", "px x channels"),
        Column("operator", align="left"),
        Column("t"),
        Column("c"),
        Column("n"),
        Column("s"),
        Column("k"),
        Column("params"),
        Column("multiply-adds", "M"),
        Column("memory", "kB, fp32"),
    )
    rows = [_layer_row(number, unit, plan) for number, unit in enumerate(plan.units, start=1)]
    cost = cost_of(plan)
    footer = ("total", "", "", "", "", "", "", "", f"{cost.params:,}", millions(cost.madds))
    return Rows(
        title=f"{plan.spec.name} at {plan.spec.size} px, width {plan.spec.width:g}",
        columns=columns,
        rows=tuple(rows),
        footer=(*footer, f"{cost.peak_activation_bytes / 1000:,.0f} peak"),
        notes=(
            f"{cost.params:,} parameters ({cost.params_no_bn:,} without batch norm), "
            f"{cost.madds:,} multiply-adds, {cost.size_bytes / 1e6:.2f} MB of fp32 weights",
        ),
    )


def _layer_row(number: int, unit: Unit, plan: Plan) -> tuple[str, ...]:
    cost = unit_cost(unit)
    kernel = max((layer.kernel for layer in unit.layers), default=1)
    hidden = next((layer.c_out for layer in unit.layers if layer.role == "expansion"), unit.c_in)
    block = unit.block
    return (
        "classifier" if unit.kind == "classifier" else unit.name or f"layer_{number}",
        f"{unit.size_in} x {unit.c_in}",
        _operator(unit),
        "" if block is None else f"{hidden / unit.c_in:.3g}",
        str(unit.c_out),
        "" if block is None else _repeat(number - 1, plan),
        str(unit.stride) if unit.kind != "classifier" else "",
        str(kernel) if unit.kind != "classifier" else "",
        f"{sum(layer_params(layer) for layer in unit.layers):,}",
        millions(cost.madds),
        f"{4 * cost.peak_elements / 1000:,.0f}",
    )


def _repeat(index: int, plan: Plan) -> str:
    first = plan.at.index(plan.at[index])
    return f"{index - first + 1}/{plan.at.count(plan.at[index])}"


def _operator(unit: Unit) -> str:
    pooled = {"classifier": "pool, linear", "pooling": "pool, conv 1x1, spread"}
    if unit.kind in pooled:
        return pooled[unit.kind]
    if unit.kind == "resize":
        return f"enlarge to {unit.size_out} px"
    if unit.name:
        join = [f"join {len(unit.reads)}"] if len(unit.reads) > 1 else []
        return " + ".join([*join, *map(_convolution, unit.layers)])
    if unit.block is None:
        return f"conv {unit.layers[0].kernel}x{unit.layers[0].kernel}"
    return _block(unit, unit.block)


def _block(unit: Unit, block: BlockSpec) -> str:
    dilation = max(layer.dilation for layer in unit.layers)
    words = [
        "fused" if block.operator == "fused" else "bottleneck",
        "" if block.transform == "none" else block.transform,
        f"dilation {dilation}" if dilation > 1 else "",
        "split" if any(layer.parts for layer in unit.layers) else "",
        {"none": "", "identity": "+ input", "pad": "+ padded input"}[unit.shortcut],
    ]
    return " ".join(filter(None, words))


def _convolution(layer: Layer) -> str:
    words = "depthwise" if layer.groups > 1 else "conv"
    rate = f" dilation {layer.dilation}" if layer.dilation > 1 else ""
    return f"{words} {layer.kernel}x{layer.kernel}{rate}"


def cost_rows(specs: Sequence[ModelSpec], *, precision: Literal["fp32", "fp16", "int8"] = "fp32") -> Rows:
    """A row per network with everything that counting tells."""
    columns = (
        NAME,
        Column("side", "px"),
        Column("params", "M"),
        Column("without batch norm", "M"),
        Column("multiply-adds", "M"),
        Column("peak activations", f"kB, {precision}"),
        Column("weights", f"kB, {precision}"),
    )
    rows = []
    for spec in specs:
        cost = cost_of(spec, precision=precision)
        rows.append(
            (
                spec.name,
                str(spec.size),
                f"{cost.params / 1e6:.3f}",
                f"{cost.params_no_bn / 1e6:.3f}",
                millions(cost.madds),
                f"{cost.peak_activation_bytes / 1000:,.0f}",
                f"{cost.size_bytes / 1000:,.0f}",
            )
        )
    return Rows(title="counted cost", columns=columns, rows=tuple(rows))
