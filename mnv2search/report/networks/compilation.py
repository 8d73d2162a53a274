"""What a compilation says below its table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from mnv2search.accuracy.types import metric_text
from mnv2search.report.rows import counted
from mnv2search.spec.heads.outputs import answer_text, output_of
from mnv2search.tasks.metrics import Metric, Metrics, record_of

if TYPE_CHECKING:
    from mnv2search.results.exports import Compiled, ExportReport


def compiled_json(compiled: Compiled) -> dict[str, object]:
    """One document with our field names as keys."""
    return {
        "name": compiled.plan.spec.name,
        "head_output": output_of(compiled.plan.spec),
        **asdict(compiled.cost),
        "fvcore_madds": compiled.fvcore_madds,
        "unreadable_images": [str(path) for path in compiled.unreadable],
        "exports": [{**asdict(report), "path": str(report.path)} for report in compiled.exports],
        "judged": [_judged_json(what, figures) for what, figures in compiled.judged],
    }


def _judged_json(what: str, metrics: Metrics) -> dict[str, object]:
    record = {**record_of(metrics), "low": metrics.main.low, "high": metrics.main.high}
    return {"what": what, **record} | ({"details": dict(metrics.details)} if "details" in record else {})


def compiled_notes(compiled: Compiled) -> Iterator[str]:
    """What is good to know of a compilation beside its results."""
    if text := answer_text(compiled.plan):
        yield text
    if (madds := compiled.fvcore_madds) is not None:
        same = "the same" if madds == compiled.cost.madds else f"{madds - compiled.cost.madds:+,}"
        yield f"fvcore counts {madds:,} multiply-adds in convolutions and linear layers: {same}"
    if compiled.unreadable:
        count, first = len(compiled.unreadable), compiled.unreadable[0]
        if count == 1:
            yield f"1 image could not be read and was left out: {first}"
        else:
            yield f"{count} images could not be read and were left out, such as {first}"


def compiled_results(compiled: Compiled) -> Iterator[str]:
    """What a compilation came to: how well the network does, and each file with how far it computes from it."""
    if compiled.judged:
        first = compiled.judged[0][1]
        figures = "; ".join(f"{what} {_metric_text(metrics.main)}" for what, metrics in compiled.judged)
        metric = "top-1" if first.main.name == "top1" else metric_text(first.main.name)
        yield f"{metric} on {counted(first.count, 'test image')} [90 % interval]: {figures}"
    for report in compiled.exports:
        agreement = _agreement(report, judged=bool(compiled.judged))
        yield f"wrote {report.path} ({report.size_bytes / 1e6:.2f} MB); loaded again, it {agreement}"


def _metric_text(metric: Metric) -> str:
    return f"{100 * metric.value:.1f} % [{100 * metric.low:.1f}, {100 * metric.high:.1f}]"


def _agreement(report: ExportReport, *, judged: bool) -> str:
    if report.precision == "fp32":
        return (
            f"differs from the network by at most {report.max_relative_difference:.1e} (relative; tolerance "
            f"{report.tolerance:.0e})"
        )
    text = f"differs from the network in fp32 by {report.rms_relative_difference:.1%} (root mean square, relative)"
    if report.same_class is not None and not judged:  # how well it does on test images says more
        text += f" and names the same class for {report.same_class:.0%} of {counted(report.images, 'image')}"
    if report.calibration_images is None:
        return text
    if report.calibration_images:
        return f"{text}; its ranges come from {counted(report.calibration_images, 'image')}"
    return f"{text}; its ranges come from RANDOM NUMBERS: give --calibration FOLDER before you ship it"
