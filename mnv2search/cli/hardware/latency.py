"""`mnv2search latency`: measure networks side by side."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from mnv2search.cli.options import device_option, json_option, network_options, quiet_option, time_option
from mnv2search.cli.output import emit, note
from mnv2search.cli.parameter_types import NonEmptyText


@click.command("latency")
@click.argument("specs", nargs=-1, required=True, type=NonEmptyText(), metavar="SPEC...")
@device_option
@time_option()
@network_options(head_output=True)
@json_option
@quiet_option
def command(
    specs: tuple[str, ...], device: str, time_s: float | None, as_json: bool, quiet: bool, **choice: Any
) -> None:
    """Measure the latency of each SPEC, all side by side in one interleaved run.

    SPEC is a file, a name of `mnv2search catalog`, or - for standard input; or a .pt or .pt2 file, as
    `mnv2search train` writes it, which holds a spec.

    \b
    Example:
      mnv2search latency mobilenet_v2_1.0_224 mobilenet_v2_0.5_160 --time 10s
      mnv2search latency ssdlite_mobilenet_v2 --head-output detections --time 5s
    """
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.report.devices import latency_rows
    from mnv2search.spec.heads.outputs import answer_text, output_of
    from mnv2search.spec.plan import plan
    from mnv2search.workflows.devices.measure import measure_together
    from mnv2search.workflows.networks import chosen_spec

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
