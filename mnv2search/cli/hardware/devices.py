"""`mnv2search devices`: what can be measured on here, and how well it is predicted."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click

from mnv2search.cli.options import Duration, device_option, json_option, quiet_option
from mnv2search.cli.output import answer, emit_json, note, stdout_console


@click.group("devices", invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List what can be measured on here, and why something cannot.

    \b
    Example:
      mnv2search devices
    """
    if context.invoked_subcommand is not None:
        return
    from mnv2search.latency.registry import available  # late: --help must not pay for it
    from mnv2search.report.rows import device_rows
    from mnv2search.report.table import draw

    found = available()
    if as_json:
        emit_json([asdict(a) for a in found])
    else:
        draw(device_rows(found), stdout_console())


@command.command("audit")
@device_option
@click.option("--space", default="mnv2", show_default=True, metavar="FILE|NAME", help="Search space.")
@click.option("-n", "count", type=click.IntRange(1, 2000), default=30, show_default=True, help="Networks to measure.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")
@click.option("--time", "time_s", type=Duration(), metavar="TIME", help="Stop measuring after this time.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="PNG", help="Plot of all networks."
)
@json_option
@quiet_option
def audit_command(
    device: str,
    space: str,
    count: int,
    seed: int,
    time_s: float | None,
    output: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Hold predictions against measurements of random networks that were not learned from.

    \b
    Example:
      mnv2search devices audit -n 10 --time 20s
    """
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.report.audit import audit_json, audit_lines, audit_png, audit_rows
    from mnv2search.report.table import draw
    from mnv2search.workflows.devices.prediction_audit import audit

    if output is not None and not output.parent.is_dir():
        raise click.UsageError(f"the folder of {output} does not exist")
    if output is not None and not os.access(output.parent, os.W_OK):
        raise click.UsageError(f"the folder of {output} cannot be written to: name a file elsewhere")
    with measuring(count, quiet=quiet or as_json) as advance:
        found = audit(device=device, space=space, count=count, seed=seed, time_s=time_s, on_progress=advance)
    if as_json:
        emit_json(audit_json(found))
    else:
        draw(audit_rows(found), stdout_console())
        answer(audit_lines(found))
    if output is not None:
        try:
            output.write_bytes(audit_png(found))
        except OSError as error:
            raise click.ClickException(f"{output} cannot be written: {error.strerror}") from error
        note(f"wrote {output}", quiet=quiet)


@command.command("probe")
@device_option
@click.option(
    "--time",
    "time_s",
    type=Duration(),
    metavar="TIME",
    default="2m",
    show_default=True,
    help="Stop measuring after this time.",
)
@json_option
@quiet_option
def probe_command(device: str, time_s: float, as_json: bool, quiet: bool) -> None:
    """Find out which multiples of channels and which kernels the device likes.

    \b
    Example:
      mnv2search devices probe --time 20s
    """
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.report.probe import channel_rows, kernel_rows, probe_json, probe_lines
    from mnv2search.report.table import draw
    from mnv2search.workflows.devices.probe import NETWORKS, probe_device

    with measuring(NETWORKS, quiet=quiet or as_json) as advance:
        found = probe_device(device=device, time_s=time_s, on_progress=advance)
    if as_json:
        emit_json(probe_json(found))
        return
    draw(channel_rows(found), stdout_console())
    draw(kernel_rows(found), stdout_console())
    answer(probe_lines(found))
