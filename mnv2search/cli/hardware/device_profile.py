"""`mnv2search device-profile`: measure the networks that later predictions on a device learn from."""

from __future__ import annotations

from dataclasses import asdict

import click

from mnv2search.cli.options import (
    device_option,
    json_option,
    quiet_option,
    seed_option,
    space_option,
    time_option,
)
from mnv2search.cli.output import emit


@click.command("device-profile")
@device_option
@space_option("Search space whose networks are to be predicted; may be repeated.", default=("mnv2",), multiple=True)
@time_option("Wall time of the profile.", default="5m")
@click.option("--refresh", is_flag=True, help="Forget earlier measurements.")
@seed_option()
@json_option
@quiet_option
def command(
    device: str, spaces: tuple[str, ...], time_s: float, refresh: bool, seed: int, as_json: bool, quiet: bool
) -> None:
    """Measure networks from which the latency of all others of the spaces is predicted in later runs on the device.

    \b
    Example:
      mnv2search device-profile --space mnv2 --time 20s
    """
    from mnv2search.cli.progress import profiling  # late: --help must not pay for it
    from mnv2search.report.devices import profile_lines
    from mnv2search.workflows.devices.profile import profile_device

    with profiling(quiet=quiet or as_json) as show:
        profile = profile_device(
            device=device, spaces=spaces, time_s=time_s, refresh=refresh, seed=seed, on_progress=show
        )
    emit(asdict(profile), profile_lines(profile), as_json=as_json)
