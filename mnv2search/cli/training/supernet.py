"""`mnv2search supernet`: train weights that all networks of a space share."""

from __future__ import annotations

from pathlib import Path

import click

from mnv2search.cli.interrupts import told_what_is_kept
from mnv2search.cli.options import (
    data_option,
    device_option,
    epochs_option,
    folder_option,
    json_option,
    quiet_option,
    seed_option,
    space_option,
    time_option,
    weights_options,
)
from mnv2search.cli.output import emit
from mnv2search.cli.parameter_types import NonEmptyText, Positive

DEFAULT_TIME_S = 600.0


@click.command("supernet")
@space_option("Search space whose networks share the weights.", required=True)
@data_option
@time_option("Wall time of the training; 10m without --epochs.")
@epochs_option("Passes over the images (instead of --time).")
@click.option(
    "--fidelity",
    type=NonEmptyText(),
    default="auto",
    show_default=True,
    metavar="WxR",
    help="Scale of widths and resolutions while training, such as 0.5x0.75; auto chooses by the time.",
)
@click.option(
    "--recipe",
    type=NonEmptyText(),
    default="auto",
    show_default=True,
    metavar="NAME|FILE",
    help="Recipe of the training; auto takes supernet or, with --from, adapt, with a third of its learning rate.",
)
@weights_options("First weights: a .pt file of a network with the same number of rows or stages, or published ones.")
@click.option(
    "--latency-ms",
    type=Positive(),
    metavar="MS",
    help="Budget of a later search on --device: train the networks that fit it (default: all networks of the space).",
)
@device_option
@seed_option()
@folder_option("Output folder (default: results/SPACE-supernet).")
@json_option
@quiet_option
def command(
    space: str,
    data: Path,
    time_s: float | None,
    epochs: int | None,
    fidelity: str,
    recipe: str,
    from_: Path | None,
    from_spec: str | None,
    latency_ms: float | None,
    device: str,
    seed: int,
    output: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train weights that all networks of a space share, for several searches.

    The same command resumes an interrupted training. Without such weights, `mnv2search run --data` trains its own.

    \b
    Example:
      mnv2search supernet --space tiny32 --data photos/ --time 30m -o shared
      mnv2search run --latency-ms 5 --space tiny32 --accuracy supernet:data=photos/,folder=shared
    """
    if time_s is not None and epochs is not None:
        raise click.UsageError("give --epochs or --time")
    from mnv2search.cli.progress import preparing  # late: --help must not pay for it
    from mnv2search.report.training import supernet_json, supernet_lines, supernet_rows
    from mnv2search.untrusted import file_name
    from mnv2search.workflows.training.supernet import train_shared_weights

    folder = output or Path("results") / file_name(f"{Path(space).stem}-supernet")
    with told_what_is_kept(folder), preparing(quiet=quiet or as_json) as tell:
        report = train_shared_weights(
            space,
            data=data,
            folder=folder,
            time_s=None if epochs is not None else time_s or DEFAULT_TIME_S,
            epochs=epochs or 0,
            fidelity=fidelity,
            recipe=recipe,
            weights=from_,
            weights_spec=from_spec or "",
            latency_ms=latency_ms,
            device=device,
            seed=seed,
            tell=tell,
        )
    emit(supernet_json(report), supernet_rows(report), supernet_lines(report), as_json=as_json)
