"""Commands on networks: `check`, `cost`, `catalog` and `compile`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import click

from mnv2search.cli import options
from mnv2search.cli.options import NonEmptyPath
from mnv2search.cli.output import answer_as_is, emit, emit_json, note

if TYPE_CHECKING:
    from mnv2search.report.table_text import TableFormat


@click.command("check")
@click.argument("files", nargs=-1, required=True, type=options.SPEC, metavar="FILE...")
@options.output
def check_command(files: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Check specs and search spaces and report every problem with its place.

    FILE is a YAML file, - for standard input, or a .pt or .pt2 file that mnv2search wrote (its spec is checked).
    Exits with 2 if there is any problem.

    \b
    Example:
      mnv2search check search_spaces/mnv2.yaml
    """
    from mnv2search.workflows.networks import check  # late: --help must not pay for it

    diagnostics = check(files)
    if as_json:
        emit_json([{k: v for k, v in asdict(d).items() if k != "excerpt"} for d in diagnostics])
    else:
        for diagnostic in diagnostics:
            answer_as_is(str(diagnostic))
    if diagnostics:
        sys.exit(2)
    note(f"{len(files)} file{'s' if len(files) > 1 else ''}: no problem found", quiet=quiet or as_json)


@click.command("cost")
@click.argument("specs", nargs=-1, required=True, type=options.SPEC, metavar="SPEC...")
@options.file_precision("Precision that memory is counted for.")
@options.network()
@options.table
def cost_command(
    specs: tuple[str, ...],
    precision: Literal["fp32", "fp16", "int8"],
    as_json: bool,
    table_format: TableFormat | None,
    **choice: Any,
) -> None:
    """Count the parameters, multiply-adds and memory of each SPEC.

    SPEC is a YAML file, a name of `mnv2search catalog`, - for standard input, or a .pt or .pt2 file that mnv2search
    wrote (its spec is used).

    \b
    Example:
      mnv2search cost mobilenet_v2_1.0_224 mobilenet_v2_0.5_160
    """
    from mnv2search.report.notebook import parts_of
    from mnv2search.workflows.networks import costs  # late: --help must not pay for it

    found = costs(specs, precision=precision, **choice)
    document = [{"name": one.spec.name, **asdict(one.cost)} for one in found]
    emit(document, *parts_of(found), as_json=as_json, table_format=table_format)


@click.command("catalog")
@options.text("--family", metavar="TEXT", help="Only networks whose family contains TEXT.")
@options.table
def catalog_command(family: str | None, as_json: bool, table_format: TableFormat | None) -> None:
    """List published networks, with the figures of their publications beside our counts.

    \b
    Example:
      mnv2search catalog --family MobileNetV2
    """
    from mnv2search.report.networks import catalog_json, catalog_rows  # late: --help must not pay for it
    from mnv2search.workflows.networks import catalog

    entries = catalog(family)
    emit(catalog_json(entries), catalog_rows(entries), as_json=as_json, table_format=table_format)


@click.command("compile")
@click.argument("spec", type=options.SPEC, metavar="SPEC")
@click.option(
    "-o",
    "--output",
    multiple=True,
    type=NonEmptyPath(),
    metavar="FILE",
    help="Export the network; the extension .pt, .pt2, .onnx, .tflite, .pte, .mlpackage or .py sets the format. May "
    "be repeated.",
)
@click.option(
    "--weights",
    type=options.WEIGHTS,
    metavar="FILE|NAME",
    help="Weights to load (default: random): a file, a name of `mnv2search weights list`, or imagenet for the "
    "published weights of this network.",
)
@options.file_precision(
    "Precision of the written files. int8: .tflite, .onnx and .pte; fp16: .tflite and .mlpackage."
)
@click.option(
    "--calibration",
    type=NonEmptyPath(),
    metavar="DATA",
    help="Images (at most 128 are used) from which the int8 ranges are computed: a folder, or the training images of "
    "a dataset as for --data. Default: --data, else random numbers.",
)
@options.normalization(
    "Normalization of the images: ImageNet's mean and standard deviation, -1 to 1, or 0 to 1. Default: that of "
    "the weights' training, else imagenet.",
)
@options.data(
    "Evaluate the network and every written file on the test images of DATA: top-1, mAP or mIoU; see "
    "`mnv2search data --help`.",
    required=False,
)
@options.seed("Seed of random weights.")
@options.force
@click.option(
    "--no-fvcore",
    is_flag=True,
    help="Skip the second count by fvcore; the network is then not built, which is faster.",
)
@options.network(head_output=True)
@options.output
def compile_command(spec: str, as_json: bool, quiet: bool, **given: Any) -> None:
    """Print the layers of SPEC and their totals; with -o, also export the network.

    Each written file is loaded again, and its outputs are compared with those of the network. There are two
    exceptions. A .pt2 is compared from the bytes in memory. For a .mlpackage, the program from which it is converted
    is compared.
    SPEC may be a .pt or .pt2 file, whose weights are then used. For NET.yaml without --weights, NET.pt in the same
    folder is used if it exists.

    \b
    Example:
      mnv2search compile mobilenet_v2_1.0_224
      mnv2search compile mobilenet_v2_1.0_224 -o mobilenet_v2.onnx --force
      mnv2search compile ssdlite_mobilenet_v2 --head-output detections -o detector.onnx --force
      mnv2search compile best.pt -o net.tflite --precision int8 --calibration photos/
    """
    from mnv2search.workflows.compile import compile  # late: --help must not pay for it

    compiled = compile(spec, on_note=partial(note, quiet=quiet), **given)
    from mnv2search.report.networks import compiled_json, compiled_notes
    from mnv2search.report.notebook import parts_of

    emit(compiled_json(compiled), *parts_of(compiled), as_json=as_json)
    for line in compiled_notes(compiled):
        note(line, quiet=quiet or as_json)
