"""`mnv2search predict`: draw the predictions of a trained network."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnv2search.cli.options import FILE, folder_option, force_option, json_option
from mnv2search.cli.output import answer, emit_json, note
from mnv2search.cli.parameter_types import NonEmptyPath

if TYPE_CHECKING:
    from mnv2search.errors import DataError
    from mnv2search.results.training import Prediction

SHOWN = 5


@click.command("predict")
@click.argument("model", type=FILE, metavar="MODEL")
@click.argument("images", nargs=-1, required=True, type=NonEmptyPath(), metavar="IMAGE...")
@folder_option("Folder to write the pictures to.", default=Path("predicted"))
@click.option(
    "--score",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    help="Least score of the boxes that are shown.",
)
@click.option(
    "--normalization",
    type=click.Choice(("imagenet", "tensorflow", "unit")),
    help="Normalization of the images (default: that of the training).",
)
@force_option
@json_option
def command(model: Path, images: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Draw the predictions of MODEL, a .pt or .pt2 file, for each IMAGE, a file or a folder of images.

    A PNG file for each image is written to FOLDER: the 30 best boxes with their classes and scores, a mask, or the
    five likeliest classes. Images that cannot be read are reported and skipped; the exit code is then 1.

    \b
    Example:
      mnv2search predict best.pt photos/red/000.png -o predicted
    """
    from mnv2search.workflows.training.predict import predict  # late: --help must not pay for it

    broken: list[DataError] = []
    found = predict(model, images, on_unreadable=broken.append, **options)
    if as_json:
        emit_json([{**asdict(one), "image": str(one.image), "drawn": str(one.drawn)} for one in found])
    else:
        answer(_line(one) for one in found)
    for error in broken:
        note(f"error: {error.message}")
    if broken:
        sys.exit(1)


def _line(prediction: Prediction) -> str:
    from mnv2search.tasks.drawing import MOST_BOXES

    count = len(prediction.found)
    seen = ", ".join(str(one) for one in prediction.found[:SHOWN]) or "nothing"
    more = f" and {count - SHOWN} more" if count > SHOWN else ""
    boxes = sum(one.box is not None for one in prediction.found)
    best = f", the best {MOST_BOXES} of {boxes} boxes" if boxes > MOST_BOXES else ""
    return f"{prediction.image}: {seen}{more}; drawn into {prediction.drawn}{best}"
