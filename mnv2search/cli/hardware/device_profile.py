"""`mnv2search device-profile`: measure what later predictions on a device rest on."""

from __future__ import annotations

import click

from mnv2search.cli.options import Duration, device_option, json_option, quiet_option
from mnv2search.cli.output import answer, emit_json

DEFAULT_TIME_S = 300.0
DEFAULT_SPACES = ("mnv2",)


@click.command("device-profile")
@device_option
@click.option(
    "--space",
    "spaces",
    multiple=True,
    default=DEFAULT_SPACES,
    show_default=True,
    metavar="FILE|NAME",
    help="Search space whose networks are to be predicted; may be repeated.",
)
@click.option("--time", "time_s", type=Duration(), default=DEFAULT_TIME_S, metavar="TIME", help="Default: 5m.")
@click.option("--refresh", is_flag=True, help="Forget what was measured before.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")
@json_option
@quiet_option
def command(
    device: str, spaces: tuple[str, ...], time_s: float, refresh: bool, seed: int, as_json: bool, quiet: bool
) -> None:
    """Measure networks chosen to predict all others of the spaces, and keep them for every later run on the device.

    \b
    Example:
      mnv2search device-profile --space mnv2 --time 20s
    """
    from mnv2search.cli.progress import profiling  # late: --help must not pay for it
    from mnv2search.report.audit import profile_json, profile_lines
    from mnv2search.workflows.devices.profile import profile_device

    with profiling(quiet=quiet or as_json) as show:
        profile = profile_device(
            device=device, spaces=spaces, time_s=time_s, refresh=refresh, seed=seed, on_progress=show
        )
    if as_json:
        emit_json(profile_json(profile))
    else:
        answer(profile_lines(profile))
