"""`mnv2search cost`: parameters, multiply-adds and memory by counting."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

import click

from mnv2search.cli.options import json_option, network_options
from mnv2search.cli.output import emit_json, stdout_console
from mnv2search.cli.parameter_types import NonEmptyText


@click.command("cost")
@click.argument("specs", nargs=-1, required=True, type=NonEmptyText(), metavar="SPEC...")
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8"]), default="fp32", show_default=True)
@network_options()
@json_option
def command(specs: tuple[str, ...], precision: Literal["fp32", "fp16", "int8"], as_json: bool, **choice: Any) -> None:
    """Count the parameters, multiply-adds and memory of each SPEC.

    SPEC is a file, a name of `mnv2search catalog`, or - for standard input; or a .pt or .pt2 file, as
    `mnv2search train` writes it, which holds a spec.

    \b
    Example:
      mnv2search cost mobilenet_v2_1.0_224 mobilenet_v2_0.5_160
    """
    from mnv2search.cost import cost_of
    from mnv2search.report.networks import cost_rows
    from mnv2search.report.table import draw
    from mnv2search.workflows.networks import chosen_spec  # late: --help must not pay for it

    networks = tuple(chosen_spec(name, **choice) for name in specs)
    if as_json:
        emit_json([{"name": s.name, **asdict(cost_of(s, precision=precision))} for s in networks])
    else:
        draw(cost_rows(networks, precision=precision), stdout_console())
