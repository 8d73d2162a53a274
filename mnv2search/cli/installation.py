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
    """Check the installation and this machine, and show a command for each problem.

    Lists packages, extras, devices, the clocks and the load of the machine, and the paths of caches, weights and
    runs. No device is opened, nothing is measured and nothing is sent.

    \b
    Example:
      mnv2search doctor
    """
    from mnv2search.report.diagnosis import diagnosis_json, diagnosis_lines  # late: --help must not pay for it
    from mnv2search.workflows.doctor.diagnose import doctor

    found = doctor()
    if as_json:
        emit_json(diagnosis_json(found))
    else:
        answer(diagnosis_lines(found))


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.option("--install", is_flag=True, help="Write the script to the shell's completion folder.")
@options.force
@click.pass_context
def completion_command(context: click.Context, shell: str, install: bool, force: bool) -> None:
    """Print a script for a shell that completes commands, options, devices, spaces, networks and runs.

    With --install, the script is written to the user's completion folder, and the remaining steps are printed.

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
        raise click.UsageError("--force requires --install")
    script = completion_script(context.find_root().command, shell)
    if not install:
        answer_as_is(script)
        return
    path = completion_file(shell, os.environ, Path.home())
    install_completion(script, path, force=force)
    answer([f"wrote {path}", *next_steps(shell, path)])
