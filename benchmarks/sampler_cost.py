"""Processor time of a sampler per trial, with 100, 200, 1,000 and 5,000 trials of history.

Run: `python benchmarks/sampler_cost.py [--samplers hybrid,tpe,nsga2,random] [--history 100,200,1000,5000]`

The study of Accel-NASBench's space (28 parameters) is filled with random finished trials, of which the sampler hears
before it is timed, as when a search is resumed. Then 40 trials are asked for and told; what is quoted is their mean,
fits included, and the dearest single trial. Beyond a history of 200 some are slow: tpe takes minutes at 5,000.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass

TRIALS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Processor time of one sampler at one length of history, in ms."""

    mean_ms: float
    most_ms: float
    replay_ms: float


def spent(sampler: str, *, history: int, seed: int) -> Spent:
    """Time `TRIALS` trials after `history` finished ones."""
    import numpy as np
    import optuna
    from search_quality_problems import open_problem, space_of

    from mnv2search.study.sampler import make_sampler

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    problem = open_problem("anb")
    space = space_of(problem)
    rng = np.random.default_rng(seed)
    study = optuna.create_study(
        directions=["maximize", "minimize"],
        sampler=make_sampler(sampler, seed=seed, space=space, describe=problem.describe),
    )
    for _ in range(history):
        choice = tuple(int(rng.integers(card)) for card in problem.cards)
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(zip(space, choice, strict=True)), distributions=space, values=problem.evaluate(choice)
            )
        )
    spent_ms = []
    for _ in range(TRIALS + 1):
        start = time.process_time()
        trial = study.ask(space)
        asked_s = time.process_time() - start
        values = problem.evaluate(tuple(int(trial.params[name]) for name in space))
        start = time.process_time()
        study.tell(trial, list(values))
        spent_ms.append(1e3 * (asked_s + time.process_time() - start))
    replay_ms, *each_ms = spent_ms
    return Spent(mean_ms=sum(each_ms) / len(each_ms), most_ms=max(each_ms), replay_ms=replay_ms)


def main() -> int:
    """Parse, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", default="hybrid,tpe,nsga2,random", help="comma-separated")
    parser.add_argument("--history", default="100,200,1000,5000", help="comma-separated")
    parser.add_argument("--repeats", type=int, default=3, help="studies per figure; the median is quoted")
    arguments = parser.parse_args()
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Sampler CPU ms a trial (mean of {TRIALS} trials, median of {arguments.repeats} studies)")
    for column in ("sampler", "history", "mean", "dearest trial", "first, with replay"):
        table.add_column(column, justify="left" if column == "sampler" else "right")
    for sampler in arguments.samplers.split(","):
        for history in map(int, arguments.history.split(",")):
            runs = [spent(sampler, history=history, seed=seed) for seed in range(arguments.repeats)]
            middle = sorted(runs, key=lambda run: run.mean_ms)[len(runs) // 2]
            times = (f"{ms:.1f}" for ms in (middle.mean_ms, middle.most_ms, middle.replay_ms))
            table.add_row(sampler, str(history), *times)
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
