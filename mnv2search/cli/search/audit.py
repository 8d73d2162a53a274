"""`mnv2search audit`: a search's accuracies beside trainings."""

from __future__ import annotations

from pathlib import Path

import click

from mnv2search.cli.options import (
    data_option,
    epochs_option,
    json_option,
    output_dir_option,
    quiet_option,
    seed_option,
    weights_options,
)
from mnv2search.cli.output import emit
from mnv2search.cli.parameter_types import NonEmptyText


@click.command("audit")
@click.argument("name", type=NonEmptyText(), metavar="NAME")
@data_option
@click.option("--members", type=click.IntRange(4), default=8, show_default=True, help="Networks to train.")
@epochs_option("Number of epochs of each training.", default=5)
@click.option(
    "--recipe", type=NonEmptyText(), default="short", show_default=True, metavar="NAME|FILE", help="Of each training."
)
@weights_options("First weights of each training, those that the search began with; random ones if left out.")
@seed_option()
@output_dir_option
@json_option
@quiet_option
def command(
    name: str,
    data: Path,
    members: int,
    epochs: int,
    recipe: str,
    from_: Path | None,
    from_spec: str | None,
    seed: int,
    output_dir: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Check whether the accuracies of the run NAME rank networks as trainings of their own do.

    Some of its networks, spread over the accuracies that the search found, are trained on their own by the same
    recipe. Tells Kendall's and Spearman's rank correlation with their intervals. The same command goes on with
    an audit that was interrupted.

    \b
    Example:
      mnv2search run --latency-ms 5 --space tiny32 --data photos/ --time 30m --name mine
      mnv2search audit mine --data photos/ --members 8 --epochs 5
    """
    from mnv2search.cli.progress import preparing  # late: --help must not pay for it
    from mnv2search.recipe import load_recipe
    from mnv2search.report.search.checks import ranked_lines, ranked_rows
    from mnv2search.spec.yaml.codec import load_spec
    from mnv2search.workflows.search.checks.ranking_audit import rank, ranked_json

    folder = Path(name) if Path(name).parent != Path() else output_dir / name
    with preparing(quiet=quiet or as_json) as tell:
        found = rank(
            folder,
            data=data,
            recipe=load_recipe(recipe),
            members=members,
            epochs=epochs,
            seed=seed,
            weights=from_,
            weights_spec=None if from_spec is None else load_spec(from_spec),
            on_progress=lambda network, progress: tell(
                f"training {network}: step {progress.step} of {progress.steps}, loss {progress.loss:.3f}",
                progress.step / progress.steps if progress.steps else 0.0,
            ),
        )
    emit(ranked_json(found), ranked_rows(found), ranked_lines(found), as_json=as_json)
