"""The commands `run` and `front`: search a space within a measured latency budget, and show a run."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, cast

import click
from click.core import ParameterSource

from mnv2search.cli import options
from mnv2search.cli.names import weights_names
from mnv2search.cli.options import Count, Duration, NonEmptyText, Positive
from mnv2search.cli.output import emit, emit_json, note, printing_to_stderr

if TYPE_CHECKING:
    from mnv2search.report.table_text import TableFormat
    from mnv2search.results.outcome import Outcome
    from mnv2search.workflows.search.options import RunOptions


@click.command("front")
@options.run_folder
@click.option(
    "--all", "shows_all", is_flag=True, help="Show every network, not only one of each group of near-equals."
)
@options.table
def front_command(folder: Path, shows_all: bool, as_json: bool, table_format: TableFormat | None) -> None:
    """Show the Pareto front of a run from its records; nothing is measured.

    FOLDER is the run's folder, or its name in results. Of networks whose accuracies the evidence cannot tell apart,
    only the fastest is shown or, if latencies overlap, the smallest. The most accurate network of the front is always
    shown. --all, --json and --csv list every network; --json and --csv name its
    group of near-equals, too.

    \b
    Example:
      mnv2search front results/mnv2-15ms
    """
    from mnv2search.report.search.run import status_lines
    from mnv2search.workflows.search.api import load_run  # late: --help must not pay for it

    outcome = load_run(folder)
    grouped = not shows_all and table_format != "csv"
    show(outcome, grouped=grouped, as_json=as_json, table_format=table_format)
    if not outcome.front:
        sys.exit(3 if outcome.manifest.status == "nothing fits" else 1)
    for line in status_lines(outcome.manifest.status, outcome.manifest.failure):
        note(line)


def show(outcome: Outcome, *, grouped: bool = True, as_json: bool, table_format: TableFormat | None = None) -> None:
    """Print the result of a run: a JSON document, or tables and the network to ship; see `run_rows` for `grouped`."""
    from mnv2search.report.notebook import outcome_parts
    from mnv2search.report.search.run import run_json
    from mnv2search.results.finetuning import shipped_json

    if as_json:
        document = run_json(outcome.result, folder=outcome.folder, status=outcome.manifest.status)
        emit_json(document | ({} if outcome.finetuned is None else shipped_json(outcome.finetuned)))
    else:
        emit({}, *outcome_parts(outcome, grouped=grouped), as_json=False, table_format=table_format)


SAMPLERS = ("hybrid", "nsga2", "tpe", "gp", "random")
NOTHING_FITS = 3


@click.command("run")
@click.option("--latency-ms", type=Positive(), metavar="MS", help="Upper limit of the measured latency.")
@click.option("--latency-min-ms", type=Positive(), metavar="MS", help="Lower limit of the measured latency.")
@click.option("--params", type=Count(), metavar="N", help="Upper limit of parameters, such as 3.4M.")
@click.option("--madds", type=Count(), metavar="N", help="Upper limit of multiply-adds, such as 300M.")
@click.option("--peak-kb", type=Positive(), metavar="KB", help="Upper limit of peak activation memory, fp32.")
@click.option("--size-kb", type=Positive(), metavar="KB", help="Upper limit of weights, fp32.")
@options.space(
    "Search space: a file, mnv2, mnv2-multipliers, mnasnet, proxyless, tiny32, ssdlite or deeplab-513.",
    default="mnv2",
)
@options.choice(
    "--round-to",
    ("auto", "1", "2", "4", "8", "16", "32"),
    help="Round channel counts to a multiple of this, after the width multiplier; auto measures which multiple is "
    "fastest (up to a minute on top of --time). Default: the space's own multiple, usually 8.",
)
@options.device
@options.text(
    "--data",
    metavar="DATA",
    help="Your images, see `mnv2search data --help`: search for the networks that are best on them.",
)
@options.text(
    "--accuracy",
    metavar="EVALUATOR",
    help="imagenet (an estimate), supernet, train or train-dense (with --data), command:PROGRAM {spec}, "
    "python:module:function, recorded:TABLE, or proxy (a score, not an accuracy). Default: imagenet. With --data: "
    "supernet for classifiers, train-dense for detectors and segmenters.",
)
@options.text(
    "--from",
    "from_",
    kind=NonEmptyText(weights_names, or_file=True),
    metavar="FILE|NAME",
    help="Initial weights for the shared weights or, if candidates are trained separately, for each candidate: a .pt "
    "file of a network with as many rows as the space, or as many groups of rows (a row and the following rows of "
    "stride 1 with the same channels); a published checkpoint; "
    f"{options.NAMED_WEIGHTS}",
)
@options.text(
    "--from-spec",
    metavar="SPEC",
    help="Network to which the published weights in --from belong.",
    kind=options.SPEC,
)
@click.option(
    "--finetune/--no-finetune",
    default=None,
    help="At the end, train the best networks of the search and the obvious networks (MobileNetV2 near the budget "
    "and, with --from, the network of the weights) in rounds with equal numbers of steps, and drop the worse "
    "half after each round. Then train the last network for the rest of --time, and ship it. On by default "
    "with --data. With --accuracy train or train-dense, it is on only if --time is 15m or more.",
)
@click.option("--trials", type=click.IntRange(1), metavar="N", help="Networks to evaluate.")
@click.option(
    "--time",
    type=Duration(),
    metavar="TIME",
    help="Wall time, including every training but not --confirm and --round-to auto. Default: 90s; 20m with --data; "
    "no limit with --trials. Give 30s or more: a shorter time measures only a part of the MobileNetV2 grid, "
    "beginning near the budget. A time too short for one training of a detector or segmenter is refused.",
)
@options.choice("--sampler", SAMPLERS, default="hybrid", help="How the next networks are chosen.")
@options.seed()
@options.text(
    "--name",
    metavar="NAME",
    help="Name of the run's folder (default: space and budget, and device and sampler if they are not the defaults).",
)
@options.text(
    "--resume",
    metavar="NAME",
    help="Resume an interrupted run, or extend a finished one with more --trials or --time.",
    kind=options.RUN,
)
@click.option(
    "--trust",
    is_flag=True,
    help="With --resume: run the programs, connect to the machines and read the data that the folder names, even if "
    "you did not start the run on this machine.",
)
@options.output_dir
@click.option(
    "--confirm/--no-confirm",
    default=None,
    help="At the end, compare each model file of the front with the one that the official converter of the runtime "
    "writes (default: on). This takes time on top of --time; with some converters, minutes.",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    metavar="N",
    help="Evaluate the networks in N worker processes on this machine (default: none; with --storage, 1).",
)
@options.storage(
    "Let workers (`mnv2search worker`) join the run: a file for SQLite (this machine only) or, for other machines, "
    "postgresql://USER:PASSWORD@HOST/DATABASE or grpc://HOST:PORT."
)
@options.text(
    "--weights-store",
    metavar="FOLDER|URL",
    help="Where workers on other machines find the shared weights of a supernet: a folder that all machines reach at "
    "this path, or a URL that fsspec supports, such as s3://BUCKET/FOLDER (default: the folder of the run).",
)
@options.text(
    "--launcher",
    metavar="LAUNCHER",
    default="local",
    help="Where the workers of --workers run: local (this machine), or ray[:cpus=N,gpus=N,only=ROLE] for tasks of a "
    "Ray cluster, with these resources for each worker. RAY_ADDRESS names the cluster; ROLE is accuracy or latency.",
)
@click.option("--force", is_flag=True, help="Start over if the folder holds another run.")
@options.output
def run_command(*, as_json: bool, quiet: bool, **every: Unpack[RunOptions]) -> None:
    """Search for the most accurate networks that run within a latency budget, measured on the device.

    Prints the Pareto front and the network to ship. Then compares the model files of the front with those that the
    official converter of the runtime writes. Repeat the command to resume an interrupted run. Exits with 3 if
    no network is within the limits.

    \b
    Example:
      mnv2search run --latency-ms 15
      mnv2search run --latency-ms 15 --time 30s --name quick
      mnv2search run --latency-ms 5 --space tiny32 --data photos/ --time 30m
    """
    context = click.get_current_context()
    given = cast("RunOptions", {name: value for name, value in every.items() if _is_given(context, name)})
    from mnv2search.cli.progress import searching  # late: --help must not pay for it
    from mnv2search.workflows.search.request import request_of

    folder: list[Path] = []
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        note(text)

    try:
        with searching(quiet=quiet or as_json) as on_progress, printing_to_stderr():
            request = request_of(given, command=("mnv2search", *without_passwords(sys.argv[1:])))
            from mnv2search.workflows.search.run import run  # later: it takes seconds to load

            outcome = run(request, on_progress=on_progress, on_folder=folder.append, on_note=tell)
    except KeyboardInterrupt:
        if folder:
            again = resume_command(
                folder[0],
                workers=given.get("workers"),
                storage=given.get("storage"),
                weights_store=given.get("weights_store"),
                launcher=given.get("launcher"),
            )
            note(f"interrupted; finished evaluations are kept in {folder[0]}\nto resume: {again}")
        else:
            note("interrupted before the run began")
        sys.exit(130)
    show(outcome, as_json=as_json)
    if outcome.result.front and outcome.already_finished and not as_json:
        note("this run was finished before; a longer --time or more --trials extends it", quiet=quiet)
    for text in outcome.notes:
        if text not in told:
            note(text)
    _confirm(outcome, quiet=quiet or as_json)
    if not outcome.result.front:
        sys.exit(NOTHING_FITS)


def without_passwords(words: Sequence[str]) -> tuple[str, ...]:
    """The words of a command line, with the passwords of URLs masked.

    >>> without_passwords(["run", "--storage=postgresql://me:secret@host/runs"])
    ('run', '--storage=postgresql://me:***@host/runs')
    """
    return tuple(re.sub(r"(?<=://)([^/@:]*):[^@]*@", r"\1:***@", word) for word in words)


def _is_given(context: click.Context, name: str) -> bool:
    """Whether an option is given, also by the environment; --precision counts as part of --device."""
    names = (name, "precision") if name == "device" else (name,)
    given = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    return any(context.get_parameter_source(one) in given for one in names)


def resume_command(
    folder: Path,
    *,
    workers: int | None = None,
    storage: str | None = None,
    weights_store: str | None = None,
    launcher: str | None = None,
) -> str:
    """The command line that resumes the run in a folder, with its workers and without passwords of URLs."""
    words = ["mnv2search", "run", "--resume", folder.name]
    if folder.parent == Path():  # a name alone would be looked for in results
        words += ["--output-dir", "."]
    elif folder.parent != Path("results"):
        words[-1] = str(folder)
    given = {"--workers": workers, "--storage": storage, "--weights-store": weights_store, "--launcher": launcher}
    for option, value in given.items():
        if value is not None:
            words += [option, *without_passwords([str(value)])]
    return shlex.join(words)


def _confirm(outcome: Outcome, *, quiet: bool) -> None:
    """Compare front and trained networks with files of the runtime's converter; a failure is only reported."""
    from mnv2search.cli.progress import measuring
    from mnv2search.report.rows import counted
    from mnv2search.results.checks import CONFIRMATION
    from mnv2search.workflows.search.api import confirm_outcome
    from mnv2search.workflows.search.checks.confirm import confirmation_line, disagreements

    with contextlib.ExitStack() as stack:
        bar: list[Callable[[int], None]] = []

        def begin(converter: str, count: int) -> None:
            note(
                f"comparing {counted(count, 'network')} with {converter}: this takes time beyond --time, with some "
                "converters minutes; --no-confirm skips it",
                quiet=quiet,
            )
            bar.append(stack.enter_context(measuring(count, quiet=quiet, verb="confirming")))

        def advance(done: int) -> None:
            bar[0](done)

        try:
            found = confirm_outcome(outcome, on_begin=begin, on_progress=advance)
        except KeyboardInterrupt:
            note("the front was not compared with the official converter of the runtime: interrupted")
            sys.exit(130)
    for text in found.notes[len(outcome.notes) :]:
        note(text)
    if found.confirmations:
        note(confirmation_line(found.confirmations), quiet=quiet)
        for line in disagreements(found.confirmations):
            note(f"  {line}", quiet=quiet)
        note(f"  all values: {outcome.folder / CONFIRMATION}", quiet=quiet)
