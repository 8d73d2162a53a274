"""Commands on devices: `devices`, `latency` and `device-profile`."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mnv2search.cli import options
from mnv2search.cli.options import FILE
from mnv2search.cli.output import emit, note


@click.group("devices", invoke_without_command=True)
@options.json
@click.pass_context
def devices_command(context: click.Context, as_json: bool) -> None:
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


@devices_command.command("audit")
@options.device
@options.space("Search space to draw networks from.", default="mnv2")
@click.option("-n", "count", type=click.IntRange(1, 2000), default=30, help="Networks to measure.")
@options.seed()
@options.time()
@click.option("-o", "--output", type=FILE, metavar="PNG", help="Write a plot of all networks.")
@options.output
def audit_command(count: int, output: Path | None, as_json: bool, quiet: bool, **given: Any) -> None:
    """Compare predicted with measured latencies of random networks that the predictor has not seen.

    \b
    Example:
      mnv2search devices audit -n 10 --time 20s
    """
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.report.devices import audit_json, audit_lines, audit_rows
    from mnv2search.report.plot import audit_png
    from mnv2search.workflows.devices.profile import audit

    if output is not None and not output.parent.is_dir():
        raise click.UsageError(f"the folder of {output} does not exist")
    if output is not None and not os.access(output.parent, os.W_OK):
        raise click.UsageError(f"the folder of {output} cannot be written to: name a file elsewhere")
    with measuring(count, quiet=quiet or as_json) as advance:
        result = audit(count=count, on_progress=advance, **given)
    emit(audit_json(result), audit_rows(result), audit_lines(result), as_json=as_json)
    if output is not None:
        try:
            output.write_bytes(audit_png(result))
        except OSError as error:
            raise click.ClickException(f"{output} cannot be written: {error.strerror}") from error
        note(f"wrote {output}", quiet=quiet)


@devices_command.command("probe")
@options.device
@options.time(default="2m")
@options.output
def probe_command(device: str, time_s: float, as_json: bool, quiet: bool) -> None:
    """Measure which multiples of channels and which kernel sizes are fast on the device.

    \b
    Example:
      mnv2search devices probe --time 20s
    """
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.report.devices import channel_rows, kernel_rows, probe_lines
    from mnv2search.workflows.devices.probe import NETWORKS, probe

    with measuring(NETWORKS, quiet=quiet or as_json) as advance:
        result = probe(device, time_s=time_s, on_progress=advance)
    emit(asdict(result), channel_rows(result), kernel_rows(result), probe_lines(result), as_json=as_json)


@click.command("latency")
@click.argument("specs", nargs=-1, required=True, type=options.SPEC, metavar="SPEC...")
@options.device
@options.time()
@options.network(head_output=True)
@options.output
def latency_command(
    specs: tuple[str, ...], device: str, time_s: float | None, as_json: bool, quiet: bool, **choice: Any
) -> None:
    """Measure the latency of each SPEC, all interleaved for a fair comparison.

    SPEC is a YAML file, a name of `mnv2search catalog`, - for standard input, or a .pt or .pt2 file that mnv2search
    wrote (its spec is used).

    \b
    Example:
      mnv2search latency mobilenet_v2_1.0_224 mobilenet_v2_0.5_160 --time 10s
      mnv2search latency ssdlite_mobilenet_v2 --head-output detections --time 5s
    """
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.report.devices import latency_rows
    from mnv2search.spec.heads.outputs import answer_text, output_of
    from mnv2search.spec.plan import plan
    from mnv2search.workflows.devices.profile import measure_together
    from mnv2search.workflows.options import chosen_spec

    networks = tuple(chosen_spec(name, **choice) for name in specs)
    with measuring(len(networks), quiet=quiet or as_json) as advance:
        latencies, notes = measure_together(networks, device=device, time_s=time_s, on_progress=advance)
    for text in notes:
        note(text, quiet=quiet)
    for network in networks if not as_json else ():
        if text := answer_text(plan(network)):
            note(f"{network.name}: {text}", quiet=quiet)
    document = [
        {"name": spec.name, "head_output": output_of(spec), **asdict(latency)}
        for spec, latency in zip(networks, latencies, strict=True)
    ]
    emit(document, latency_rows(networks, latencies), as_json=as_json)


@click.command("device-profile")
@options.device
@options.space("Search space whose networks are to be predicted; may be repeated.", default=("mnv2",), multiple=True)
@options.time("Wall time of the profile.", default="5m")
@click.option("--refresh", is_flag=True, help="Discard earlier measurements.")
@options.seed()
@options.output
def device_profile_command(as_json: bool, quiet: bool, **given: Any) -> None:
    """Measure a sample of networks, so that later runs can predict the latency of all networks of the spaces.

    \b
    Example:
      mnv2search device-profile --space mnv2 --time 20s
    """
    from mnv2search.cli.progress import profiling  # late: --help must not pay for it
    from mnv2search.report.devices import profile_lines
    from mnv2search.workflows.devices.profile import profile_device

    with profiling(quiet=quiet or as_json) as show:
        profile = profile_device(on_progress=show, **given)
    emit(asdict(profile), profile_lines(profile), as_json=as_json)
