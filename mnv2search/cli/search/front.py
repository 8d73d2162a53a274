"""`mnv2search front`: the front of a finished or interrupted run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mnv2search.cli.options import json_option, run_folder_argument
from mnv2search.cli.output import answer, emit_json, note, stdout_console

if TYPE_CHECKING:
    from mnv2search.results.finetuning import Finetuned
    from mnv2search.results.manifest import Manifest
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
    from mnv2search.report.search.run import status_lines
    from mnv2search.results.finetuning import measured_of, recall_finetuned
    from mnv2search.workflows.search.load_run import recall  # late: --help must not pay for it

    manifest, result = recall(folder)
    has_trainings = (folder / "finetune").is_dir()
    trained = recall_finetuned(folder / "finetune", measured_of(result)) if has_trainings else None
    show(folder, manifest, result, trained, as_json=as_json)
    if not result.front:
        sys.exit(3 if manifest.status == "nothing fits" else 1)
    for line in status_lines(manifest.status):
        note(line)


def show(folder: Path, manifest: Manifest, result: SearchResult, trained: Finetuned | None, *, as_json: bool) -> None:
    """Print the answer of a run: a document, or tables and what to ship."""
    from mnv2search.report.search.run import effort_text, nothing_fits_lines, run_json, run_rows, ship_lines
    from mnv2search.report.table import draw
    from mnv2search.report.training import finetuned_lines, finetuned_rows
    from mnv2search.results.finetuning import shipped_json

    if as_json:
        document = run_json(result, folder=folder, status=manifest.status)
        emit_json(document | ({} if trained is None else shipped_json(trained)))
    elif not result.front:
        answer(nothing_fits_lines(result, budget=manifest.budget, status=manifest.status))
    else:
        draw(run_rows(result), stdout_console())
        if trained is None:
            answer(ship_lines(result, folder=folder))
        else:
            draw(finetuned_rows(trained), stdout_console())
            answer([*finetuned_lines(trained, folder=folder), f"  {effort_text(result)}"])
