"""Counts, published values, exported files and scores of networks, as text and JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Literal

from mnv2search.accuracy.types import metric_text
from mnv2search.cost import cost_of, layer_params, unit_cost
from mnv2search.report.rows import NAME, Column, Rows, counted, millions, rows_of
from mnv2search.spec.catalog import CatalogEntry
from mnv2search.spec.heads.outputs import output_of
from mnv2search.spec.model_spec import DeepLab, ModelSpec, SsdLite
from mnv2search.spec.plan import Layer, Plan, Unit
from mnv2search.tasks.metrics import Metric, Metrics, record_of

if TYPE_CHECKING:
    from mnv2search.results.exports import Compiled, ExportReport
    from mnv2search.results.scores import ScoreReport


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
            "n: number of the block in its row / blocks of the row; + input: the input is added to the output",
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
        (Column("params without batch norm", "M", spare=1), lambda pair: f"{pair[1].params_no_bn / 1e6:.3f}"),
        (Column("multiply-adds", "M"), lambda pair: millions(pair[1].madds)),
        (Column("peak activations", f"kB, {precision}"), lambda pair: f"{pair[1].peak_activation_bytes / 1000:,.0f}"),
        (Column("weights", f"kB, {precision}"), lambda pair: f"{pair[1].size_bytes / 1000:,.0f}"),
    )


def catalog_rows(entries: Sequence[CatalogEntry]) -> Rows:
    """A row per network: the first published value of each kind, and our counts."""

    def published(field: str, text: Callable[[float], str]) -> Callable[[CatalogEntry], str]:
        return lambda entry: next((text(v) for p in entry.published if (v := getattr(p, field)) is not None), "")

    return rows_of(
        f"{len(entries)} published networks",
        entries,
        (NAME, lambda entry: entry.name),
        (Column("side", "px", spare=1), lambda entry: str(entry.spec.size)),
        (Column("top-1 published", "%"), published("top1", lambda value: f"{100 * value:.1f}")),
        (Column("params published", "M", spare=3), published("params", lambda value: f"{value / 1e6:.2f}")),
        (Column("params counted", "M"), lambda entry: f"{cost_of(entry.spec).params / 1e6:.2f}"),
        (
            Column("params without batch norm", "M", spare=6),
            lambda entry: f"{cost_of(entry.spec).params_no_bn / 1e6:.2f}",
        ),
        (Column("multiply-adds published", "M", spare=4), published("madds", lambda value: f"{value / 1e6:.0f}")),
        (Column("multiply-adds counted", "M"), lambda entry: millions(cost_of(entry.spec).madds)),
        (Column("latency published", "ms", spare=2), published("latency_ms", lambda value: f"{value:g}")),
        (Column("source", align="left", spare=5), lambda entry: re.split("[@:]", entry.architecture)[0]),
        notes=(
            "published figures are as printed by their source, in its own way of counting, latencies on its own "
            "device; --json has every source, commit and device",
            "TensorFlow-slim prints parameters without batch norm",
        ),
    )


def catalog_json(entries: Sequence[CatalogEntry]) -> list[dict[str, object]]:
    """Every published value with its source, and our counts, as JSON."""
    return [
        {
            "name": entry.name,
            "family": entry.family,
            "resolution": entry.spec.resolution,
            "width": entry.spec.width,
            "architecture": entry.architecture,
            "note": entry.note,
            "counted": asdict(cost_of(entry.spec)),
            "published": [asdict(figures) for figures in entry.published],
        }
        for entry in entries
    ]


def compiled_json(compiled: Compiled) -> dict[str, object]:
    """The results of a compilation as a JSON document."""
    return {
        "name": compiled.plan.spec.name,
        "head_output": output_of(compiled.plan.spec),
        **asdict(compiled.cost),
        "fvcore_madds": compiled.fvcore_madds,
        "weights": None if compiled.weights is None else str(compiled.weights),
        "preprocessing": compiled.preprocessing.document("NCHW"),
        "unreadable_images": [str(path) for path in compiled.unreadable],
        "exports": [{**asdict(report), "path": str(report.path)} for report in compiled.exports],
        "judged": [_judged_json(what, figures) for what, figures in compiled.judged],
    }


def _judged_json(what: str, metrics: Metrics) -> dict[str, object]:
    record = {**record_of(metrics), "low": metrics.main.low, "high": metrics.main.high}
    return {"what": what, **record, "details": dict(metrics.details)}


def compiled_notes(compiled: Compiled) -> Iterator[str]:
    """Notes on a compilation: the network's input and output, the count by fvcore, and unreadable images."""
    yield from compiled.preprocessing.lines()
    if (madds := compiled.fvcore_madds) is not None:
        same = "the same" if madds == compiled.cost.madds else f"{madds - compiled.cost.madds:+,}"
        yield f"fvcore counts {madds:,} multiply-adds in convolutions and linear layers: {same}"
    if compiled.unreadable:
        count, first = len(compiled.unreadable), compiled.unreadable[0]
        if count == 1:
            yield f"1 image could not be read and was left out: {first}"
        else:
            yield f"{count} images could not be read and were left out, such as {first}"


def random_weights_lines(compiled: Compiled) -> Iterator[str]:
    """A warning if written files contain random weights; a .py file contains none."""
    files = [report.path.name for report in compiled.exports if report.path.suffix != ".py"]
    if compiled.weights is None and files:
        holds = "hold" if files[1:] else "holds"
        yield (
            f"RANDOM WEIGHTS: {', '.join(files)} {holds} random weights, since none were given; use --weights FILE, "
            "or a .pt file instead of the spec"
        )


# Relative difference between an int8 file and its network above which the user should check the file's accuracy.
LARGE_DIFFERENCE = 0.1


def compiled_results(compiled: Compiled) -> Iterator[str]:
    """Metrics on test images, and the difference of each file from the network."""
    if compiled.judged:
        first = compiled.judged[0][1]
        figures = "; ".join(f"{what} {_metric_text(metrics.main)}" for what, metrics in compiled.judged)
        metric = "top-1" if first.main.name == "top1" else metric_text(first.main.name)
        yield f"{metric} on {counted(first.count, 'test image')} [90 % interval]: {figures}"
    for report in compiled.exports:
        agreement = _agreement(report, judged=bool(compiled.judged))
        again = "loaded again, it" if report.is_run else "it cannot be run here; the program that it is made from"
        yield f"wrote {report.path} ({report.size_bytes / 1e6:.2f} MB); {again} {agreement}"


def _metric_text(metric: Metric) -> str:
    return f"{100 * metric.value:.1f} % [{100 * metric.low:.1f}, {100 * metric.high:.1f}]"


def _agreement(report: ExportReport, *, judged: bool) -> str:
    if report.precision == "fp32" or not report.is_run:
        return (
            f"differs from the network by at most {report.max_relative_difference:.1e} (relative; tolerance "
            f"{report.tolerance:.0e})"
        )
    text = f"differs from fp32 by {100 * report.rms_relative_difference:.1f} % (root mean square, relative)"
    if not judged:  # metrics on test images are more meaningful
        text += _same_class(report)
        if report.rms_relative_difference > LARGE_DIFFERENCE:
            text += " (give --data to see the accuracy)"
    if report.calibration_images is None:
        return text
    if report.calibration_images:
        return f"{text}; its ranges come from {counted(report.calibration_images, 'image')}"
    return f"{text}; its ranges come from RANDOM NUMBERS: give --calibration FOLDER before you ship it"


def _same_class(report: ExportReport) -> str:
    """The agreement of the predicted classes, which means little if the network predicts one class for all images."""
    if report.same_class is None:
        return ""
    images, share = counted(report.images, "image"), f"{100 * report.same_class:.0f} %"
    if report.classes != 1:
        return f" and names the same class for {share} of {images}"
    if report.images == 1:
        return ""
    file = "" if report.same_class == 1 else f", the file to {share} of them"
    return f"; the network gives one class to all {images}{file}"


DETECTED = {
    "raw": "neither decoding of boxes nor their suppression",
    "boxes": "decoding of boxes, not their suppression",
    "detections": "decoding of boxes and their suppression",
}
SEGMENTED = {
    "logits": "maps as the network computes them, not enlarged to the image's side",
    "resized": "enlarging of maps to the image's side",
    "classes": "enlarging of maps to the image's side and each pixel's class",
}


def output_lines(specs: Iterable[ModelSpec]) -> Iterator[str]:
    """A line for each `head.output` of the networks; none for classifiers.

    >>> from mnv2search.spec.catalog import entry
    >>> list(output_lines([entry("ssdlite_mobilenet_v2").spec]))
    ['latency includes decoding of boxes, not their suppression (head.output: boxes)']
    """
    heads = {spec.head for spec in specs}
    outputs = sorted(
        {(head.output, isinstance(head, SsdLite)) for head in heads if isinstance(head, SsdLite | DeepLab)}
    )
    for output, detects in outputs:
        yield f"latency includes {(DETECTED if detects else SEGMENTED)[output]} (head.output: {output})"


# 90 % of a normal distribution lies within this many standard deviations of the mean.
Z_90 = 1.645


def score_rows(found: ScoreReport) -> Rows:
    """A row per score, with its rank correlations with counts and with the other scores."""
    return rows_of(
        f"correlation of scores with counts on {found.count} networks of {found.space}",
        found.scores,
        (Column("score", align="left"), str),
        *((Column(other, "Spearman"), partial(_text, found, other)) for other in _compared(found)),
    )


def score_lines(found: ScoreReport) -> Iterator[str]:
    """How to read the correlations."""
    from mnv2search.accuracy.scores import WARNING

    yield WARNING
    yield (
        f"with {found.count} networks, unrelated values correlate within {chance(found.count):.2f} of 0 in nine of "
        "ten draws: such correlations are no evidence"
    )
    yield "a score that follows depth, multiply-adds or body parameters adds nothing to the counts, which are free"
    yield f"networks, weights and images are drawn with the seed {found.seed}"


def chance(networks: int) -> float:
    """The 90 % limit of the absolute rank correlation of unrelated values.

    Source: Fieller, Hartley & Pearson 1957, for the variance 1.06 / (n - 3) of its inverse hyperbolic tangent.

    >>> round(chance(5), 2), round(chance(32), 2)
    (0.83, 0.3)
    """
    return math.tanh(Z_90 * math.sqrt(1.06 / (networks - 3)))


def score_json(found: ScoreReport) -> dict[str, object]:
    """A JSON document with the correlations and every value."""
    return {
        "space": found.space,
        "seed": found.seed,
        "networks": found.count,
        "spearman": {
            name: {other: found.spearman(name, other) for other in _compared(found)} for name in found.scores
        },
        "values": {name: list(values) for name, values in found.values.items()},
    }


def _compared(found: ScoreReport) -> tuple[str, ...]:
    counted = tuple(name for name in found.values if name not in found.scores)
    return (*counted, *found.scores)


def _text(found: ScoreReport, other: str, name: str) -> str:
    value = found.spearman(name, other)
    return "the same throughout" if value is None else f"{value:+.2f}"
