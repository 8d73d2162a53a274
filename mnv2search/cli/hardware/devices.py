"""`mnv2search devices`: the devices to measure on, and how well their latencies are predicted."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click

from mnv2search.cli.options import (
    FILE,
    device_option,
    json_option,
    quiet_option,
    seed_option,
    space_option,
    time_option,
)
from mnv2search.cli.output import emit, note


@click.group("devices", invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the devices to measure on, and why others are unavailable.

    \b
    Example:
      mnv2search devices
    """
    if context.invoked_subcommand is not None:
        return
    from mnv2search.latency.registry import available  # late: --help must not pay for it
    from mnv2search.report.devices import device_rows

    devices = available()
    emit([asdict(device) for device in devices], device_rows(devices), as_json=as_json)


@command.command("audit")
@device_option
@space_option("Search space to draw networks from.", default="mnv2")
@click.option("-n", "count", type=click.IntRange(1, 2000), default=30, show_default=True, help="Networks to measure.")
@seed_option()
@time_option()
@click.option("-o", "--output", type=FILE, metavar="PNG", help="Write a plot of all networks.")
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
    """Compare predicted with measured latencies of random networks that the predictor has not seen.

    \b
    Example:
      mnv2search devices audit -n 10 --time 20s
    """
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.report.devices import audit_json, audit_lines, audit_rows
    from mnv2search.report.plot import audit_png
    from mnv2search.workflows.devices.prediction_audit import audit

    if output is not None and not output.parent.is_dir():
        raise click.UsageError(f"the folder of {output} does not exist")
    if output is not None and not os.access(output.parent, os.W_OK):
        raise click.UsageError(f"the folder of {output} cannot be written to: name a file elsewhere")
    with measuring(count, quiet=quiet or as_json) as advance:
        result = audit(device=device, space=space, count=count, seed=seed, time_s=time_s, on_progress=advance)
    emit(audit_json(result), audit_rows(result), audit_lines(result), as_json=as_json)
    if output is not None:
        try:
            output.write_bytes(audit_png(result))
        except OSError as error:
            raise click.ClickException(f"{output} cannot be written: {error.strerror}") from error
        note(f"wrote {output}", quiet=quiet)


@command.command("probe")
@device_option
@time_option(default="2m")
@json_option
@quiet_option
def probe_command(device: str, time_s: float, as_json: bool, quiet: bool) -> None:
    """Measure which multiples of channels and which kernel sizes are fast on the device.

    \b
    Example:
      mnv2search devices probe --time 20s
    """
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.report.devices import channel_rows, kernel_rows, probe_lines
    from mnv2search.workflows.devices.probe import NETWORKS, probe_device

    with measuring(NETWORKS, quiet=quiet or as_json) as advance:
        result = probe_device(device=device, time_s=time_s, on_progress=advance)
    emit(asdict(result), channel_rows(result), kernel_rows(result), probe_lines(result), as_json=as_json)
