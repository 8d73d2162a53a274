"""`mnv2search data`: a set of images described."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from mnv2search.cli.options import json_option, quiet_option, seed_option, void_option
from mnv2search.cli.output import answer, emit_json, stdout_console

if TYPE_CHECKING:
    from mnv2search.data.scenes import Task


@click.command("data")
@click.argument("source", metavar="DATA", type=click.Path(path_type=Path))
@seed_option("Seed of the split, where the data has none.")
@click.option(
    "--task",
    type=click.Choice(("auto", "classification", "detection", "segmentation")),
    default="auto",
    show_default=True,
    help="What the annotations are for; auto tells by the layout.",
)
@void_option
@json_option
@quiet_option
def command(source: Path, seed: int, task: str, void: int, as_json: bool, quiet: bool) -> None:
    """Describe the images of DATA: classes, counts, sizes, and what is wrong with them.

    DATA is a folder with a folder of images per class, alone or inside train/, val/ and test/, or a tar of one; a
    parquet file or a folder of them; a folder saved by Hugging Face datasets; or hf:OWNER/NAME on their hub, with
    :CONFIG where it has several. Add ?label=COLUMN or ?image=COLUMN where a table has several that may be meant.
    For detection: COCO's JSON or Pascal VOC's XML; for segmentation: images/ and masks/ of the same names.

    \b
    Example:
      mnv2search data photos/
    """
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.data.prepare import image_folder
    from mnv2search.data.readers.scene_sets import task_in
    from mnv2search.report.data import class_rows, data_json, data_lines
    from mnv2search.report.scene_data import scene_json, scene_lines, scene_rows
    from mnv2search.report.table import draw
    from mnv2search.workflows.training.data import describe
    from mnv2search.workflows.training.scene_data import describe_scenes

    meant = task_in(source, unpack_to=image_folder()) if task == "auto" else task
    with measuring(0, quiet=quiet or as_json, verb="reading", things="images") as advance:
        if meant in ("detection", "segmentation"):
            scenes = describe_scenes(source, cast("Task", meant), seed=seed, void=void, on_progress=advance)
            document, rows, lines = scene_json(scenes), scene_rows(scenes), scene_lines(scenes)
        else:
            found = describe(source, seed=seed, on_progress=advance)
            document, rows, lines = data_json(found), class_rows(found), data_lines(found)
    if as_json:
        emit_json(document)
        return
    draw(rows, stdout_console())
    answer(lines)
