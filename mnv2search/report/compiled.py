"""What a compilation says below its table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from mnv2search.accuracy.types import METRICS
from mnv2search.report.rows import counted
from mnv2search.spec.heads.outputs import answer_text, output_of

if TYPE_CHECKING:
    from mnv2search.results.exports import Compiled, ExportReport
    from mnv2search.tasks.classification import Figures
    from mnv2search.tasks.dense_metrics import DenseFigures

__all__ = ["compiled_json", "compiled_notes", "compiled_results"]


def compiled_json(compiled: Compiled) -> dict[str, Any]:
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


def _judged_json(what: str, figures: Figures | DenseFigures) -> dict[str, Any]:
    dense, top1 = _kinds(figures)
    if dense is not None:
        return {"what": what, **asdict(dense), "details": dict(dense.details)}
    assert top1 is not None
    return {"what": what, **asdict(top1), "low": top1.interval[0], "high": top1.interval[1]}


def _kinds(figures: Figures | DenseFigures) -> tuple[DenseFigures | None, Figures | None]:
    """The figures as a dense network's, or as a classifier's; their classes cannot be imported without torch."""
    if hasattr(figures, "metric"):
        return cast("DenseFigures", figures), None
    return None, figures


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
        dense, _ = _kinds(compiled.judged[0][1])
        told = "; ".join(f"{what} {_figures_text(figures)}" for what, figures in compiled.judged)
        metric = "top-1" if dense is None else METRICS[dense.metric]
        interval = " [90 % interval]" if dense is None else ""
        yield f"{metric} on {counted(compiled.judged[0][1].count, 'test image')}{interval}: {told}"
    for report in compiled.exports:
        agreement = _agreement(report, judged=bool(compiled.judged))
        yield f"wrote {report.path} ({report.size_bytes / 1e6:.2f} MB); loaded again, it {agreement}"


def _figures_text(figures: Figures | DenseFigures) -> str:
    dense, top1 = _kinds(figures)
    if dense is not None:
        return f"{100 * dense.value:.1f} %"
    assert top1 is not None
    low, high = top1.interval
    return f"{100 * top1.top1:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


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
