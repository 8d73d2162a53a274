"""Commands on devices: `devices`, `latency` and `device-profile`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
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
    from mnv2search.report.notebook import parts_of  # late: --help must not pay for it
    from mnv2search.workflows.devices.measure import devices

    found = devices()
    emit([asdict(device) for device in found], *parts_of(found), as_json=as_json)


@devices_command.command("audit")
@options.device
@options.space("Search space to draw networks from.", default="mnv2")
@click.option("-n", "--networks", type=click.IntRange(1, 2000), default=30, help="Number of networks to measure.")
@options.seed()
@options.time()
@click.option("-o", "--output", type=FILE, metavar="PNG", help="Write a plot of all networks.")
@options.output
def audit_command(networks: int, output: Path | None, as_json: bool, quiet: bool, **given: Any) -> None:
    """Compare predicted with measured latencies of random networks that the predictor has not seen.

    \b
    Example:
      mnv2search devices audit -n 10 --time 20s
    """
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.report.devices import audit_json
    from mnv2search.report.notebook import parts_of
    from mnv2search.workflows.devices.profile import audit_device
    from mnv2search.workflows.options import check_output

    if output is not None:
        check_output(output, force=True)
    with measuring(networks, quiet=quiet or as_json) as advance:
        found = audit_device(networks=networks, on_progress=advance, **given)
    emit(audit_json(found), *parts_of(found), as_json=as_json)
    if output is not None:
        found.plot().save(output)
        note(f"wrote {output}", quiet=quiet)


@devices_command.command("probe")
@options.device
@options.time(default="2m")
@options.output
def probe_command(as_json: bool, quiet: bool, **given: Any) -> None:
    """Measure which multiples of channels and which kernel sizes are fast on the device.

    \b
    Example:
      mnv2search devices probe --time 20s
    """
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.report.notebook import parts_of
    from mnv2search.workflows.devices.probe import NETWORKS, probe_device

    with measuring(NETWORKS, quiet=quiet or as_json) as advance:
        found = probe_device(on_progress=advance, **given)
    emit(asdict(found), *parts_of(found), as_json=as_json)


@click.command("latency")
@click.argument("specs", nargs=-1, required=True, type=options.SPEC, metavar="SPEC...")
@click.option(
    "--device",
    type=options.DEVICE,
    multiple=True,
    metavar="RUNTIME[:OPTIONS][@HOST]",
    help="Device to measure on; `mnv2search devices` lists them. Repeat it to compare devices or, if they differ "
    "only in their hosts, to share the work among them. Default: onnxruntime.",
)
@click.option(
    "--all-devices",
    is_flag=True,
    help="Compare every runtime on this machine in every precision that it supports, or in --precision.",
)
@options.choice("--precision", options.PRECISIONS, help=options.PRECISION_HELP)
@options.time()
@options.network(head_output=True)
@options.output
def latency_command(specs: tuple[str, ...], as_json: bool, quiet: bool, **given: Any) -> None:
    """Measure the latency of each SPEC, interleaved for a fair comparison.

    SPEC is a YAML file, a name of `mnv2search catalog`, - for standard input, or a .pt or .pt2 file that mnv2search
    wrote (its spec is used).

    With several devices, each network is measured on each of them, in turn. A device that cannot be used, or that
    refuses a network, is shown with the reason. Exits with 1 if no network could be measured.

    \b
    Example:
      mnv2search latency mobilenet_v2_1.0_224 mobilenet_v2_0.5_160 --time 10s
      mnv2search latency mobilenet_v2_0.5_160 --device onnxruntime --device torch --time 10s
      mnv2search latency ssdlite_mobilenet_v2 --head-output detections --time 5s
    """
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.report.devices import measured_json
    from mnv2search.report.notebook import parts_of
    from mnv2search.workflows.devices.measure import measure

    with measuring(0, quiet=quiet or as_json, things="latencies") as advance:
        found = measure(specs, on_progress=advance, on_note=partial(note, quiet=quiet), **given)
    emit(measured_json(found), *parts_of(found), as_json=as_json)
    if not any(one.latency for one in found):
        sys.exit(1)


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
    from mnv2search.report.notebook import parts_of
    from mnv2search.workflows.devices.profile import profile_device

    with profiling(quiet=quiet or as_json) as show:
        found = profile_device(on_progress=show, **given)
    emit(asdict(found), *parts_of(found), as_json=as_json)
