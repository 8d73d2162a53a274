"""`mnv2search front`: the front of a finished or interrupted run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mnv2search.cli.options import json_option, run_folder_argument
from mnv2search.cli.output import answer, emit_json, note, stdout_console

if TYPE_CHECKING:
    from mnv2search.results.finetuned import Finetuned
    from mnv2search.study.types import SearchResult


@click.command("front")
@run_folder_argument
@json_option
def command(folder: Path, as_json: bool) -> None:
    """Show the Pareto front of a run from its records; nothing is measured.

    FOLDER is its folder, or its name in results.

    \b
    Example:
      mnv2search front results/mnv2-15ms
    """
    from mnv2search.report.finetuned import finetuned_lines, finetuned_rows
    from mnv2search.report.search.run import (
        effort_text,
        nothing_fits_lines,
        run_json,
        run_rows,
        ship_lines,
        status_lines,
    )
    from mnv2search.report.table import draw
    from mnv2search.results.finetuned import shipped_json
    from mnv2search.workflows.search.load_run import recall  # late: --help must not pay for it

    manifest, result = recall(folder)
    trained = _trained(folder, result) if (folder / "finetune").is_dir() else None
    if as_json:
        document = run_json(result, folder=folder, status=manifest.status)
        emit_json(document | ({} if trained is None else shipped_json(trained)))
    elif result.front:
        draw(run_rows(result), stdout_console())
        if trained is not None:
            draw(finetuned_rows(trained), stdout_console())
            answer([*finetuned_lines(trained, folder=folder), f"  {effort_text(result)}"])
        else:
            answer(ship_lines(result, folder=folder))
    else:
        answer(nothing_fits_lines(result, budget=manifest.budget, status=manifest.status))
    for line in status_lines(manifest.status) if result.front else ():
        note(line)
    if not result.front:
        sys.exit(3 if manifest.status == "nothing fits" else 1)


def _trained(folder: Path, result: SearchResult) -> Finetuned | None:
    from mnv2search.results.finetuned import measured_of, recall_finetuned

    return recall_finetuned(folder / "finetune", measured_of(result))
