"""The command `report`: write the report of a run, or of several runs side by side."""

from __future__ import annotations

from pathlib import Path

import click

from mnv2search.cli import options
from mnv2search.cli.options import NonEmptyPath
from mnv2search.cli.output import answer, note


@click.command("report")
@options.run_folders
@click.option(
    "-o",
    "--output",
    type=NonEmptyPath(),
    metavar="FILE",
    help="HTML file to write. Default: report.html in the folder of the run; for several runs, a file next to the "
    "folder of the first run.",
)
@click.option("--open", is_flag=True, help="Open the report in the browser.")
@options.force
def report_command(folders: tuple[Path, ...], output: Path | None, open: bool, force: bool) -> None:
    """Write the interactive report of a run, or of several runs side by side, from their records.

    FOLDER is a run's folder, or its name in results. Nothing is measured. The report is one HTML file, which needs no
    other files and no network. The command prints its path.

    \b
    Example:
      mnv2search report results/mnv2-15ms
    """
    from mnv2search.workflows.search.report.write import write_report  # late: --help must not pay for it

    path = write_report(folders, output=output, force=force, open=open, on_note=note)
    answer([str(path)])
