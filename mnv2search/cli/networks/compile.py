"""`mnv2search compile`: a spec laid out as a network, and written in other formats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mnv2search.cli.options import (
    Choice,
    force_option,
    json_option,
    network_options,
    quiet_option,
    seed_option,
)
from mnv2search.cli.output import answer, emit_json, note, stdout_console

if TYPE_CHECKING:
    from mnv2search.spec.model_spec import ModelSpec


@click.command("compile")
@click.argument("spec", metavar="SPEC")
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the network: .pt, .pt2, .onnx, .tflite, .pte or .py by the ending; may be repeated.",
)
@click.option(
    "--weights", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Weights to load; else random."
)
@click.option(
    "--precision",
    type=click.Choice(("fp32", "fp16", "int8")),
    default="fp32",
    show_default=True,
    help="Of the written files: int8 for .tflite, .onnx and .pte; fp16 for .tflite.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Images that int8 finds its ranges on, 128 at most; else the training images of --data, or random numbers.",
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
    type=click.Path(path_type=Path),
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
def command(
    spec: str,
    outputs: tuple[Path, ...],
    weights: Path | None,
    seed: int,
    precision: str,
    calibration: Path | None,
    normalization: str,
    data: Path | None,
    force: bool,
    no_fvcore: bool,
    choice: Choice,
    as_json: bool,
    quiet: bool,
) -> None:
    """Lay out SPEC as a network: a row per unit, totals, and with -o the network itself.

    Each written file is loaded again and compared with the network. A .pt file, as `mnv2search train` writes it, or a
    .pt2 file may stand for SPEC and --weights. Where --weights is left out and NET.pt stands beside SPEC NET.yaml, as
    a search on images leaves it, its weights are taken.

    \b
    Example:
      mnv2search compile mobilenet_v2_1.0_224
      mnv2search compile mobilenet_v2_1.0_224 -o mobilenet_v2.onnx --force
      mnv2search compile ssdlite_mobilenet_v2 --head-output detections -o detector.onnx --force
      mnv2search compile best.pt -o net.tflite --precision int8 --calibration photos/
    """
    from mnv2search.workflows.export.compile import check_request, compile_spec  # late: --help must not pay for it

    check_request(outputs, force=force, precision=precision, calibration=calibration)
    from mnv2search.cli.specs import SAVED, chosen_spec
    from mnv2search.report.networks.compiled import compiled_json, compiled_notes, compiled_results
    from mnv2search.report.networks.counts import layer_rows
    from mnv2search.report.table import draw
    from mnv2search.spec.heads.outputs import answering

    if spec.endswith(SAVED):
        if weights is not None or choice != Choice(head_output=choice.head_output):
            raise click.UsageError(f"{spec} holds its own spec and weights: leave out what would change them")
        from mnv2search.model.saved import read_spec

        network, weights = read_spec(Path(spec)), Path(spec)
    else:
        network = chosen_spec(spec, replace(choice, head_output=None))
        if weights is None and outputs and Path(spec).with_suffix(".pt") not in outputs:
            weights = _weights_beside(spec, network, quiet=quiet)
    if choice.head_output is not None:
        network = answering(network, choice.head_output)
    compiled = compile_spec(
        network,
        outputs=outputs,
        weights=weights,
        seed=seed,
        force=force,
        with_fvcore=not no_fvcore,
        precision=precision,
        calibration=calibration,
        normalization=normalization,
        data=data,
    )
    if as_json:
        emit_json(compiled_json(compiled))
        return
    draw(layer_rows(compiled.plan), stdout_console())
    answer(compiled_results(compiled))
    for line in compiled_notes(compiled):
        note(line, quiet=quiet)


def _weights_beside(spec: str, network: ModelSpec, *, quiet: bool) -> Path | None:
    """The file of weights that stands beside a spec and holds that very network; says so, or why it is not taken."""
    beside = Path(spec).with_suffix(".pt")
    if not spec.endswith((".yaml", ".yml")) or not beside.is_file():
        return None
    from mnv2search.errors import WeightsError
    from mnv2search.model.saved import read_spec

    try:
        held = read_spec(beside)
    except WeightsError as error:
        note(f"{error.message}: the weights are random", quiet=quiet)
        return None
    if held != network:
        note(f"{beside} beside the spec holds another network: the weights are random", quiet=quiet)
        return None
    note(f"weights: {beside}, which stands beside the spec", quiet=quiet)
    return beside
