"""The parts of the report of a run, and of a report that compares runs."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mnv2search.report.curves import candidates_chart
from mnv2search.report.html.page import Folded, Lines, Part
from mnv2search.report.rows import NAME, Column, Rows, counted, device_text, plus_minus, rows_of, trouble_lines
from mnv2search.report.search.charts import charts
from mnv2search.report.search.explorer import explorer, labels_of
from mnv2search.report.search.run import effort_text, run_rows, ship_lines
from mnv2search.report.training import finetuned_lines, finetuned_rows
from mnv2search.results.checks import Confirmation
from mnv2search.results.manifest import Manifest
from mnv2search.results.run_report import RunReport


def run_parts(run: RunReport) -> Iterator[Part]:
    """The parts of the report of one run, from the network to ship to the command that repeats the run."""
    yield Lines(title="What to ship", lines=tuple(_ship_lines(run)))
    yield explorer([run])
    yield from _front_parts(run)
    metric = next((e.accuracy.metric for e in run.result.front if e.accuracy), "")
    curves = candidates_chart(run.result.front, run.result.dominated, metric=metric)
    if curves is not None:
        yield curves
    yield from charts(run)
    yield Lines(title="Accuracies", lines=tuple(_accuracy_lines(run)))
    yield Lines(title="Device and noise", lines=tuple(_noise_lines(run)))
    if run.confirmations:
        yield _confirmation_rows(run.confirmations)
    yield Lines(title="How to repeat this run", lines=tuple(_reproduction_lines(run)))


def comparison_parts(runs: Sequence[RunReport]) -> Iterator[Part]:
    """The parts of a comparison: all networks in one chart, then the front and the effort of each run."""
    yield explorer(runs)
    for run, label in zip(runs, labels_of(runs), strict=True):
        for part in _front_parts(run):
            yield _titled(part, label)
        yield Lines(title=f"{label}: effort", lines=(effort_text(run.result), *_noise_lines(run)))


def _titled(part: Rows | Folded, label: str) -> Rows | Folded:
    if isinstance(part, Folded):
        return part._replace(rows=_titled_rows(part.rows, label))
    return _titled_rows(part, label)


def _titled_rows(rows: Rows, label: str) -> Rows:
    return replace(rows, title=f"{label}: {rows.title}")


def _front_parts(run: RunReport) -> Iterator[Rows | Folded]:
    ships = run.finetuned is None
    whole, shown = run_rows(run.result, ships=ships), run_rows(run.result, ships=ships, grouped=True)
    yield shown
    if len(shown.rows) < len(whole.rows):
        yield Folded(title=f"All {counted(len(whole.rows), 'network')} of the front", rows=whole)
    if run.finetuned is not None:
        yield finetuned_rows(run.finetuned)


def _ship_lines(run: RunReport) -> Iterator[str]:
    if run.finetuned is None:
        yield from ship_lines(run.result, folder=run.folder)
    else:
        yield from finetuned_lines(run.finetuned, folder=run.folder, front=run.result.front)
        yield effort_text(run.result)
    if run.manifest.accuracy_detail:
        yield f"accuracies: {run.manifest.accuracy_detail}"
    yield from run.result.notes


def _accuracy_lines(run: RunReport) -> Iterator[str]:
    networks = (*run.result.front, *run.result.dominated, *run.result.baseline)
    known = [e.accuracy for e in networks if e.accuracy is not None]
    yield f"source: {run.manifest.evaluator}"
    for kind in dict.fromkeys(accuracy.kind for accuracy in known):
        own = [accuracy for accuracy in known if accuracy.kind == kind]
        text = f"{counted(len(own), 'network')} with {kind} {own[0].metric} ({own[0].dataset})"
        half = statistics.median((one.high - one.low) / 2 for one in own)
        yield text if kind == "proxy" or half == 0 else f"{text}, typically ±{100 * half:.1f} points (90 % interval)"
    if run.result.stopped:
        yield f"{counted(run.result.stopped, 'network')} stopped early, without an accuracy"
    without = sum(e.accuracy is None for e in networks) - run.result.stopped
    if without > 0:
        yield f"{counted(without, 'measured network')} without an accuracy: over budget or not evaluated"


def _noise_lines(run: RunReport) -> Iterator[str]:
    latencies = [e.latency for e in run.result.measured if e.latency is not None]
    info = run.manifest.device
    yield device_text(latencies)
    yield f"opened by: --device {shlex.quote(info.name)}"
    details = {
        "system": info.system,
        "machine": info.machine,
        "cores": str(info.cores or ""),
        "governor": info.governor,
        "temperature at the start": "" if info.temperature_c is None else f"{info.temperature_c:g} °C",
    }
    if known := [f"{name} {text}" for name, text in details.items() if text]:
        yield ", ".join(known)
    half = statistics.median((one.ci_high_ms - one.ci_low_ms) / 2 / one.median_ms for one in latencies)
    runs = sum(one.samples for one in latencies)
    dropped = sum(one.dropped for one in latencies)
    disturbed = f", without {dropped:,} disturbed ones" if dropped else ""
    yield (
        f"{counted(len(latencies), 'network')} measured by {runs:,} inferences{disturbed}; "
        f"95 % intervals are typically ±{100 * half:.1f} %"
    )
    noisy = sum(one.noisy for one in latencies)
    if noisy:
        yield f"{noisy} of these intervals are unreliable"
        yield from trouble_lines(latencies)


def _confirmation_rows(confirmations: Sequence[Confirmation]) -> Rows:
    def verdict(one: Confirmation) -> str:
        differing = [("outputs", one.answers_agree), ("latency", one.speeds_agree)]
        wrong = [name for name, agrees in differing if not agrees]
        return f"DIFFERS: {', '.join(wrong)}" if wrong else "agrees"

    return rows_of(
        f"Compared with {confirmations[0].converter}",
        confirmations,
        (NAME, lambda one: one.name),
        (Column("our output", "relative difference"), lambda one: f"{one.difference:.2g}"),
        (Column("its output", "relative difference"), lambda one: f"{one.converter_difference:.2g}"),
        (Column("accepted"), lambda one: f"{one.tolerance:g}"),
        (Column("latency", "ours / its"), lambda one: plus_minus(one.ratio, one.ratio_half_width)),
        (Column("verdict", align="left"), verdict),
        notes=[
            "output: relative RMS difference from the PyTorch network; all three have the same, arbitrary weights"
        ],
    )


def _reproduction_lines(run: RunReport) -> Iterator[str]:
    manifest, folder = run.manifest, shlex.quote(str(run.folder))
    yield shlex.join(manifest.command) if manifest.command else "started from Python"
    yield f"resume: mnv2search run --resume {folder}; verify: mnv2search verify {folder}"
    yield _settings_line(manifest)
    yield f"space {manifest.space_name}, SHA-256 {manifest.space_hash}"
    yield ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    yield f"started {manifest.created_at}, finished {manifest.finished_at or 'not yet'}, {manifest.elapsed_s:.0f} s"


def _settings_line(manifest: Manifest) -> str:
    settings = manifest.settings
    lengths = [
        *([] if settings.trials is None else [counted(settings.trials, "network")]),
        *([] if settings.time_s is None else [f"{settings.time_s:g} s"]),
    ]
    return f"seed {manifest.seed}, sampler {settings.sampler}, {' or '.join(lengths)}, batches of {settings.batch}"
