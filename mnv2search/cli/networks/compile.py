"""`mnv2search compile`: a spec laid out as a network, and written in other formats."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from mnv2search.cli.options import FILE, FOLDER, force_option, json_option, network_options, quiet_option, seed_option
from mnv2search.cli.output import answer, emit_json, note, stdout_console
from mnv2search.cli.parameter_types import NonEmptyPath, NonEmptyText


@click.command("compile")
@click.argument("spec", type=NonEmptyText(), metavar="SPEC")
@click.option(
    "-o",
    "--output",
    multiple=True,
    type=FILE,
    metavar="FILE",
    help="Write the network: .pt, .pt2, .onnx, .tflite, .pte or .py by the ending; may be repeated.",
)
@click.option("--weights", type=FILE, metavar="FILE", help="Weights to load; else random.")
@click.option(
    "--precision",
    type=click.Choice(("fp32", "fp16", "int8")),
    default="fp32",
    show_default=True,
    help="Of the written files: int8 for .tflite, .onnx and .pte; fp16 for .tflite.",
)
@click.option(
    "--calibration",
    type=FOLDER,
    metavar="DIR",
    help="Images that set the int8 ranges (at most 128). Default: the training images of --data, else random "
    "numbers.",
)
@click.option(
    "--normalization",
    type=click.Choice(("imagenet", "tensorflow", "unit")),
    default="imagenet",
    show_default=True,
    help="Of those images: ImageNet's mean and deviation, -1 to 1, or 0 to 1.",
)
@click.option(
    "--data",
    type=NonEmptyPath(),
    metavar="DATA",
    help="Evaluate the network and every written file on the test images of DATA: top-1, mAP or mIoU; see "
    "`mnv2search data --help`.",
)
@seed_option("Seed of random weights.")
@force_option
@click.option("--no-fvcore", is_flag=True, help="Leave out fvcore's count, which has to build the network.")
@network_options(head_output=True)
@json_option
@quiet_option
def command(spec: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Lay out SPEC as a network: a row per unit, totals, and with -o the network itself.

    Each written file is loaded again and compared with the network. SPEC may be a .pt or .pt2 file; it brings its
    weights. For NET.yaml without --weights, NET.pt beside it is used if it exists.

    \b
    Example:
      mnv2search compile mobilenet_v2_1.0_224
      mnv2search compile mobilenet_v2_1.0_224 -o mobilenet_v2.onnx --force
      mnv2search compile ssdlite_mobilenet_v2 --head-output detections -o detector.onnx --force
      mnv2search compile best.pt -o net.tflite --precision int8 --calibration photos/
    """
    from mnv2search.workflows.export.compile import compile  # late: --help must not pay for it

    compiled = compile(spec, on_note=partial(note, quiet=quiet), **options)
    from mnv2search.report.networks import compiled_json, compiled_notes, compiled_results, layer_rows
    from mnv2search.report.table import draw

    if as_json:
        emit_json(compiled_json(compiled))
        return
    draw(layer_rows(compiled.plan), stdout_console())
    answer(compiled_results(compiled))
    for line in compiled_notes(compiled):
        note(line, quiet=quiet)
