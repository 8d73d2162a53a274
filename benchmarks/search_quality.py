"""Hypervolume share of our sampler and plain ones after 50, 100, 200 evaluations of problems with known answers.

Run: `python benchmarks/search_quality.py [--seeds 20] [--problem nbm] [--samplers hybrid,tpe,nsga2] [--workers 0,8]`

Every sampler is asked and told through the same Optuna study as a search of this package. The share is that of the
true front (`nbm`, NAS-Bench-Macro) or of the best known one (`anb`, Accel-NASBench); accuracies come from tables, so
only the sampler's choices and processor time are measured. With `--workers`, networks are evaluated in parallel, in
simulated time, and finish in any order.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from search_quality_problems import PROBLEMS, Problem, open_problem, shared_data, space_of

AT = (50, 100, 200)
DEFAULT_SAMPLERS = ("hybrid", "tpe", "nsga2", "random")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One search: its shares of the front's hypervolume at `AT`, and the sampler's processor time a trial."""

    problem: str
    sampler: str
    workers: int
    seed: int
    shares: tuple[float, ...]
    distinct: int
    sampler_ms: float


def searched(
    problem: Problem, sampler: str, *, seed: int, trials: int, workers: int = 0
) -> tuple[list[tuple[int, ...]], float]:
    """The networks evaluated, in the order of their results, and the processor time of asking and telling, in s.

    With workers, that many networks are evaluated in parallel, for random durations (coefficient of variation about a
    half), and as many others wait as in a run with workers.
    """
    import optuna

    from mnv2search.study.sampler import make_sampler
    from mnv2search.study.workers.pool import wanted_by

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space, durations = space_of(problem), np.random.default_rng(seed)
    study = optuna.create_study(
        directions=["maximize", "minimize"],
        sampler=make_sampler(sampler, seed=seed, space=space, describe=problem.describe),
    )
    evaluated: list[tuple[int, ...]] = []
    waiting: deque[optuna.Trial] = deque()
    running: list[tuple[float, int, optuna.Trial]] = []
    now = busy_s = 0.0
    asked = 0
    while len(evaluated) < trials:
        start = time.process_time()
        while asked < trials and len(waiting) + len(running) < (wanted_by(workers) if workers else 1):
            waiting.append(study.ask(space))
            asked += 1
        busy_s += time.process_time() - start
        while waiting and len(running) < max(1, workers):
            trial = waiting.popleft()
            heapq.heappush(running, (now + durations.lognormal(sigma=0.5), trial.number, trial))
        now, _, trial = heapq.heappop(running)
        choice = tuple(int(trial.params[name]) for name in space)
        accuracy, cost = problem.evaluate(choice)
        evaluated.append(choice)
        start = time.process_time()
        study.tell(trial, [accuracy, cost])
        busy_s += time.process_time() - start
    return evaluated, busy_s


def result_of(task: tuple[str, str, int, int]) -> Result:
    """The result of one (problem, sampler, workers, seed)."""
    name, sampler, workers, seed = task
    problem = open_problem(name)
    evaluated, busy_s = searched(problem, sampler, seed=seed, trials=AT[-1], workers=workers)
    return Result(
        problem=name,
        sampler=sampler,
        workers=workers,
        seed=seed,
        shares=tuple(problem.share(evaluated[:count]) for count in AT),
        distinct=len(set(evaluated)),
        sampler_ms=1e3 * busy_s / len(evaluated),
    )


def show(results: Sequence[Result], *, seeds: int) -> None:
    """Print a table: a row per problem and sampler, median and quartiles."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Share of the front's hypervolume, median and quartiles of {seeds} seeds")
    table.add_column("problem")
    table.add_column("sampler")
    table.add_column("workers", justify="right")
    for count in AT:
        table.add_column(f"after {count}", justify="right")
    table.add_column("distinct", justify="right")
    table.add_column("CPU ms/trial", justify="right")
    for key in dict.fromkeys((r.problem, r.sampler, r.workers) for r in results):
        rows = [r for r in results if (r.problem, r.sampler, r.workers) == key]
        problem, sampler, workers = key
        low, middle, high = np.quantile([r.shares for r in rows], (0.25, 0.5, 0.75), axis=0)
        shares = [f"{m:.4f} [{a:.3f}–{b:.3f}]" for a, m, b in zip(low, middle, high, strict=True)]
        distinct = f"{np.median([r.distinct for r in rows]):.0f}"
        table.add_row(
            problem,
            sampler,
            str(workers or "serial"),
            *shares,
            distinct,
            f"{np.median([r.sampler_ms for r in rows]):.1f}",
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="searches of each sampler on each problem")
    parser.add_argument("--first-seed", type=int, default=0, help="the hyperparameters were chosen on seeds from 100")
    parser.add_argument("--problem", action="append", choices=PROBLEMS, help="default: both")
    parser.add_argument("--samplers", default=",".join(DEFAULT_SAMPLERS), help="comma-separated")
    parser.add_argument("--workers", default="0", help="comma-separated; 0 evaluates one network after the other")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, help="write every search's result as JSON")
    arguments = parser.parse_args()
    if not (shared_data() / "search_problems.py").exists():
        print(f"no {shared_data()}/search_problems.py; set MNV2SEARCH_SHARED", file=sys.stderr)
        return 2
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the workers load numpy: they share the cores
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    tasks = [
        (problem, sampler, workers, seed)
        for problem in arguments.problem or PROBLEMS
        for sampler in arguments.samplers.split(",")
        for workers in map(int, arguments.workers.split(","))
        for seed in seeds
    ]
    with get_context("spawn").Pool(arguments.processes) as pool:
        results = pool.map(result_of, tasks, chunksize=1)
    show(results, seeds=arguments.seeds)
    if arguments.output:
        arguments.output.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
