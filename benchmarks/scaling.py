"""Trials per second and coordination overhead of a run with many workers; evaluations are simulated by sleeping.

Run: `python benchmarks/scaling.py [--workers 1,2,4,8,32] [--seconds 0.01,0.1,1] [--storage sqlite,postgresql,grpc]
[--history 100,1000,10000,100000] [--rounds 20]`

For each length of history, number of workers and duration of an evaluation, a study with a history of that many
finished trials is written; then each worker evaluates `--rounds` networks on average. Workers are processes on this
machine that run the loop of `mnv2search worker`. The run consists only of the pool of workers and a list of networks,
without a sampler and without records. *Overhead* is the time per trial in which a worker does not evaluate;
*efficiency* is the share of the time in which it does. CPU times are per trial, for the process of the run and for
the workers, without the database. PostgreSQL and the proxy run on this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from mnv2search.accuracy.types import Accuracy
from mnv2search.latency.runtimes.simulated import SimulatedDevice
from mnv2search.latency.types import Latency
from mnv2search.study.types import Worker
from mnv2search.study.workers.heartbeat import beating
from mnv2search.study.workers.jobs import Answer, Job, Presence, RunDescription
from mnv2search.study.workers.pool import Pending, WorkerPool
from mnv2search.study.workers.shared_study import ANSWER, JOB, MOST_TRIALS, TAKEN_BY, SharedStudy
from mnv2search.study.workers.storage_url import close_storage, open_storage
from mnv2search.study.workers.trials import ATTRIBUTES, TRIALS
from mnv2search.study.workers.worker import work

STORAGES = ("sqlite", "postgresql", "grpc")
AXES = 20
PROXY = """
import sys, warnings
from concurrent.futures import ThreadPoolExecutor
from mnv2search.study.workers.storage_url import open_storage
from optuna.storages import get_storage, run_grpc_proxy_server
warnings.simplefilter("ignore")
pool = ThreadPoolExecutor(max_workers=10)
storage = get_storage(open_storage(sys.argv[1]))  # reads finished trials once
run_grpc_proxy_server(storage, host="127.0.0.1", port=int(sys.argv[2]), thread_pool=pool)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleeper:
    """An evaluator of networks that only sleeps."""

    seconds: float

    def is_ready(self, weights: str | None) -> bool:
        """It needs no weights."""
        del weights
        return True

    def answer(self, job: Job, *, worker: Worker, clock: object) -> Answer:
        """Sleep, and return an answer that depends only on the number of the network."""
        del clock
        time.sleep(self.seconds)
        return answer_of(job, worker, elapsed_s=self.seconds)


def answer_of(job: Job, worker: Worker, *, elapsed_s: float) -> Answer:
    """An answer of realistic size."""
    ms = 2.0 + job.number % 7
    latency = Latency(
        median_ms=ms,
        ci_low_ms=0.98 * ms,
        ci_high_ms=1.02 * ms,
        p90_ms=1.1 * ms,
        samples=90,
        dropped=0,
        kind="measured",
        device=SimulatedDevice().info,
        taken_at="2026-01-01T00:00:00+00:00",
    )
    accuracy = Accuracy(value=0.7, low=0.68, high=0.72, metric="top1", kind="reported", dataset="images", seed=0)
    return Answer(worker=worker, latency=latency, accuracy=accuracy, is_whole=True, elapsed_s=elapsed_s)


def job_of(number: int) -> Job:
    """A network of a space with `AXES` axes."""
    pick = tuple((number >> axis) & 1 for axis in range(AXES))
    return Job(number=number, name=f"network-{number:06d}", stage="search", pick=pick)


def run_worker(url: str, name: str, number: int, seconds: float) -> None:
    """Run a worker; called in its process."""
    worker = Worker(name=f"worker-{number}", host="here")
    with SharedStudy.join(url, name) as study:
        work(study, Sleeper(seconds=seconds), Presence(worker=worker), told=lambda *_: None)  # type: ignore[arg-type]


def write_history(url: str, study: SharedStudy, count: int) -> None:
    """Add finished trials to a study, in parts as a run does."""
    import msgspec
    from optuna.storages import RDBStorage
    from optuna.trial import TrialState
    from sqlalchemy import func, insert, select

    storage, worker = open_storage(url), Worker(name="earlier", host="here")
    assert isinstance(storage, RDBStorage)
    with storage.engine.connect() as connection:
        first = (connection.execute(select(func.max(TRIALS.c.trial_id))).scalar() or 0) + 1
    for begin in range(0, count, MOST_TRIALS):
        study._add_part()
        study_id = list(study._parts)[-1]
        trials, attributes = [], []
        for number, trial_id in enumerate(range(first + begin, first + min(begin + MOST_TRIALS, count))):
            job = job_of(trial_id)
            trials.append(
                {"trial_id": trial_id, "number": number, "study_id": study_id, "state": TrialState.COMPLETE}
            )
            values = {JOB: job, TAKEN_BY: worker.name, ANSWER: answer_of(job, worker, elapsed_s=1.0)}
            attributes += [
                {"trial_id": trial_id, "key": key, "value_json": msgspec.json.encode(value).decode()}
                for key, value in values.items()
            ]
        with storage.engine.begin() as connection:
            connection.execute(insert(TRIALS), trials)
            connection.execute(insert(ATTRIBUTES), attributes)
    with storage.engine.begin() as connection:
        if storage.engine.name == "postgresql":
            connection.exec_driver_sql(f"ALTER SEQUENCE trials_trial_id_seq RESTART WITH {first + count}")
    study.unfinished()  # closes the parts
    close_storage(storage)


def measured(
    url: str, database: str, name: str, *, workers: int, seconds: float, history: int, rounds: int
) -> list[str]:
    """Run with workers, and return the results as cells of a row."""
    # a process that has used gRPC cannot be forked
    start = multiprocessing.get_context("spawn").Process
    if not url.startswith("grpc"):
        start = multiprocessing.get_context("fork").Process  # type: ignore[assignment]
    trials = workers * rounds
    described = RunDescription(name=name, created_at="now", manifest="{}", work="")
    with SharedStudy.create(database, described, replaces=True) as study:
        write_history(database, study, history)
    processes = [start(target=run_worker, args=(url, name, i, seconds)) for i in range(workers)]
    for process in processes:
        process.start()
    with SharedStudy.join(url, name) as study:
        while len(study.presences()) < workers:
            time.sleep(0.1)
        pool, jobs = WorkerPool(study=study, count=workers, noted=print), iter(range(history, history + trials))
        begin, begin_cpu, done = time.perf_counter(), time.process_time(), 0
        with beating(study.beat):  # otherwise the workers leave after a minute
            while done < trials:
                while len(pool.pending) < pool.wanted and (number := next(jobs, None)) is not None:
                    pool.submit(Pending(job=job_of(number)))
                for _ in pool.collect():
                    done += 1
                    if (number := next(jobs, None)) is not None:
                        pool.submit(Pending(job=job_of(number)))
        wall_s, cpu_s = time.perf_counter() - begin, time.process_time() - begin_cpu
        study.write_status("finished")
    before_s = children_cpu_s()
    for process in processes:
        process.join()
    spent_s = wall_s * workers / trials
    return [
        f"{trials / wall_s:.1f}",
        f"{1e3 * (spent_s - seconds):.1f}",
        f"{100 * seconds / spent_s:.1f} %",
        f"{1e3 * cpu_s / trials:.1f}",
        f"{1e3 * (children_cpu_s() - before_s) / trials:.1f}",
    ]


def children_cpu_s() -> float:
    """CPU time of child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@contextlib.contextmanager
def storage_of(kind: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Start a storage; yields the URL for workers and the URL of its database."""
    if kind == "sqlite":
        url = str(folder / "shared.sqlite3")
        yield url, url
        return
    from postgresql_server import free_port, postgresql_url, wait_until_open

    with postgresql_url() as url:
        if kind == "postgresql":
            yield url, url
            return
        close_storage(open_storage(url))  # creates the tables
        port = free_port()
        with subprocess.Popen([sys.executable, "-c", PROXY, url, str(port)]) as server:
            try:
                wait_until_open(port, server)
                yield f"grpc://127.0.0.1:{port}", url
            finally:
                server.terminate()


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="1,2,4,8,32", help="comma-separated")
    parser.add_argument("--seconds", default="0.01,0.1,1", help="durations of an evaluation, comma-separated")
    parser.add_argument("--storage", default=",".join(STORAGES), help="comma-separated")
    parser.add_argument("--history", default="100,1000,10000,100000", help="finished trials at the start")
    parser.add_argument("--rounds", type=int, default=20, help="networks per worker")
    arguments = parser.parse_args()
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"Coordination of workers, {arguments.rounds} networks per worker, {os.cpu_count()} processors"
    )
    for column in (
        "storage",
        "history",
        "workers",
        "evaluation s",
        "trials/s",
        "overhead ms",
        "efficiency",
        "CPU run",
        "CPU workers",
    ):
        table.add_column(column, justify="right")
    for kind in arguments.storage.split(","):
        with tempfile.TemporaryDirectory() as folder, storage_of(kind, Path(folder)) as (url, database):
            cells = [
                (history, workers, seconds)
                for history in map(int, arguments.history.split(","))
                for workers in map(int, arguments.workers.split(","))
                for seconds in map(float, arguments.seconds.split(","))
            ]
            for number, (history, workers, seconds) in enumerate(cells):
                found = measured(
                    url,
                    database,
                    f"run-{number}",
                    workers=workers,
                    seconds=seconds,
                    history=history,
                    rounds=arguments.rounds,
                )
                table.add_row(kind, f"{history:,}", str(workers), f"{seconds:g}", *found)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
