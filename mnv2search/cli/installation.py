"""Commands on the installation: `doctor` and `completion`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mnv2search.cli import options
from mnv2search.cli.output import answer, answer_as_is, emit_json

SHELLS = ("bash", "zsh", "fish")


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


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.option("--install", is_flag=True, help="Write the script to the place where the shell looks for it.")
@options.force
@click.pass_context
def completion_command(context: click.Context, shell: str, install: bool, force: bool) -> None:
    """Print the script by which SHELL completes commands, options, devices, spaces, networks and runs.

    With --install, the script is written to the user's folder of completions, and what is left to do is printed.

    \b
    Example:
      mnv2search completion bash
    """
    from mnv2search.cli.completion import (  # late: --help must not pay for it
        completion_file,
        completion_script,
        install_completion,
        next_steps,
    )

    if force and not install:
        raise click.UsageError("--force is for --install")
    script = completion_script(context.find_root().command, shell)
    if not install:
        answer_as_is(script)
        return
    path = completion_file(shell, os.environ, Path.home())
    install_completion(script, path, force=force)
    answer([f"wrote {path}", *next_steps(shell, path)])
