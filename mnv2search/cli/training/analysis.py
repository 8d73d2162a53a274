"""The commands `data`, `evaluate`, `predict` and `scores`: describe datasets, evaluate, draw, correlate scores."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnv2search.cli import options
from mnv2search.cli.options import FILE, NonEmptyPath, NonEmptyText
from mnv2search.cli.output import emit, note

if TYPE_CHECKING:
    from mnv2search.errors import DataError


@click.command("data")
@click.argument("source", metavar="DATA", type=NonEmptyPath())
@options.seed("Seed of the splits that are drawn.")
@click.option(
    "--task",
    type=click.Choice(("auto", "classification", "detection", "segmentation")),
    default="auto",
    help="Task of the annotations; auto chooses by the layout.",
)
@options.void
@click.option(
    "--anchors",
    is_flag=True,
    help="Fit the anchors of an SSDLite detector at 320 px to the boxes, and print a head to copy into a spec.",
)
@click.option(
    "--files",
    type=NonEmptyPath(dir_okay=False),
    metavar="FILE",
    help="Write a CSV table with the path, split (or unreadable) and class of every image to FILE.",
)
@options.force
@options.output
def data_command(as_json: bool, quiet: bool, **given: Any) -> None:
    """Describe the dataset DATA: classes, counts, sizes and faults.

    DATA is one of these:

    \b
    - a folder with a folder of images for each class, alone or inside
      train/, val/ and test/; or a tar of such a folder
    - a parquet file, or a folder of parquet files
    - a folder saved by Hugging Face datasets
    - hf:OWNER/NAME, a dataset on the Hugging Face hub; add :CONFIG to
      choose a configuration
    - for detection: images with COCO's JSON or Pascal VOC's XML
    - for segmentation: images/ and masks/ with files of the same names

    For a table, add ?label=COLUMN or ?image=COLUMN to choose among several columns.

    \b
    Example:
      mnv2search data photos/
    """
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.report.data import data_json
    from mnv2search.report.notebook import parts_of
    from mnv2search.workflows.training.describe_data import describe_data

    with measuring(0, quiet=quiet or as_json, verb="reading", things="images") as advance:
        found = describe_data(on_progress=advance, **given)
    emit(data_json(found), *parts_of(found), as_json=as_json)


@click.command("predict")
@click.argument("model", type=FILE, metavar="MODEL")
@click.argument("images", nargs=-1, required=True, type=NonEmptyPath(), metavar="IMAGE...")
@options.folder("Folder to write the pictures to.", default=Path("predicted"))
@click.option(
    "--score",
    type=click.FloatRange(0, 1),
    help="Minimum score of the boxes that are shown (default: that with the best F1 on the validation images, or "
    "0.3).",
)
@options.normalization()
@options.force
@options.json
def predict_command(model: Path, images: tuple[Path, ...], as_json: bool, **given: Any) -> None:
    """Draw the predictions of MODEL, a .pt or .pt2 file, for each IMAGE, a file or a folder of images.

    A PNG file for each image is written to FOLDER, with the boxes that reach --score (the 30 best at most), with a
    mask, or with the five most probable classes. Images that cannot be read are reported and skipped; the exit code
    is then 1.

    \b
    Example:
      mnv2search predict best.pt photos/red/000.png -o predicted
    """
    from mnv2search.report.notebook import parts_of  # late: --help must not pay for it
    from mnv2search.workflows.training.predict import predict

    broken: list[DataError] = []
    found = predict(model, images, on_unreadable=broken.append, on_note=note, **given)
    document = [{**asdict(one), "image": str(one.image), "drawn": str(one.drawn)} for one in found]
    emit(document, *parts_of(found), as_json=as_json)
    for error in broken:
        note(f"error: {error.message}")
    if broken:
        sys.exit(1)


@click.command("evaluate")
@click.argument("model", type=FILE, metavar="WEIGHTS")
@options.data("Images to evaluate on; `mnv2search data --help` lists the layouts.")
@options.choice("--split", ("train", "val", "test"), default="test", help="Part of the images.")
@click.option("--seed", type=click.IntRange(0), help="Seed of random splits (default: that of the training, or 0).")
@options.void
@options.normalization()
@options.accelerator("evaluate")
@click.option(
    "-o", "--output", type=FILE, metavar="FILE", help="HTML file for the tables, pictures and worst images."
)
@options.force
@options.output
def evaluate_command(model: Path, as_json: bool, quiet: bool, **given: Any) -> None:
    """Evaluate WEIGHTS, a .pt or .pt2 file, on images: metrics, also of each class, and frequent confusions.

    \b
    Example:
      mnv2search evaluate best.pt --data photos/
    """
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.report.notebook import parts_of
    from mnv2search.results.training import evaluation_json
    from mnv2search.workflows.training.evaluate import evaluate

    with measuring(0, quiet=quiet or as_json, verb="reading", things="images") as advance:
        found = evaluate(model, on_decoded=advance, **given)
    emit(evaluation_json(found), *parts_of(found), as_json=as_json)


@click.command("scores")
@click.argument("space", type=options.SPACE, metavar="SPACE")
@click.option(
    "--score",
    type=NonEmptyText(),
    multiple=True,
    metavar="NAME",
    help="naswot, synflow or zen (default: all).",
)
@click.option("-n", "--networks", type=click.IntRange(4), default=32, help="Number of networks to draw.")
@options.seed()
@options.output
def scores_command(networks: int, as_json: bool, quiet: bool, **given: Any) -> None:
    """Show how closely training-free scores follow depth, multiply-adds and parameters, on networks of SPACE.

    Scores are not accuracies: on another dataset the same score may rank networks in reverse. Check which counts a
    score correlates with on your space before you search with --accuracy proxy:score=NAME.

    \b
    Example:
      mnv2search scores tiny32 -n 8
    """
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.report.networks import score_json
    from mnv2search.report.notebook import parts_of
    from mnv2search.workflows.training.scores import scores

    with measuring(networks, quiet=quiet or as_json, verb="scoring") as advance:
        found = scores(networks=networks, on_progress=advance, **given)
    emit(score_json(found), *parts_of(found), as_json=as_json)
