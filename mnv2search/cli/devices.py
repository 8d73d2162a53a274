"""`mnv2search devices`: what can be measured on here."""

from __future__ import annotations

from dataclasses import asdict

import click

from mnv2search.cli.options import json_option
from mnv2search.cli.output import emit_json, stdout_console


@click.command("devices")
@json_option
def command(as_json: bool) -> None:
    """List what can be measured on here, and why something cannot.

    \b
    Example:
      mnv2search devices
    """
    from mnv2search.latency.registry import available  # late: --help must not pay for it
    from mnv2search.report.rows import device_rows
    from mnv2search.report.table import draw

    found = available()
    if as_json:
        emit_json([asdict(a) for a in found])
    else:
        draw(device_rows(found), stdout_console())
