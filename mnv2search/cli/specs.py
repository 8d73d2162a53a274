"""Commands that make, draw, explain and compare specs: `spec`, `draw`, `explain` and `diff`."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnv2search.cli import options
from mnv2search.cli.options import NonEmptyPath
from mnv2search.cli.output import answer_as_is, emit, emit_json, note

if TYPE_CHECKING:
    from mnv2search.report.table_text import TableFormat


@click.command("spec")
@click.argument("source", type=options.SPEC, metavar="NAME")
@click.option(
    "-o", "--output", type=NonEmptyPath(dir_okay=False), metavar="FILE", help="YAML file to write (default: print)."
)
@options.text(
    "--name", metavar="TEXT", help="Name of the network (default: the source's, with --random followed by the seed)."
)
@options.network(head_output=True, classes=True)
@click.option("--random", is_flag=True, help="Draw at random every choice that is not picked.")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Seed of --random (default: 0).")
@options.force
@options.output
def spec_command(source: str, output: Path | None, as_json: bool, quiet: bool, **given: Any) -> None:
    """Write the spec of one network as YAML: published, edited or drawn at random.

    NAME is a name of `mnv2search catalog`, a search space, a YAML file, - for standard input, or a .pt or .pt2 file
    that mnv2search wrote.

    \b
    Example:
      mnv2search spec mobilenet_v2_1.0_224 --width 0.5 --classes 5
      mnv2search spec mnv2 --random --seed 3 -o drawn.yaml
    """
    from mnv2search.cost import cost_of  # late: --help must not pay for it
    from mnv2search.spec.yaml.codec import dumps
    from mnv2search.workflows.make_spec import make_spec

    spec = make_spec(source, output=output, **given)
    if as_json:
        file = None if output is None else str(output)
        emit_json({"name": spec.name, "file": file, "yaml": dumps(spec), **asdict(cost_of(spec))})
    elif output is None:
        answer_as_is(dumps(spec).rstrip("\n"))
    else:
        note(f"wrote {output}", quiet=quiet)


@click.command("draw")
@click.argument("spec", type=options.SPEC, metavar="SPEC")
@click.option(
    "-o",
    "--output",
    type=NonEmptyPath(dir_okay=False),
    metavar="FILE",
    help="Picture to write; the extension .svg or .png sets the format. Optional with --json.",
)
@options.network(head_output=True)
@options.force
@options.output
def draw_command(spec: str, output: Path | None, as_json: bool, quiet: bool, **given: Any) -> None:
    """Draw the block diagram of SPEC as an SVG or PNG file.

    The picture shows the blocks from the input to the outputs with their numbers t, c, n, s and k, the sizes of the
    maps between them, residuals, the branches of a detector or segmenter, and the parameters and multiply-adds of
    each block. Identical consecutive blocks are one box. An SVG follows the light or dark theme of its viewer. --json
    prints the boxes.

    \b
    Example:
      mnv2search draw mobilenet_v2_1.0_224 -o mobilenet_v2.svg --force
    """
    from mnv2search.report.diagram.boxes import diagram_json  # late: --help must not pay for it
    from mnv2search.workflows.draw import draw

    if output is None and not as_json:
        raise click.UsageError("there is no picture to write: give -o NET.svg or -o NET.png, or --json for the boxes")
    diagram = draw(spec, output=output, **given)
    if as_json:
        emit_json({**diagram_json(diagram.plan), "file": None if output is None else str(output)})
    else:
        note(f"wrote {output}", quiet=quiet)


@click.command("explain")
@click.argument("spec", type=options.SPEC, metavar="SPEC")
@options.prediction
@click.option(
    "--measure",
    is_flag=True,
    help="Measure the time of every stage on --device with the profiler of ONNX Runtime or OpenVINO.",
)
@options.network(head_output=True)
@options.table
@options.quiet
def explain_command(spec: str, as_json: bool, table_format: TableFormat | None, quiet: bool, **given: Any) -> None:
    """Show the parameters, multiply-adds, memory and time of every stage of SPEC.

    A stage is the stem, a row, the last convolution or the head. Times are predicted only with --device, from earlier
    measurements of other networks; see `mnv2search device-profile --help`. With --measure, times are also measured.

    \b
    Example:
      mnv2search explain mobilenet_v2_1.0_224
    """
    from mnv2search.report.notebook import parts_of  # late: --help must not pay for it
    from mnv2search.report.stages.explanation import explanation_json
    from mnv2search.workflows.explain import explain

    found = explain(spec, on_note=partial(note, quiet=quiet), **given)
    emit(explanation_json(found), *parts_of(found), as_json=as_json, table_format=table_format)


@click.command("diff")
@click.argument("before", type=options.SPEC, metavar="A")
@click.argument("after", type=options.SPEC, metavar="B")
@options.prediction
@options.table
@options.quiet
def diff_command(
    before: str, after: str, as_json: bool, table_format: TableFormat | None, quiet: bool, **given: Any
) -> None:
    """Compare two networks row by row, with the effect on parameters, multiply-adds, memory and predicted latency.

    A and B are YAML files, names of `mnv2search catalog`, or .pt or .pt2 files that mnv2search wrote; one of them may
    be - for standard input. Similar blocks at the same resolution are paired, and shown by row; `2-3/4` in a stage
    name means blocks 2 and 3 of the 4 of that row.

    \b
    Example:
      mnv2search diff mobilenet_v2_1.0_224 mobilenet_v2_0.5_160
    """
    from mnv2search.report.notebook import parts_of
    from mnv2search.report.stages.spec_diff import diff_json
    from mnv2search.workflows.diff import diff  # late: --help must not pay for it

    found = diff(before, after, on_note=partial(note, quiet=quiet), **given)
    emit(diff_json(found), *parts_of(found), as_json=as_json, table_format=table_format)
