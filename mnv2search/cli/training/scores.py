"""`mnv2search scores`: correlate training-free scores with counts."""

from __future__ import annotations

import click

from mnv2search.cli.options import json_option, quiet_option, seed_option
from mnv2search.cli.output import emit
from mnv2search.cli.parameter_types import NonEmptyText


@click.command("scores")
@click.argument("space", type=NonEmptyText(), metavar="SPACE")
@click.option(
    "--score",
    "names",
    type=NonEmptyText(),
    multiple=True,
    metavar="NAME",
    help="naswot, synflow or zen (default: all).",
)
@click.option(
    "-n", "networks", type=click.IntRange(4), default=32, show_default=True, help="Number of networks to draw."
)
@seed_option()
@json_option
@quiet_option
def command(space: str, names: tuple[str, ...], networks: int, seed: int, as_json: bool, quiet: bool) -> None:
    """Correlate training-free scores with depth, multiply-adds and body parameters on networks of SPACE.

    Scores are not accuracies: on another dataset the same score may rank in reverse. Check what a score follows on
    your space before you search with --accuracy proxy:score=NAME.

    \b
    Example:
      mnv2search scores tiny32 -n 8
    """
    from mnv2search.accuracy.scores import SCORES  # late: --help must not pay for it
    from mnv2search.cli.progress import measuring
    from mnv2search.report.scores import score_json, score_lines, score_rows
    from mnv2search.spec.yaml.codec import load_space
    from mnv2search.workflows.training.scores import score_space

    with measuring(networks, quiet=quiet or as_json, verb="scoring") as advance:
        found = score_space(
            load_space(space), scores=names or tuple(SCORES), networks=networks, seed=seed, on_progress=advance
        )
    emit(score_json(found), score_rows(found), score_lines(found), as_json=as_json)
