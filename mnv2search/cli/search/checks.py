"""The commands `verify` and `audit`: check the front of a run, and the accuracies of its search."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from mnv2search.cli import options
from mnv2search.cli.output import emit


@click.command("verify")
@options.run_folder
@options.time()
@options.text(
    "--device",
    kind=options.DEVICE,
    metavar="RUNTIME[:OPTIONS][@HOST]",
    help="Device to measure on (overrides the device of the run).",
)
@click.option(
    "--trust",
    is_flag=True,
    help="Open the device that the folder names, even if you did not start the run on this machine.",
)
@click.option(
    "--repair",
    "repairs",
    is_flag=True,
    help="Move the damaged lines of the run's records to evaluations.jsonl.damaged, so that the run can be resumed; "
    "nothing is measured.",
)
@options.output
def verify_command(
    folder: Path, time: float | None, device: str | None, trust: bool, repairs: bool, as_json: bool, quiet: bool
) -> None:
    """Count, build and measure the front of a run again, and report differences.

    FOLDER is the run's folder, or its name in results. The networks are measured on the device of the run. If
    that device is on another machine and you did not start the run, add --trust to open it, or choose another
    with --device.

    Exits with 1 if a count differs or a network is no longer within the budget.

    \b
    Example:
      mnv2search verify results/mnv2-15ms
    """
    if repairs:
        given = {"--time": time is not None, "--device": device is not None, "--trust": trust}
        if useless := ", ".join(option for option, is_given in given.items() if is_given):
            raise click.UsageError(f"--repair measures nothing: leave out {useless}")
        _repair(folder, as_json=as_json)
        return
    from mnv2search.cli.progress import measuring  # late: --help must not pay for it
    from mnv2search.report.notebook import parts_of
    from mnv2search.report.search.checks import verified_json
    from mnv2search.workflows.search.checks.verify import front_files, verify

    with measuring(len(front_files(folder)), quiet=quiet or as_json) as advance:
        checks = verify(folder, device=device, trust=trust, time=time, on_progress=advance)
    emit(verified_json(checks), *parts_of(checks), as_json=as_json)
    if not all(check.holds for check in checks):
        sys.exit(1)


def _repair(folder: Path, *, as_json: bool) -> None:
    from dataclasses import asdict

    from mnv2search.cli.search.run import resume_command
    from mnv2search.report.rows import counted
    from mnv2search.workflows.search.folder import DAMAGED, repair_run

    found = repair_run(folder)
    lines = [f"line {line.number} is not a record ({line.why})" for line in found.dropped]
    if lines:
        moved = f"moved {counted(len(lines), 'damaged line')} to {folder / DAMAGED}"
        lines += [f"{moved}; {found.kept:,} are kept", f"to resume: {resume_command(folder)}"]
    else:
        lines = [f"nothing to repair: all {found.kept:,} lines of {folder} are records"]
    emit({"folder": str(folder), **asdict(found)}, lines, as_json=as_json)


@click.command("audit")
@click.argument("name", type=options.RUN, metavar="NAME")
@options.data()
@click.option("--members", type=click.IntRange(4), default=8, help="Networks to train.")
@options.epochs("Number of epochs of each training.", default=5)
@options.text("--recipe", metavar="NAME|FILE", default="short", help="Recipe of each training.")
@options.weights(
    "Initial weights of each training (default: random). If the search began with given weights, give the same: a "
    "file;"
)
@options.seed()
@options.output_dir
@options.output
def audit_command(as_json: bool, quiet: bool, **given: Any) -> None:
    """Check whether the accuracies of the run NAME rank networks as separate trainings do.

    Some of its networks, spread over the accuracies that the search found, are trained separately by the same
    recipe. Prints Kendall's and Spearman's rank correlation with their intervals. Repeat the command to resume an
    interrupted audit.

    \b
    Example:
      mnv2search run --latency-ms 5 --space tiny32 --data photos/ --time 30m --name mine
      mnv2search audit mine --data photos/ --members 8 --epochs 5
    """
    from mnv2search.cli.progress import preparing  # late: --help must not pay for it
    from mnv2search.report.notebook import parts_of
    from mnv2search.workflows.search.checks.ranking_audit import audit, ranked_json

    with preparing(quiet=quiet or as_json) as tell:
        found = audit(
            on_progress=lambda network, progress: tell(
                f"training {network}: step {progress.step} of {progress.steps}, loss {progress.loss:.3f}",
                progress.step / progress.steps if progress.steps else 0.0,
            ),
            **given,
        )
    emit(ranked_json(found), *parts_of(found), as_json=as_json)
