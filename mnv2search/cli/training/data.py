"""`mnv2search data`: describe a dataset."""

from __future__ import annotations

from pathlib import Path

import click

from mnv2search.cli.options import json_option, quiet_option, seed_option, void_option
from mnv2search.cli.output import emit
from mnv2search.cli.parameter_types import NonEmptyPath


@click.command("data")
@click.argument("source", metavar="DATA", type=NonEmptyPath())
@seed_option("Seed of the splits that are drawn.")
@click.option(
    "--task",
    type=click.Choice(("auto", "classification", "detection", "segmentation")),
    default="auto",
    show_default=True,
    help="Task of the annotations; auto chooses by the layout.",
)
@void_option
@json_option
@quiet_option
def command(source: Path, seed: int, task: str, void: int, as_json: bool, quiet: bool) -> None:
    """Describe the dataset DATA: classes, counts, sizes and faults.

    DATA is a folder with a folder of images per class, alone or inside train/, val/ and test/, or a tar of one; a
    parquet file or a folder of them; a folder saved by Hugging Face datasets; or hf:OWNER/NAME on their hub, with
    :CONFIG to choose a configuration. Add ?label=COLUMN or ?image=COLUMN to choose among several columns of a table.
    For detection: COCO's JSON or Pascal VOC's XML; for segmentation: images/ and masks/ of the same names.

    \b
    Example:
      mnv2search data photos/
    """
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.report.data import data_json, data_lines, data_rows
    from mnv2search.workflows.training.describe_data import describe_data

    with measuring(0, quiet=quiet or as_json, verb="reading", things="images") as advance:
        found = describe_data(source, task, seed=seed, void=void, on_progress=advance)
    emit(data_json(found), data_rows(found), data_lines(found), as_json=as_json)
