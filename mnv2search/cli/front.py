"""`mnv2search front`: the front of a finished or interrupted run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mnv2search.cli.options import json_option
from mnv2search.cli.output import answer, emit_json, stdout_console


@click.command("front")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def command(folder: Path, as_json: bool) -> None:
    """Show the Pareto front of the run in FOLDER from its records; nothing is measured.

    \b
    Example:
      mnv2search front results/mnv2-15ms
    """
    from mnv2search.jobs.recall import recall  # late: --help must not pay for it
    from mnv2search.report.run import nothing_fits_lines, run_json, run_rows, ship_lines
    from mnv2search.report.table import draw

    manifest, result = recall(folder)
    if as_json:
        emit_json(run_json(result, folder=folder, status=manifest.status))
    elif result.front:
        draw(run_rows(result), stdout_console())
        answer(ship_lines(result, folder=folder))
    else:
        answer(nothing_fits_lines(result, budget=manifest.budget, status=manifest.status))
    if not result.front:
        sys.exit(3)
