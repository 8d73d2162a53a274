"""Faults of runs with workers: killed workers, runs and databases, cut networks, and the faults of every run."""

from __future__ import annotations

import atexit
import os
import re
import secrets
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from fault_kinds import INTERRUPTED, Fault, all_faults, come_back, in_phase, use_device
from fault_network import Command, Proxy
from fault_processes import children_of, start_worker
from fault_runs import Started, Verdict
from fault_scenes import COMMAND, Scene
from postgresql_server import PostgresqlServer, postgresql_programs

from mnv2search.results.records import Record
from mnv2search.study.workers.jobs import Answer
from mnv2search.study.workers.shared_study import SharedStudy

SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"
TRIALS, MOST_WORKERS = 24, 8
PHASES = ("baseline", "search", "final", "write_outputs", "write_report")
# Faults of all runs that are repeated with workers; the others are faults of the evaluator alone.
REPEATED = (
    "disk full|folder .*|program (hangs|forks|leaks memory|prints 100 MB|raises|is killed|prints NaN)|"
    "function (raises|returns NaN|exits|prints 100 MB|hangs, Ctrl-C|catches Ctrl-C, twice)|device .*|clock jumps"
)


@cache
def server() -> PostgresqlServer:
    """The PostgreSQL server of this benchmark, which ends with it."""
    programs = postgresql_programs()
    assert programs is not None
    made, owner = PostgresqlServer(programs), os.getpid()
    atexit.register(lambda: made.remove() if os.getpid() == owner else None)
    made.start()
    return made


@cache
def network() -> Proxy:
    """The proxy between workers and the server."""
    made, owner = Proxy(server().port), os.getpid()
    atexit.register(lambda: made.end() if os.getpid() == owner else None)
    return made


def own_processes() -> set[int]:
    """PIDs of the server and the proxy, if they were started."""
    found = {network().pid} if network.cache_info().currsize else set()
    return found | ({server().pid} if server.cache_info().currsize else set())


def shared_on(storage: str, *, through_proxy: bool = False) -> Callable[[Scene], None]:
    """A function that gives a search one to eight workers, on a storage of a kind."""

    def prepare(scene: Scene) -> None:
        scene.workers, scene.trials = scene.rng.randint(1, MOST_WORKERS), TRIALS
        scene.command = (*COMMAND, "--trials", str(TRIALS))
        scene.evaluate_in(scene.rng.choice((0.01, 0.1)))
        if storage == POSTGRESQL:
            scene.name = f"{scene.name}-{secrets.token_hex(4)}"  # the server keeps the runs of earlier repetitions
            scene.storage = server().url(network().port if through_proxy else None)

    return prepare


def shared_on_any(scene: Scene) -> None:
    """Give a search workers, on a storage of any kind."""
    kinds = (SQLITE,) if postgresql_programs() is None else (SQLITE, POSTGRESQL)
    shared_on(scene.rng.choice(kinds))(scene)


# -- killed processes ------------------------------------------------------------------------------------------------


def kill_workers(scene: Scene, started: Started) -> int:
    """Send SIGKILL to some workers at random times; returns their number."""
    count, is_running = 0, started.wait_for("search")
    for _ in range(scene.rng.randint(1, scene.workers or 1)):
        is_running = is_running and scene.wait_a_moment(started)
        if is_running and (workers := children_of(started.pid)):
            os.kill(scene.rng.choice(workers), signal.SIGKILL)
            count += 1
    return count


def kill_all(scene: Scene, started: Started) -> int:
    """Send SIGKILL to the run and all of its workers at a random time."""
    is_running = scene.wait_for_moment(started)
    workers = children_of(started.pid)
    started.send(signal.SIGKILL)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    return is_running


def kill_run(scene: Scene, started: Started) -> int:
    """Send SIGKILL to the run alone at a random time; its workers go on."""
    is_running = scene.wait_for_moment(started)
    started.send(signal.SIGKILL)
    return is_running


def kill_joined(scene: Scene, started: Started) -> int:
    """Let workers join the run, and kill all but one at random times."""
    count, is_running = 0, started.wait_for("search")
    joined = [start_worker(scene.root, scene.name, scene.shared, n) for n in range(scene.rng.randint(2, 4))]
    for pid in joined[1:]:
        is_running = is_running and started.wait(scene.rng.uniform(0.2, 2.0))
        if is_running:
            os.kill(pid, signal.SIGKILL)
            count += 1
    return count


def wait_for_workers(scene: Scene) -> None:
    """Let a run start no worker itself."""
    scene.workers = 0
    scene.evaluate_in(0.2)


def kills() -> Iterator[Fault]:
    killed = -signal.SIGKILL
    for storage in (SQLITE, POSTGRESQL):
        prepare = shared_on(storage)
        yield Fault(f"kill -9 of workers, {storage}", kill_workers, (0, 1), most=2, prepare=prepare)
        yield Fault(f"kill -9 of the run, {storage}", kill_run, (killed,), most=12, prepare=prepare)
        yield Fault(f"kill -9 of all at once, {storage}", kill_all, (killed,), most=12, prepare=prepare)
    alone = _both(shared_on(POSTGRESQL), wait_for_workers)
    yield Fault("kill -9 of joined workers, PostgreSQL", kill_joined, (0,), prepare=alone, mend=start_own_worker)


def start_own_worker(scene: Scene) -> None:
    """Let the resumed run start a worker itself."""
    scene.workers = 1


def interruptions() -> Iterator[Fault]:
    for phase in PHASES:
        for number, name in ((signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")):
            once, twice = in_phase(number, phase), in_phase(number, phase, twice=True)
            yield Fault(f"{name}, workers, {phase}", once, (INTERRUPTED,), most=2, prepare=shared_on_any)
            codes = (INTERRUPTED, -number)
            yield Fault(f"{name} twice, workers, {phase}", twice, codes, most=2, prepare=shared_on_any)


# -- database and network --------------------------------------------------------------------------------------------


def stop_database(least_s: float, most_s: float, number: signal.Signals) -> Callable[[Scene, Started], int]:
    """A function that stops the server in the search, and starts it again after a random time."""

    def strike(scene: Scene, started: Started) -> int:
        is_running = started.wait_for("search") and scene.wait_a_moment(started)
        server().stop(number)
        started.wait(scene.rng.uniform(least_s, most_s))
        server().start()
        return is_running

    return strike


def disturb_network(commands: Sequence[Command], least_s: float, most_s: float) -> Callable[[Scene, Started], int]:
    """A function that disturbs connections in the search, for a random time after each command."""

    def strike(scene: Scene, started: Started) -> int:
        is_running = started.wait_for("search") and scene.wait_a_moment(started)
        for command in commands:
            network().tell(command)
            started.wait(scene.rng.uniform(least_s, most_s))
        network().tell("open")
        return is_running

    return strike


def outages() -> Iterator[Fault]:
    for name, least_s, most_s, number in (
        ("database stopped for 1 to 3 s", 1, 3, signal.SIGINT),
        ("database crashes, 1 to 3 s", 1, 3, signal.SIGQUIT),
        ("database stopped for 30 s", 30, 30, signal.SIGINT),
        ("database stopped for 60 s", 60, 60, signal.SIGINT),
    ):
        yield Fault(name, stop_database(least_s, most_s, number), (0,), prepare=shared_on(POSTGRESQL), repeats=True)
    cut: tuple[Command, ...] = ("cut", "open")
    disturbances: tuple[tuple[str, Sequence[Command], float, float], ...] = (
        ("network resets connections", cut * 4, 0.05, 0.3),
        ("network cut for 1 to 10 s", ("cut",), 1, 10),
        ("network cut for 60 s", ("cut",), 60, 60),
        ("network stalls for 1 to 10 s", ("stall",), 1, 10),
        ("network stalls for 60 s", ("stall",), 60, 60),
        ("network stalls, then cut", ("stall", "cut"), 1, 5),
    )
    through = shared_on(POSTGRESQL, through_proxy=True)
    for name, commands, shortest_s, longest_s in disturbances:
        strike = disturb_network(commands, shortest_s, longest_s)
        yield Fault(name, strike, (0,), prepare=through, repeats=True)


# -- devices, files and evaluators -----------------------------------------------------------------------------------


def use_board(scene: Scene) -> None:
    """Measure on a machine to which the connection can break."""
    use_device(scene)
    scene.device = "onnxruntime@board://one"


def lose_board(scene: Scene, started: Started) -> int:
    """Break the connection to the machine for 2 to 5 s while networks are measured."""
    is_running = started.wait_for(scene.rng.choice(("baseline", "search", "final"))) and scene.wait_a_moment(started)
    (scene.root / "gone").touch()
    started.wait(scene.rng.uniform(2, 5))
    come_back(scene)
    return is_running


def repeated_faults() -> Iterator[Fault]:
    """The faults of every run, with workers."""
    for fault in all_faults():
        if re.fullmatch(REPEATED, fault.name):
            codes = tuple({*fault.codes, 1} if fault.name.startswith("device") else fault.codes)
            prepare = _both(shared_on_any, fault.prepare)
            yield replace(fault, name=f"{fault.name}, workers", codes=codes, prepare=prepare)
    for name, prepare in (("", use_board), (", workers", _both(shared_on_any, use_board))):
        yield Fault(f"connection to the device breaks{name}", lose_board, (0,), prepare=prepare)


def _both(first: Callable[[Scene], None], second: Callable[[Scene], None]) -> Callable[[Scene], None]:
    def prepare(scene: Scene) -> None:
        first(scene)
        second(scene)

    return prepare


def worker_faults() -> list[Fault]:
    """Every fault of runs with workers, in the order of the table."""
    found = [*kills(), *interruptions(), *outages(), *repeated_faults()]
    on_server = re.compile(f".*{POSTGRESQL}|database|network")
    return [replace(fault, needs_server=on_server.match(fault.name) is not None) for fault in found]


def judge_storage(verdict: Verdict, scene: Scene, records: Sequence[Record], *, repeats: bool) -> None:
    """Check that every answer in the storage of workers is recorded, and that no network waits there.

    Unless `repeats`, a second answer for a network means that the first was lost.
    """
    with SharedStudy.join(scene.shared, scene.name) as study:
        outcomes = list(study.outcomes())
    by_pick = {record.pick: record for record in records if record.pick and not record.stage.startswith("final")}
    answers = [(job, outcome) for _, job, outcome in outcomes if isinstance(outcome, Answer)]
    verdict.stuck += [f"{job.name} waits for a worker" for _, job, outcome in outcomes if outcome is None]
    verdict.lost += [f"the answer for {job.name}" for job, _ in answers if job.pick not in by_pick]
    counts = Counter(job.pick for job, _ in answers)
    verdict.lost += [f"an answer for {pick}" for pick, count in counts.items() if count > 1 and not repeats]
    answered = {(job.pick, outcome.worker.name) for job, outcome in answers}
    for pick, record in by_pick.items():
        if record.worker is not None and (pick, record.worker.name) not in answered:
            verdict.wrong.append(f"{record.evaluation.name} is recorded without an answer")
