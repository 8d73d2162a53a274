"""`mnv2search data`: a set of images described."""

from __future__ import annotations

from pathlib import Path

import click

from mnv2search.cli.options import json_option, quiet_option
from mnv2search.cli.output import answer, emit_json, stdout_console


@click.command("data")
@click.argument("source", metavar="DATA", type=click.Path(path_type=Path))
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of parts that are drawn.")
@json_option
@quiet_option
def command(source: Path, seed: int, as_json: bool, quiet: bool) -> None:
    """Describe the images of DATA: classes, counts, sizes, and what is wrong with them.

    DATA is a folder with a folder of images per class, alone or inside train/, val/ and test/, or a tar of one; a
    parquet file or a folder of them; a folder saved by Hugging Face datasets; or hf:OWNER/NAME on their hub, with
    :CONFIG where it has several. Add ?label=COLUMN or ?image=COLUMN where a table has several that may be meant.

    \b
    Example:
      mnv2search data photos/
    """
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.jobs.data import describe
    from mnv2search.report.data import class_rows, data_json, data_lines
    from mnv2search.report.table import draw

    with measuring(0, quiet=quiet or as_json, verb="reading", things="images") as advance:
        found = describe(source, seed=seed, on_progress=advance)
    if as_json:
        emit_json(data_json(found))
        return
    draw(class_rows(found), stdout_console())
    answer(data_lines(found))
