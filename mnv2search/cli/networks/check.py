"""`mnv2search check`: what is wrong with spec files."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from mnv2search.cli.options import json_option, quiet_option
from mnv2search.cli.output import answer_as_is, emit_json, note
from mnv2search.cli.parameter_types import NonEmptyText


@click.command("check")
@click.argument("files", nargs=-1, required=True, type=NonEmptyText(), metavar="FILE...")
@json_option
@quiet_option
def command(files: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Check specs and search spaces and report every problem with its place.

    FILE may be - for standard input, or a .pt or .pt2 file of ours, which holds a spec. Exits with 2 if there is any
    problem.

    \b
    Example:
      mnv2search check search_spaces/mnv2.yaml
    """
    from mnv2search.spec.yaml.codec import check, load
    from mnv2search.workflows.networks import saved_spec  # late: --help must not pay for it

    def read(file: str) -> object:
        return saved_spec(file) or load(file)

    diagnostics = [found for file in files for found in check(file, reader=read)]
    if as_json:
        emit_json([{k: v for k, v in asdict(d).items() if k != "excerpt"} for d in diagnostics])
    else:
        for diagnostic in diagnostics:
            answer_as_is(str(diagnostic))
    if diagnostics:
        sys.exit(2)
    note(f"{len(files)} file{'s' if len(files) > 1 else ''}: no problem found", quiet=quiet or as_json)
