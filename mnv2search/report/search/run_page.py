"""The parts of the page of a run."""

from __future__ import annotations

from collections.abc import Iterator

from mnv2search.report.html.page import Folded, Lines, Part, Picture
from mnv2search.report.plot import candidates_png
from mnv2search.report.rows import counted
from mnv2search.report.search.explorer import explorer
from mnv2search.report.search.run import effort_text, run_rows, ship_lines
from mnv2search.report.training import finetuned_lines, finetuned_rows
from mnv2search.results.run_report import RunReport


def run_parts(run: RunReport) -> Iterator[Part]:
    """What to ship, all networks, the front, and how the accuracies were determined."""
    result, finetuned = run.result, run.finetuned
    yield Lines(title="What to ship", lines=tuple(_ship_lines(run)))
    yield explorer([run])
    ships = finetuned is None
    whole, shown = run_rows(result, ships=ships), run_rows(result, ships=ships, grouped=True)
    yield shown
    if len(shown.rows) < len(whole.rows):
        yield Folded(title=f"All {counted(len(whole.rows), 'network')} of the front", rows=whole)
    if finetuned is not None:
        yield finetuned_rows(finetuned)
    metric = next((e.accuracy.metric for e in result.front if e.accuracy), "")
    curves = candidates_png(result.front, result.dominated, metric=metric)
    if curves is not None:
        shows = f"{metric} of every candidate on validation images after each epoch"
        yield Picture(title="How the candidates' trainings went", png=curves, shows=shows)


def _ship_lines(run: RunReport) -> Iterator[str]:
    if run.finetuned is None:
        yield from ship_lines(run.result, folder=run.folder)
    else:
        yield from finetuned_lines(run.finetuned, folder=run.folder, front=run.result.front)
        yield effort_text(run.result)
    if run.detail:
        yield f"accuracies: {run.detail}"
    yield from run.result.notes
