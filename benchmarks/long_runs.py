"""Measure CPU time and memory of runs with hundreds to tens of thousands of evaluated networks.

Run: `python benchmarks/long_runs.py [--trials 100,3000,30000] [--more 64] [--space mnv2]`

A short run on the simulated device is extended to each number of trials with records of random networks. Then three
processes are measured: `mnv2search front` shows the run, `mnv2search run --resume` finds it finished, and a search
continues it by `--more` trials. Times are CPU times, and memory is the peak of the process; those of commands include
starting Python. The CPU time per trial is the mean over the additional trials, without the first batch, in
which the sampler reads the records, and without the final measurement.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnv2search.results.records import Record
    from mnv2search.spec.space import SearchSpace
    from mnv2search.study.types import Progress

LATENCY_MS = 5.0
FIRST_TRIALS = 12
CONTINUE = "--continue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """CPU time of a process in s, its peak memory in MB, and its output."""

    cpu_s: float
    peak_mb: float
    out: str


def made_run(root: Path, *, space: str, trials: int) -> Path:
    """The folder of a finished run of `trials` networks, most of them random."""
    import msgspec

    import mnv2search
    from mnv2search.results.manifest import read_manifest, write_manifest
    from mnv2search.results.records import EVALUATIONS, line_of, read_records
    from mnv2search.workflows.search.log import space_of_run
    from mnv2search.workflows.search.run import STUDY_FILE

    folder = mnv2search.run(
        latency_ms=LATENCY_MS,
        device="simulated",
        space=space,
        trials=FIRST_TRIALS,
        output_dir=root,
        name=f"run-{trials}",
        confirm=False,
    ).folder
    manifest, records = read_manifest(folder), read_records(folder)
    write_manifest(folder, replace(manifest, settings=msgspec.structs.replace(manifest.settings, trials=trials)))
    (folder / STUDY_FILE).unlink()
    final = [record for record in records if record.stage.startswith("final")]
    known = [record for record in records if record not in final]
    with (folder / EVALUATIONS).open("w", encoding="utf-8") as file:
        file.writelines(map(line_of, known))
        file.writelines(map(line_of, random_records(space_of_run(folder, manifest), known, trials=trials)))
        file.writelines(map(line_of, final))
    return folder


def random_records(space: SearchSpace, known: Sequence[Record], *, trials: int) -> Iterator[Record]:
    """Yield records of random networks, with simulated latency and estimated accuracy, up to `trials` in total."""
    from mnv2search.accuracy.registry import open_evaluator
    from mnv2search.cost import cost_of
    from mnv2search.evaluation import completed
    from mnv2search.latency.runtimes.simulated import simulated_ms
    from mnv2search.results.records import Record
    from mnv2search.spec.plan import plan
    from mnv2search.spec.space import random_pick, resolve

    random, evaluator, earlier = Random(0), open_evaluator("imagenet"), known[0].evaluation
    assert earlier.latency is not None
    seen = {record.pick for record in known if record.pick}
    while len(seen) < trials:
        pick, number = random_pick(space, random), len(seen)
        if pick in seen:
            continue
        seen.add(pick)
        spec = replace(resolve(space, pick), name=f"{space.name}-{number:04d}")
        ms = simulated_ms(plan(spec))
        latency = replace(earlier.latency, median_ms=ms, ci_low_ms=0.96 * ms, ci_high_ms=1.04 * ms, p90_ms=ms)
        evaluation = completed(
            spec, cost=cost_of(spec), latency=latency, budget=earlier.budget, seed=0, evaluator=evaluator
        )
        yield Record(trial=number, stage="search", evaluation=evaluation, pick=pick)


def spent_by(*words: str) -> Spent:
    """Run a command in a separate process, and measure it."""
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(words)} failed with exit code {process.returncode}")
    return Spent(cpu_s=usage.ru_utime + usage.ru_stime, peak_mb=usage.ru_maxrss / 1024, out=out)


def ms_a_trial(folder: str, trials: int) -> float:
    """CPU time per trial, in ms, of a search that continues a run to `trials` trials."""
    import mnv2search

    spent: dict[int, float] = {}

    def progressed(progress: Progress) -> None:
        spent.setdefault(progress.trials, time.process_time())

    mnv2search.run(resume=folder, trials=trials, confirm=False, on_progress=progressed)
    # the first batch ends when the second begins
    (_, _), (begin, begin_s), *_, (end, end_s) = sorted(spent.items())
    return 1e3 * (end_s - begin_s) / (end - begin)


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", default="100,3000,30000", help="comma-separated")
    parser.add_argument("--more", type=int, default=64, help="trials by which a search continues each run")
    parser.add_argument("--space", default="mnv2", help="name or file of a search space")
    parser.add_argument(CONTINUE, nargs=2, metavar=("FOLDER", "TRIALS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if getattr(arguments, "continue"):
        folder, trials = getattr(arguments, "continue")
        print(ms_a_trial(folder, int(trials)))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Long runs in the space {arguments.space}, simulated device")
    for column in (
        "trials",
        "records MB",
        "front s",
        "MB",
        "--resume s",
        "MB",
        "search ms a trial",
        "MB",
        "study MB",
    ):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as root:
        for trials in map(int, arguments.trials.split(",")):
            table.add_row(*row_of(Path(root), space=arguments.space, trials=trials, more=arguments.more))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    return 0


def row_of(root: Path, *, space: str, trials: int, more: int) -> Iterator[str]:
    """Yield the table cells for one number of trials."""
    from mnv2search.results.records import EVALUATIONS
    from mnv2search.workflows.search.run import STUDY_FILE

    folder = made_run(root, space=space, trials=trials)
    yield f"{trials:,}"
    yield f"{(folder / EVALUATIONS).stat().st_size / 1e6:.1f}"
    for words in (("front", str(folder)), ("run", "--resume", str(folder))):
        spent = spent_by("-m", "mnv2search", *words)
        yield f"{spent.cpu_s:.2f}"
        yield f"{spent.peak_mb:.0f}"
    spent = spent_by(__file__, CONTINUE, str(folder), str(trials + more))
    yield f"{float(spent.out):.1f}"
    yield f"{spent.peak_mb:.0f}"
    yield f"{(folder / STUDY_FILE).stat().st_size / 1e6:.1f}"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
