"""Parameter and multiply-add counts: a row for each layer, or for each network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mnv2search.cost import cost_of, layer_params, unit_cost
from mnv2search.report.rows import NAME, Column, Rows, millions, rows_of
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Layer, Plan, Unit


def layer_rows(plan: Plan) -> Rows:
    """A row per unit of the plan, with totals."""
    cost = cost_of(plan)
    return rows_of(
        f"{plan.spec.name} at {plan.spec.size} px, width {plan.spec.width:g}",
        enumerate(plan.units),
        (Column("unit", align="left"), lambda row: _name(*row)),
        (Column("input", "px x channels"), lambda row: f"{row[1].size_in} x {row[1].c_in}"),
        (Column("operator", align="left"), lambda row: _operator(row[1])),
        (Column("t"), lambda row: "" if row[1].block is None else f"{_hidden(row[1]) / row[1].c_in:.3g}"),
        (Column("c"), lambda row: str(row[1].c_out)),
        (Column("n"), lambda row: "" if row[1].block is None else _repeat(row[0], plan)),
        (Column("s"), lambda row: "" if row[1].kind == "classifier" else str(row[1].stride)),
        (Column("k"), lambda row: "" if row[1].kind == "classifier" else str(_kernel(row[1]))),
        (Column("params"), lambda row: f"{sum(map(layer_params, row[1].layers)):,}"),
        (Column("multiply-adds", "M"), lambda row: millions(unit_cost(row[1]).madds)),
        (Column("memory", "kB, fp32"), lambda row: f"{4 * unit_cost(row[1]).peak_elements / 1000:,.0f}"),
        footer=(
            *("total", *[""] * 7, f"{cost.params:,}", millions(cost.madds)),
            f"{cost.peak_activation_bytes / 1000:,.0f} peak",
        ),
        notes=(
            f"{cost.params:,} parameters ({cost.params_no_bn:,} without batch norm), "
            f"{cost.madds:,} multiply-adds, {cost.size_bytes / 1e6:.2f} MB of fp32 weights",
        ),
    )


def _name(index: int, unit: Unit) -> str:
    return "classifier" if unit.kind == "classifier" else unit.name or f"layer_{index + 1}"


def _hidden(unit: Unit) -> int:
    return next((layer.c_out for layer in unit.layers if layer.role == "expansion"), unit.c_in)


def _kernel(unit: Unit) -> int:
    return max((layer.kernel for layer in unit.layers), default=1)


def _repeat(index: int, plan: Plan) -> str:
    first = plan.at.index(plan.at[index])
    return f"{index - first + 1}/{plan.at.count(plan.at[index])}"


def _operator(unit: Unit) -> str:
    fixed = {
        "classifier": "pool, linear",
        "pooling": "pool, conv 1x1, spread",
        "resize": f"enlarge to {unit.size_out} px",
    }
    if unit.kind in fixed:
        return fixed[unit.kind]
    if unit.name:
        joined = [f"join {len(unit.reads)}"] if len(unit.reads) > 1 else []
        return " + ".join([*joined, *map(_convolution, unit.layers)])
    if unit.block is None:
        return f"conv {unit.layers[0].kernel}x{unit.layers[0].kernel}"
    dilation = max(layer.dilation for layer in unit.layers)
    shortcuts = {"identity": "+ input", "none": ""}
    words = (
        "fused" if unit.block.operator == "fused" else "bottleneck",
        "" if unit.block.transform == "none" else unit.block.transform,
        f"dilation {dilation}" if dilation > 1 else "",
        "split" if any(layer.parts for layer in unit.layers) else "",
        shortcuts.get(unit.shortcut, "+ padded input"),
    )
    return " ".join(filter(None, words))


def _convolution(layer: Layer) -> str:
    words = "depthwise" if layer.groups > 1 else "conv"
    rate = f" dilation {layer.dilation}" if layer.dilation > 1 else ""
    return f"{words} {layer.kernel}x{layer.kernel}{rate}"


def cost_rows(specs: Sequence[ModelSpec], *, precision: Literal["fp32", "fp16", "int8"] = "fp32") -> Rows:
    """A row per network with all its counts."""
    return rows_of(
        "counted cost",
        [(spec, cost_of(spec, precision=precision)) for spec in specs],
        (NAME, lambda pair: pair[0].name),
        (Column("side", "px"), lambda pair: str(pair[0].size)),
        (Column("params", "M"), lambda pair: f"{pair[1].params / 1e6:.3f}"),
        (Column("without batch norm", "M"), lambda pair: f"{pair[1].params_no_bn / 1e6:.3f}"),
        (Column("multiply-adds", "M"), lambda pair: millions(pair[1].madds)),
        (Column("peak activations", f"kB, {precision}"), lambda pair: f"{pair[1].peak_activation_bytes / 1000:,.0f}"),
        (Column("weights", f"kB, {precision}"), lambda pair: f"{pair[1].size_bytes / 1000:,.0f}"),
    )
