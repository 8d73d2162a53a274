"""`mnv2search catalog`: published networks and search spaces."""

from __future__ import annotations

import click

from mnv2search.cli.options import json_option
from mnv2search.cli.output import emit_json, stdout_console
from mnv2search.cli.parameter_types import NonEmptyText


@click.command("catalog")
@click.option("--family", type=NonEmptyText(), metavar="TEXT", help="Only networks whose family contains TEXT.")
@json_option
def command(family: str | None, as_json: bool) -> None:
    """List published networks with their published and our counted figures.

    \b
    Example:
      mnv2search catalog --family MobileNetV2
    """
    from mnv2search.report.networks import catalog_json, catalog_rows  # late: --help must not pay for it
    from mnv2search.report.table import draw
    from mnv2search.spec.catalog import catalog

    entries = [e for e in catalog() if family is None or family.lower() in e.family.lower()]
    if as_json:
        emit_json(catalog_json(entries))
    else:
        draw(catalog_rows(entries), stdout_console())
