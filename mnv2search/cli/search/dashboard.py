"""The command `dashboard`: show the networks of a run in optuna-dashboard."""

from __future__ import annotations

from pathlib import Path

import click

from mnv2search.cli import options
from mnv2search.cli.output import note


@click.command("dashboard")
@options.run_folder
@click.option("--port", type=click.IntRange(1, 65535), default=8080, metavar="PORT", help="Port on this machine.")
def dashboard_command(folder: Path, port: int) -> None:
    """Serve optuna-dashboard with the evaluated networks of a run, on this machine only.

    FOLDER is the run's folder, or its name in results. The dashboard shows a copy of the networks evaluated so far;
    restart the command to see later ones. Needs `pip install 'mnv2search[dashboard]'`.

    \b
    Example:
      mnv2search dashboard results/mnv2-15ms
    """
    from mnv2search.report.rows import counted  # late: --help must not pay for it
    from mnv2search.workflows.dashboard import dashboard

    dashboard(
        folder,
        port=port,
        on_ready=lambda address, count: note(f"{counted(count, 'network')} at {address}; Ctrl-C stops the dashboard"),
    )
