"""Commands on the installation: `doctor` and `completion`."""

from __future__ import annotations

import click

from mnv2search.cli import options
from mnv2search.cli.output import answer, emit_json


@click.command("doctor")
@options.json
def doctor_command(as_json: bool) -> None:
    """Show what is installed and works here, and what spoils measurements, with a command for each problem.

    Lists packages, extras, devices, the clocks and the load of the machine, and where caches, weights and runs are.
    Everything is read from files of the system: no device is opened, nothing is measured and nothing is sent.

    \b
    Example:
      mnv2search doctor
    """
    from mnv2search.report.diagnosis import diagnosis_json, diagnosis_lines  # late: --help must not pay for it
    from mnv2search.workflows.doctor.diagnose import diagnose

    found = diagnose()
    if as_json:
        emit_json(diagnosis_json(found))
    else:
        answer(diagnosis_lines(found))
