"""The commands `train` and `supernet`: train a network, or weights that networks share."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Unpack

import click

from mnv2search.cli import options
from mnv2search.cli.interruption import SIGNALS, interrupt
from mnv2search.cli.options import FILE, Positive
from mnv2search.cli.output import emit, note
from mnv2search.errors import StoppedError

if TYPE_CHECKING:
    from mnv2search.results.training import TrainingReport
    from mnv2search.training.distributed import Team
    from mnv2search.workflows.training.api import TrainOptions
    from mnv2search.workflows.training.request import TrainingRequest


@click.command("train")
@click.argument("spec", type=options.SPEC, metavar="[SPEC]", required=False)
@options.data(required=False)
@options.text(
    "--resume",
    metavar="NAME|FOLDER",
    help="Resume a training with its settings, without SPEC and --data.",
    kind=options.RUN,
)
@options.text(
    "--recipe",
    metavar="NAME|FILE",
    help="slim, modern, medium, short, dense, or a YAML file. Default: short for fewer than 12 epochs, medium for "
    "fewer than 30, otherwise modern; dense for detectors and segmenters.",
)
@click.option("--lr", type=Positive(), metavar="RATE", help="Learning rate (overrides the recipe).")
@options.void
@options.epochs("Number of epochs (overrides the recipe).")
@options.time("Wall time of training, such as 30m (overrides epochs).", name="time")
@options.weights(
    "Initial weights: a .pt file of a network with as many rows as SPEC, or as many groups of rows "
    "(a row and the following rows of stride 1 with the same channels); a published checkpoint;",
    spec_help="Network to which the published weights in --from belong (default: SPEC).",
)
@click.option("--distill", type=FILE, metavar="FILE", help="Teacher checkpoint for distillation.")
@options.folder("Output folder (default: results/NAME-trained, where NAME is the name of SPEC).")
@options.seed()
@options.accelerator("train")
@options.choice(
    "--precision",
    ("auto", "float32", "bfloat16", "float16"),
    default="auto",
    help="Precision of convolutions; auto is float32 on a CPU and, on a GPU, half precision if it is clearly faster.",
)
@options.network()
@options.output
def train_command(
    spec: str | None,
    data: Path | None,
    resume: str | None,
    as_json: bool,
    quiet: bool,
    **given: Unpack[TrainOptions],
) -> None:
    """Train the network of SPEC on the images of DATA.

    A classifier learns from folders of classes, a detector from COCO's JSON or Pascal VOC's XML, a segmenter from
    folders of images and masks.

    The folder of -o receives the best weights, best.pt, and a checkpoint after every epoch: the same command, or
    --resume with the folder, resumes the training exactly where it stopped.

    \b
    Example:
      mnv2search train results/mnv2-15ms/ship.yaml --data photos/ --time 30m
    """
    if given["epochs"] is not None and given["time"] is not None:
        raise click.UsageError("give --epochs or --time, not both")
    if resume is None and (spec is None or data is None):
        raise click.UsageError("give SPEC and --data, or --resume")
    from mnv2search.report.training import training_lines, training_rows  # late: --help must not pay for it
    from mnv2search.results.training import report_json
    from mnv2search.training.distributed import joined
    from mnv2search.workflows.training.api import training_request

    with joined(given["accelerator"]) as team, _reported_once(team):
        request = training_request(spec, data, given, team, resume=resume)
        report = _trained(request, quiet=quiet or as_json or not team.is_leader)
    if team.is_leader:
        emit(report_json(report), training_lines(report), *training_rows(report), as_json=as_json)


def _trained(request: TrainingRequest, *, quiet: bool) -> TrainingReport:
    from mnv2search.cli.progress import training
    from mnv2search.workflows.training.train import train_spec

    bar, stops = training(quiet=quiet), stop_requests(processes=request.team.size)
    with told_what_is_kept(request.folder), stops as stop, bar as show:
        return train_spec(replace(request, on_progress=show, on_note=note, stop=stop))


@contextmanager
def _reported_once(team: Team) -> Iterator[None]:
    """Let only the first process of each machine report an error, since all of its processes raise it."""
    from mnv2search.errors import Mnv2SearchError, StoppedError
    from mnv2search.training.distributed import OtherProcessError

    try:
        yield
    except OtherProcessError as error:  # the process that failed reports it
        sys.exit(error.exit_code)
    except StoppedError as error:
        if team.is_leader:
            note(error.message)
        sys.exit(error.exit_code)
    except Mnv2SearchError as error:
        if team.local_rank == 0:
            raise
        sys.exit(error.exit_code)


@click.command("supernet")
@options.space("Search space whose networks share the weights.", required=True)
@options.data()
@options.time("Wall time of the training (default: 10m without --epochs).")
@options.epochs("Number of epochs (instead of --time).")
@options.text(
    "--fidelity",
    metavar="WxR",
    default="auto",
    help="Scale of widths and resolutions while training, such as 0.5x0.75; auto chooses by the time.",
)
@options.text(
    "--recipe",
    metavar="NAME|FILE",
    default="auto",
    help="Recipe of the training; auto is supernet or, with --from, adapt, with a third of the learning rate.",
)
@options.weights(
    "Initial weights: a .pt file of a network with as many rows as the space, or as many groups of rows "
    "(a row and the following rows of stride 1 with the same channels); a published checkpoint;"
)
@click.option(
    "--latency-ms",
    type=Positive(),
    metavar="MS",
    help="Budget of a later search on --device: train the networks that fit it (default: all networks of the space).",
)
@options.device
@options.seed()
@options.folder("Output folder (default: results/SPACE-supernet).")
@options.output
def supernet_command(
    space: str, output: Path | None, epochs: int | None, as_json: bool, quiet: bool, **given: Any
) -> None:
    """Train weights that all networks of a space share, for several searches.

    The same command resumes an interrupted training. Without such weights, `mnv2search run --data` trains its own.

    \b
    Example:
      mnv2search supernet --space tiny32 --data photos/ --time 30m -o shared
      mnv2search run --latency-ms 5 --space tiny32 --accuracy supernet:data=photos/,folder=shared
    """
    if given["time_s"] is not None and epochs is not None:
        raise click.UsageError("give --epochs or --time")
    from mnv2search.cli.progress import preparing  # late: --help must not pay for it
    from mnv2search.report.training import supernet_json, supernet_lines, supernet_rows
    from mnv2search.untrusted import file_name
    from mnv2search.workflows.training.supernet import train_shared_weights

    folder = output or Path("results") / file_name(f"{Path(space).stem}-supernet")
    with told_what_is_kept(folder), preparing(quiet=quiet or as_json) as tell:
        report = train_shared_weights(space, folder=folder, epochs=epochs, tell=tell, **given)
    emit(supernet_json(report), supernet_rows(report), supernet_lines(report), as_json=as_json)


@contextmanager
def stop_requests(*, processes: int) -> Iterator[Callable[[], bool]]:
    """Handle signals; yields a function that returns whether to stop after the current step, with a checkpoint.

    A second signal interrupts a single process without a checkpoint, and a third ends it at once. They do not end
    one of several processes, since one Ctrl-C arrives twice, from the terminal and from torchrun; torchrun kills a
    process that takes too long.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and processes == 1:
            interrupt(number, frame)
        asked = True

    before = [signal.signal(one, ask) for one in SIGNALS]
    try:
        yield lambda: asked
    finally:
        for one, handler in zip(SIGNALS, before, strict=True):
            if signal.getsignal(one) is ask:  # otherwise `interrupt` has changed it
                signal.signal(one, handler)


@contextmanager
def told_what_is_kept(folder: Path) -> Iterator[None]:
    """Report what is kept and how to resume, if a training in `folder` is ended by KeyboardInterrupt."""
    from mnv2search.training.resumption import LAST

    try:
        yield
    except KeyboardInterrupt:
        if (folder / LAST).exists():
            note(f"interrupted; the last checkpoint is kept in {folder}: run the same command to resume")
        else:
            note("interrupted before the first checkpoint; run the same command to start over")
        sys.exit(StoppedError.exit_code)
