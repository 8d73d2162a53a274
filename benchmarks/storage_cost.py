"""What a network, a heartbeat and a poll of a worker cost a PostgreSQL server: statements, CPU time, bytes.

Run: `python benchmarks/storage_cost.py [--networks 500] [--workers 1000]`

One process adds networks, starts and finishes them as a worker, and reads their answers. CPU times are those of this
process and of the server's processes; bytes are those of the database and of its write-ahead log. For the interval at
which a run looks at its workers, the reports of `--workers` workers are written first.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import psycopg
from postgresql_server import PostgresqlServer, postgresql_programs
from rich.console import Console
from rich.table import Table
from scaling import answer_of, job_of
from sqlalchemy import Engine, event

from mnv2search.study.types import Worker
from mnv2search.study.workers.jobs import Presence, RunDescription
from mnv2search.study.workers.shared_study import SharedStudy

TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
COLUMNS = ("", "times", "statements", "CPU ms here", "CPU ms server", "bytes of database", "bytes of log")


@dataclass
class Meter:
    """Costs of operations on a server."""

    server: PostgresqlServer
    statements: int = 0
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        event.listen(Engine, "before_cursor_execute", self._count)
        self._connection = psycopg.connect(self.server.url(), autocommit=True)

    def _count(self, *_: object) -> None:
        self.statements += 1

    @contextmanager
    def of(self, name: str, times: int) -> Iterator[None]:
        """Add the mean cost of an operation that is done a number of times."""
        before = self._totals()
        yield
        each = [(after - earlier) / times for earlier, after in zip(before, self._totals(), strict=True)]
        statements, here, there, size, log = each
        cells = (f"{statements:.1f}", f"{here:.2f}", f"{there:.2f}", f"{size:,.0f}", f"{log:,.0f}")
        self.rows.append((name, str(times), *cells))

    def _totals(self) -> tuple[float, float, float, float, float]:
        size, log = self._connection.execute(
            "SELECT pg_database_size('postgres'), pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"
        ).fetchone() or (0, 0)
        return self.statements, 1000 * time.process_time(), self._server_ms(), float(size), float(log)

    def _server_ms(self) -> float:
        """CPU time of the server's running processes in ms."""
        pids = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children").read_text().split()
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
        return sum(int(one[11]) + int(one[12]) for one in fields) * TICK_MS

    def connection_mb(self) -> float:
        """Private memory of the largest connection in MB."""
        pids = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children").read_text().split()
        texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
        own = [sum(int(line.split()[1]) for line in text.splitlines() if "Private_" in line[:9]) for text in texts]
        return max(own) / 1000


def measure(meter: Meter, study: SharedStudy, *, networks: int, workers: int) -> None:
    """Measure all operations."""
    worker = Worker(name="one", host="here")

    def evaluate(number: int) -> None:
        trial_id = study.put(job_of(number))
        claimed = study.claim(worker.name)
        assert claimed is not None
        study.finish(trial_id, answer_of(claimed[1], worker, elapsed_s=1.0))
        study.unfinished()
        study.finished([trial_id])

    def report(number: int, beat: int = 1) -> None:
        study.report(Presence(worker=Worker(name=f"worker-{number}", host="here"), device="simulated", beat=beat))

    def poll(_: int) -> None:
        study.signals()
        study.claim(worker.name)

    def look(_: int) -> None:
        study.presences()

    operations: tuple[tuple[str, Callable[[int], None], int], ...] = (
        ("a network", evaluate, networks),
        ("the first report of a worker", report, workers),
        ("a heartbeat", lambda number: report(number, beat=2), workers),
        ("a poll without a waiting network", poll, networks),
        (f"a look of the run at {workers:,} workers", look, 20),
    )
    for name, operation, times in operations:
        with meter.of(name, times):
            for number in range(times):
                operation(number)
    with meter.of("an answer that a resumed run reads", networks):
        assert len(list(study.outcomes())) == networks


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=500)
    parser.add_argument("--workers", type=int, default=1000)
    arguments = parser.parse_args()
    programs = postgresql_programs()
    if programs is None:
        raise SystemExit("PostgreSQL is not installed")
    server = PostgresqlServer(programs)
    try:
        server.start()
        run = RunDescription(name="run", created_at="now", manifest="x" * 5000, work="")
        with SharedStudy.create(server.url(), run, replaces=False) as study:
            meter = Meter(server)
            measure(meter, study, networks=arguments.networks, workers=arguments.workers)
            memory_mb = meter.connection_mb()
    finally:
        server.remove()
    table = Table(title="Mean costs on PostgreSQL")
    for column in COLUMNS:
        table.add_column(column, justify="right" if column else "left")
    for row in meter.rows:
        table.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(f"memory of the connection on the server: {memory_mb:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
