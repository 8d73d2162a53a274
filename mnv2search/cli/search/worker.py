"""The command `worker`: evaluate networks of a search that runs in another process."""

from __future__ import annotations

from typing import Any

import click

from mnv2search.cli import options
from mnv2search.cli.output import emit, note, printing_to_stderr

ROLES = ("accuracy", "latency")


@click.command("worker")
@click.argument("name", type=options.RUN, metavar="NAME")
@options.storage(
    "Storage of the run, as given to `mnv2search run`: a file, postgresql://USER:PASSWORD@HOST/DATABASE, or "
    "grpc://HOST:PORT.",
    required=True,
)
@options.text(
    "--device",
    kind=options.DEVICE,
    metavar="RUNTIME[:OPTIONS][@HOST]",
    help="Device to measure on (default: the device of the run). Its hardware, runtime, version, threads and "
    "precision must be those of the run's device.",
)
@options.choice(
    "--only", ROLES, help="Determine only accuracies or only latencies; other workers determine the rest."
)
@click.option(
    "--wait",
    type=options.Duration(),
    metavar="TIME",
    help="Longest time to wait until the storage can be reached and has the run, such as 10m (default: do not wait).",
)
@click.option(
    "--trust",
    is_flag=True,
    help="Run the programs, connect to the machines and read the data that the run names, even if you did not start "
    "the run on this machine.",
)
@options.output
def worker_command(name: str, as_json: bool, quiet: bool, **given: Any) -> None:
    """Evaluate networks of the run NAME until it ends.

    Start the run with the same --storage first. Any number of workers may join or leave at any time: if a worker is
    interrupted or killed, its network is given to another worker.

    \b
    Example:
      mnv2search run --latency-ms 15 --trials 200 --name team --storage shared.sqlite3
      mnv2search worker team --storage shared.sqlite3
    """
    from dataclasses import asdict

    from mnv2search.report.rows import counted  # late: --help must not pay for it
    from mnv2search.workflows.search.workers import join_run

    def told(network: str, count: int) -> None:
        note(f"evaluating {network}; {counted(count, 'network')} finished", quiet=quiet or as_json)

    with printing_to_stderr():
        done = join_run(name, on_progress=told, **given)
    ended = done.status if done.status != "running" else "lost: its process was killed"
    lines = [f"{done.worker} evaluated {counted(done.evaluated, 'network')}; the run {name} is {ended}"]
    emit(asdict(done), lines, as_json=as_json)
